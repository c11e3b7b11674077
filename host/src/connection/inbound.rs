//! A subscription as its reader holds it, and the steps that stop several without losing a message.
//!
//! The recipe for stopping: (1) every subscription tells the server to send no more, while the client keeps delivering
//! what is on its way; (2) one fence for all of them, after which it has arrived; (3) every subscription ends, and its
//! reader reads the rest. Draining by the client itself closes on its next wake-up and loses messages under load.

use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep};

use super::header_limits;
use super::relay::malformed::Malformed;
use super::shared::ConnectionShared;
use super::subscription::{StopStep, SubscriptionState, SubscriptionTarget};
use crate::error::Error;
use crate::lock::locked;

/// The wait before a command is tried again for which the client's queue had no room.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The messages of one subscription. Dropping it unsubscribes.
///
/// The state is behind a lock for those who act without the reader's help, who may be busy with a message: a
/// [`Stopper`], and the connection when it gets another client.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// The state of this subscription.
    state: Arc<Mutex<SubscriptionState>>,
    /// The connection's state, which all subscriptions belong to.
    shared: Arc<ConnectionShared>,
    /// The subscription's number among all of them.
    number: u64,
}

impl Inbound {
    /// A subscription that was made with the client of this generation. `None` if that client has ended meanwhile, or
    /// the connection.
    pub(super) fn new(
        shared: &Arc<ConnectionShared>,
        target: SubscriptionTarget,
        subscriber: Subscriber,
        generation: u64,
    ) -> Option<Self> {
        let state = Arc::new(Mutex::new(SubscriptionState::new(target, subscriber)));
        let number = shared.subscriptions.add(&state, generation)?;
        Some(Self {
            state,
            shared: Arc::clone(shared),
            number,
        })
    }

    /// The next message. `None` when the subscription was stopped and everything is read, or the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        StreamExt::next(self).await
    }

    /// A handle by which somebody else can stop the subscription.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::downgrade(&self.state))
    }
}

impl Stream for Inbound {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut next = locked(&self.state).poll_next(context);
        if let Poll::Ready(Some(message)) = &mut next
            && let Some(cause) = header_limits::limit(message)
        {
            let subject = message.subject.as_bytes();
            self.shared
                .note_too_many_headers(&Malformed { cause, subject });
        }
        next
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.shared.subscriptions.remove(self.number);
    }
}

/// Stops an [`Inbound`], see [`super::Connection::quiesce`]. Does not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Weak<Mutex<SubscriptionState>>);

impl Stopper {
    /// Whether the subscription is gone already.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Takes a step, as soon as there is room for the command.
    ///
    /// A command is a future that borrows the subscriber, which must not be locked across an await: so each try is one
    /// poll under the lock.
    ///
    /// # Errors
    /// `Timeout` if there is no room before the deadline.
    async fn take(&self, step: StopStep, deadline: Instant) -> Result<(), Error> {
        loop {
            let Some(state) = self.0.upgrade() else {
                return Ok(());
            };
            let taken = locked(&state).stop(step);
            match taken {
                Some(()) => return Ok(()),
                None if Instant::now() >= deadline => return Err(Error::Timeout),
                None => drop(state),
            }
            sleep(RETRY_INTERVAL).await;
        }
    }
}

/// Takes step 1 of the recipe.
///
/// # Errors
/// `Timeout` if the client had no room for a command before the deadline.
pub(super) async fn unsubscribe_all(all: &[Stopper], deadline: Instant) -> Result<(), Error> {
    for_each(all, StopStep::NoMore, deadline).await
}

/// Takes step 3 of the recipe.
///
/// # Errors
/// As [`unsubscribe_all`].
pub(super) async fn end_all(all: &[Stopper], deadline: Instant) -> Result<(), Error> {
    for_each(all, StopStep::End, deadline).await
}

/// Takes a step with every subscription, also after one that failed. The first error counts.
async fn for_each(all: &[Stopper], step: StopStep, deadline: Instant) -> Result<(), Error> {
    let mut result = Ok(());
    for stopper in all {
        result = result.and(stopper.take(step, deadline).await);
    }
    result
}
