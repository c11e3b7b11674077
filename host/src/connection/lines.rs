//! All subscriptions of the connection, so that they can move to another client.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_nats::{Client, Subscriber};

use super::inbound::{Inbound, Line, Target};
use super::locked;

/// All subscriptions of a connection.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: Mutex<Open>,
    /// The connection has ended.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    /// The number of the client that subscriptions are made with now.
    client: u64,
    /// Subscriptions that there have been.
    last: u64,
    /// By their number, so that those that were made first move first: the inbox before what asks by it.
    lines: BTreeMap<u64, Weak<Mutex<Line>>>,
}

impl Lines {
    /// Takes in a subscription that was made with this client. `None` if that has ended meanwhile, or the connection.
    pub(super) fn enter(
        self: &Arc<Self>,
        target: Target,
        subscriber: Subscriber,
        client: u64,
    ) -> Option<Inbound> {
        let mut open = locked(&self.open);
        if open.client != client || self.is_closed() {
            return None;
        }
        let line = Arc::new(Mutex::new(Line::new(target, subscriber)));
        open.last += 1;
        let number = open.last;
        open.lines.insert(number, Arc::downgrade(&line));
        Some(Inbound::new(line, Arc::clone(self), number))
    }

    /// A subscription is dropped.
    pub(super) fn leave(&self, number: u64) {
        locked(&self.open).lines.remove(&number);
    }

    /// The client has ended. Returns the number of the next one.
    pub(super) fn next_client(&self) -> u64 {
        let mut open = locked(&self.open);
        open.client += 1;
        open.client
    }

    /// Subscribes to everything once more, with this client. Returns how many messages of the last one did not fit in
    /// with those that wait to be read; `None` if the client has ended.
    pub(super) async fn move_to(&self, client: &Client) -> Option<u64> {
        let mut dropped = 0;
        for line in self.all() {
            let wanted = locked(&line).wanted();
            if let Some(target) = wanted {
                let subscriber = target.subscribe(client).await.ok()?;
                dropped += locked(&line).carry_on(subscriber);
            }
        }
        Some(dropped)
    }

    /// The connection has ended, and every subscription with it.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for line in self.all() {
            locked(&line).wake();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn all(&self) -> Vec<Arc<Mutex<Line>>> {
        let open = locked(&self.open);
        open.lines.values().filter_map(Weak::upgrade).collect()
    }
}
