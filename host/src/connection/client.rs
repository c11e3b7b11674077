//! The client of now, and how the next one is made when it ends.
//!
//! A message that the client cannot read may make it panic. That ends its task, and with it the client, for everybody
//! who has a clone of it; but not the connection: another client is made on the same thread, every subscription moves
//! over to it, and requests go on waiting at the same inbox. For everything else it is a connection that was lost.
//!
//! Where a panic ends the process (`panic = "abort"`) nothing of this can help.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cause;
use super::plan::{Connected, Plan};
use super::shared::Shared;

/// A client, and what was made with it.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) client: Client,
    /// Its task lives on the connection's thread, as the client's own do.
    pub(super) jetstream: Context,
    /// Clients before this one. Subscriptions know by it whether they were made with it.
    pub(super) number: u64,
    signs: Signs,
}

/// What a client and the connection tell each other, besides events, which can be lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Signs {
    has_ended: Arc<AtomicBool>,
    ended: CancellationToken,
    /// The connection's subscriptions have moved to it: from now on its state is the connection's.
    in_use: Arc<AtomicBool>,
}

/// Tells that the client has ended, by being dropped together with the client's own task, before anything that is sent
/// to that task fails.
#[derive(Debug)]
pub(super) struct Ending(Signs);

impl Signs {
    pub(super) fn ending(&self) -> Ending {
        Ending(self.clone())
    }

    pub(super) fn put_in_use(&self) {
        self.in_use.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Whether what happens to the client happens to the connection.
    pub(super) fn is_current(&self) -> bool {
        self.in_use.load(Ordering::Acquire) && !self.has_ended()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
        self.0.ended.cancel();
    }
}

impl Current {
    /// To be called on the connection's thread.
    fn new(connected: Connected, number: u64) -> Self {
        let Connected { client, signs } = connected;
        Self {
            jetstream: jetstream::new(client.clone()),
            client,
            number,
            signs,
        }
    }

    /// Nothing that is given to it will reach a server any more.
    pub(super) fn has_ended(&self) -> bool {
        self.signs.has_ended()
    }
}

/// All clients that there have been, of which one is the client of now.
#[derive(Debug)]
pub(super) struct Clients {
    /// Most connections never have another one. Everything that is sent looks here first, which takes no lock.
    first: Arc<Current>,
    now: watch::Sender<Arc<Current>>,
}

/// The client of now, as long as it is in hand.
pub(super) enum Held<'a> {
    First(&'a Current),
    Later(Arc<Current>),
}

impl Deref for Held<'_> {
    type Target = Current;

    fn deref(&self) -> &Current {
        match self {
            Self::First(current) => current,
            Self::Later(current) => current,
        }
    }
}

impl Clients {
    /// Of the first client. To be called on the connection's thread.
    pub(super) fn new(first: Connected) -> Self {
        let first = Arc::new(Current::new(first, 0));
        Self {
            now: watch::Sender::new(Arc::clone(&first)),
            first,
        }
    }

    /// The client of now, which may have ended a moment ago.
    pub(super) fn current(&self) -> Held<'_> {
        if self.first.has_ended() {
            Held::Later(Arc::clone(&self.now.borrow()))
        } else {
            Held::First(&self.first)
        }
    }

    /// The first client that has not ended.
    pub(super) async fn living(&self) -> Option<Held<'_>> {
        let mut changes = self.now.subscribe();
        let living = changes.wait_for(|current| !current.has_ended()).await;
        living.ok().map(|current| Held::Later(Arc::clone(&current)))
    }

    /// Makes another client whenever one has ended, until there shall not be another one.
    pub(super) async fn keep(&self, plan: &Plan, shared: &Arc<Shared>) {
        loop {
            self.current().signs.ended.cancelled().await;
            cause::client_ended();
            let Some(next) = renew(plan, shared).await else {
                return;
            };
            self.now.send_replace(Arc::new(next));
            // It may have lost its server meanwhile. If so, its next event tells of the next one.
            let current = self.current();
            if current.client.connection_state() == async_nats::connection::State::Connected {
                shared.connected();
            }
            tracing::info!(target: "wharf::connection", clients = current.number + 1, "connected to NATS with another client");
        }
    }
}

/// The next client, with all subscriptions. `None` when the connection has been given up.
async fn renew(plan: &Plan, shared: &Arc<Shared>) -> Option<Current> {
    loop {
        let number = shared.lines.next_client();
        let next = Current::new(plan.connect_again(shared).await?, number);
        let moved = tokio::select! {
            moved = shared.lines.move_to(&next.client) => moved,
            () = next.signs.ended.cancelled() => None,
        };
        if let Some(dropped) = moved {
            shared.slow_consumers.fetch_add(dropped, Ordering::Relaxed);
            next.signs.put_in_use();
            return Some(next);
        }
        // What is sent to a client fails a moment after it has ended, not before.
        next.signs.ended.cancelled().await;
        cause::client_ended();
    }
}
