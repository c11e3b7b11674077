//! The current client, and the next one that is made when the current one ends.
//!
//! A message that the client cannot read may make it panic. That ends its task, and with it the client, for everybody
//! who has a clone of it; but not the connection: another client is made on the same thread, every subscription moves
//! over to it, and requests go on waiting at the same inbox. For everything else it is a connection that was lost.
//!
//! Where a panic ends the process (`panic = "abort"`) nothing of this can help.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use tokio::sync::watch;

use super::cause;
use super::client_signs::ClientSigns;
use super::options::{ConnectPlan, NewClient};
use super::shared::ConnectionShared;

/// One of the connection's clients, and what was made with it.
#[derive(Debug)]
pub(super) struct ClientGeneration {
    /// The client itself.
    pub(super) client: Client,
    /// The client's `JetStream` context. The context's task lives on the connection's thread, as the client's own do.
    pub(super) jetstream: Context,
    /// The number of clients before this one. A subscription remembers the number of the client that it was made with.
    pub(super) number: u64,
    /// The client's signs: in use, ended.
    signs: ClientSigns,
}

impl ClientGeneration {
    /// To be called on the connection's thread.
    fn new(new: NewClient, number: u64) -> Self {
        let NewClient { client, signs } = new;
        Self {
            jetstream: jetstream::new(client.clone()),
            client,
            number,
            signs,
        }
    }

    /// Whether the client has ended: nothing that is given to it reaches a server any more.
    pub(super) fn has_ended(&self) -> bool {
        self.signs.has_ended()
    }
}

/// The connection's clients, one after the other: the first one, and the latest.
#[derive(Debug)]
pub(super) struct Clients {
    /// The first client. Most connections never have another one, and reading this field takes no lock.
    first: Arc<ClientGeneration>,
    /// The latest client, which is the first one until that has ended.
    latest: watch::Sender<Arc<ClientGeneration>>,
}

/// A reference to the current client, for as long as one call needs it.
pub(super) enum CurrentClient<'a> {
    /// The first client, borrowed.
    First(&'a ClientGeneration),
    /// A later client, shared.
    Later(Arc<ClientGeneration>),
}

impl Deref for CurrentClient<'_> {
    type Target = ClientGeneration;

    fn deref(&self) -> &ClientGeneration {
        match self {
            Self::First(generation) => generation,
            Self::Later(generation) => generation,
        }
    }
}

impl Clients {
    /// Clients of which this is the first. To be called on the connection's thread.
    pub(super) fn new(first: NewClient) -> Self {
        let first = Arc::new(ClientGeneration::new(first, 0));
        Self {
            latest: watch::Sender::new(Arc::clone(&first)),
            first,
        }
    }

    /// The current client, which may have ended a moment ago.
    pub(super) fn current(&self) -> CurrentClient<'_> {
        if self.first.has_ended() {
            CurrentClient::Later(Arc::clone(&self.latest.borrow()))
        } else {
            CurrentClient::First(&self.first)
        }
    }

    /// Waits for a client that has not ended. `None` once there cannot be one.
    pub(super) async fn running(&self) -> Option<CurrentClient<'_>> {
        let mut changes = self.latest.subscribe();
        let running = changes.wait_for(|latest| !latest.has_ended()).await;
        let running = running.ok()?;
        Some(CurrentClient::Later(Arc::clone(&running)))
    }

    /// Makes another client whenever one has ended, until the connection is given up.
    pub(super) async fn keep(&self, plan: &ConnectPlan, shared: &Arc<ConnectionShared>) {
        loop {
            let current = self.current();
            tokio::select! {
                () = current.signs.ended() => {}
                () = attend(&current, plan, shared) => {}
            }
            cause::client_ended();
            let Some(next) = renew(plan, shared).await else {
                return;
            };
            self.latest.send_replace(Arc::new(next));
            // It may have lost its server meanwhile. If so, its next event tells of the next one.
            let current = self.current();
            if current.client.connection_state() == async_nats::connection::State::Connected {
                shared.connected();
            }
            tracing::info!(target: "wharf::connection", clients = current.number + 1, "connected to NATS with another client");
        }
    }
}

/// Tells a client of servers that it does not know, and to connect anew where messages are to pass the filter. Returns
/// when the client has ended.
async fn attend(current: &ClientGeneration, plan: &ConnectPlan, shared: &ConnectionShared) {
    loop {
        tokio::select! {
            () = shared.pool_news.notified() => plan.complete_pool(&current.client).await,
            () = shared.filter.reconnect_wanted() => {
                cause::broken("a message had too many headers: it is connected anew, through the filter".to_owned());
                if current.client.force_reconnect().await.is_err() {
                    return current.signs.ended().await;
                }
            }
        }
    }
}

/// The next client, with all subscriptions. `None` when the connection has been given up.
async fn renew(plan: &ConnectPlan, shared: &Arc<ConnectionShared>) -> Option<ClientGeneration> {
    loop {
        let number = shared.subscriptions.next_generation();
        let next = ClientGeneration::new(plan.connect_again(shared).await?, number);
        let moved = tokio::select! {
            moved = shared.subscriptions.move_to(&next.client) => moved,
            () = next.signs.ended() => None,
        };
        if let Some(dropped) = moved {
            shared.slow_consumers.fetch_add(dropped, Ordering::Relaxed);
            next.signs.put_in_use();
            return Some(next);
        }
        // What is sent to a client fails a moment after it has ended, not before.
        next.signs.ended().await;
        cause::client_ended();
    }
}
