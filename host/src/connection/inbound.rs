//! A subscription, and how several are stopped without losing a message.
//!
//! The recipe: (1) every subscription tells the server "no more", while the client keeps delivering what is on its way;
//! (2) one fence for all of them, after which it has arrived; (3) every subscription ends, and its reader reads the rest.
//! Draining by the client itself closes on its next wake-up and loses messages under load.

use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, sleep};

use super::locked;
use crate::error::Error;

/// How long to wait when the client's queue has no room for a command.
const RETRY: Duration = Duration::from_millis(5);

/// The messages of one subscription. Dropping it unsubscribes.
///
/// The lock is there for a [`Stopper`], which acts without the reader's help: a reader may be busy with a message.
#[derive(Debug)]
pub(crate) struct Inbound(Arc<Mutex<Subscriber>>);

impl Inbound {
    pub(super) fn new(subscriber: Subscriber) -> Self {
        Self(Arc::new(Mutex::new(subscriber)))
    }

    /// The next message. `None` when the subscription was stopped and everything is read, or the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        StreamExt::next(self).await
    }

    /// Lets somebody else stop it.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::downgrade(&self.0))
    }
}

impl Stream for Inbound {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        locked(&self.0).poll_next_unpin(context)
    }
}

/// Stops an [`Inbound`], see [`super::Connection::quiesce`]. Does not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Weak<Mutex<Subscriber>>);

impl Stopper {
    /// Whether the subscription is gone already.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Gives the client a command for the subscription, as soon as there is room.
    ///
    /// A command is a future that borrows the subscriber, which must not be locked across an await: so each try is one
    /// poll under the lock.
    async fn command<F>(&self, deadline: Instant, give: F) -> Result<(), Error>
    where
        F: Fn(&mut Subscriber) -> Option<Result<(), async_nats::UnsubscribeError>>,
    {
        loop {
            let Some(subscriber) = self.0.upgrade() else {
                return Ok(());
            };
            let given = give(&mut locked(&subscriber));
            match given {
                Some(Ok(())) => return Ok(()),
                // The client has ended, and the subscription with it.
                Some(Err(_)) => {
                    return Err(Error::Unavailable(
                        "the connection to NATS has ended".into(),
                    ));
                }
                None if Instant::now() >= deadline => return Err(Error::Timeout),
                None => drop(subscriber),
            }
            sleep(RETRY).await;
        }
    }
}

/// Step 1. The server takes a count of more than nine digits as "now"; the client takes it as "not for a long time".
pub(super) async fn unsubscribe_all(all: &[Stopper], deadline: Instant) -> Result<(), Error> {
    for_each(all, deadline, |subscriber| {
        subscriber.unsubscribe_after(u64::MAX).now_or_never()
    })
    .await
}

/// Step 3. The client forgets the subscription; what has arrived can still be read.
pub(super) async fn end_all(all: &[Stopper], deadline: Instant) -> Result<(), Error> {
    for_each(all, deadline, |subscriber| {
        subscriber.unsubscribe().now_or_never()
    })
    .await
}

/// All of them, also after one that failed. The first error counts.
async fn for_each<F>(all: &[Stopper], deadline: Instant, give: F) -> Result<(), Error>
where
    F: Fn(&mut Subscriber) -> Option<Result<(), async_nats::UnsubscribeError>>,
{
    let mut result = Ok(());
    for stopper in all {
        result = result.and(stopper.command(deadline, &give).await);
    }
    result
}
