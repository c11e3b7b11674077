//! All subscriptions of the connection, so that they can move to another client.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_nats::Client;

use super::subscription::SubscriptionState;
use crate::lock::locked;

/// All subscriptions of a connection.
#[derive(Debug, Default)]
pub(super) struct OpenSubscriptions {
    /// The subscriptions, and the client that they are made with.
    registry: Mutex<SubscriptionRegistry>,
    /// The connection has ended.
    closed: AtomicBool,
}

/// Subscriptions by number, with the generation of their client.
#[derive(Debug, Default)]
struct SubscriptionRegistry {
    /// The generation of the client that subscriptions are made with now.
    generation: u64,
    /// The number of the subscription that was added last, counted from 1.
    last_number: u64,
    /// Subscriptions by number, so that those that were made first move first: the inbox before those that depend on it.
    subscriptions: BTreeMap<u64, Weak<Mutex<SubscriptionState>>>,
}

impl OpenSubscriptions {
    /// Adds a subscription that was made with the client of this generation, and returns the subscription's number.
    /// `None` if that client has ended meanwhile, or the connection.
    pub(super) fn add(
        &self,
        subscription: &Arc<Mutex<SubscriptionState>>,
        generation: u64,
    ) -> Option<u64> {
        let mut registry = locked(&self.registry);
        if registry.generation != generation || self.closed.load(Ordering::Acquire) {
            return None;
        }
        registry.last_number += 1;
        let number = registry.last_number;
        registry
            .subscriptions
            .insert(number, Arc::downgrade(subscription));
        Some(number)
    }

    /// Removes a subscription that was dropped.
    pub(super) fn remove(&self, number: u64) {
        locked(&self.registry).subscriptions.remove(&number);
    }

    /// Starts the next generation, as the client has ended. Returns its number.
    pub(super) fn next_generation(&self) -> u64 {
        let mut registry = locked(&self.registry);
        registry.generation += 1;
        registry.generation
    }

    /// Subscribes to everything again, with this client. Returns the number of messages of earlier clients that were
    /// dropped for want of room; `None` if this client has ended.
    pub(super) async fn move_to(&self, client: &Client) -> Option<u64> {
        let mut dropped = 0;
        for subscription in self.all() {
            let target = locked(&subscription).target_of_next_client();
            if let Some(target) = target {
                let subscriber = target.subscribe(client).await.ok()?;
                dropped += locked(&subscription).continue_with(subscriber);
            }
        }
        Some(dropped)
    }

    /// Ends every subscription, as the connection has ended.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for subscription in self.all() {
            locked(&subscription).end();
        }
    }

    /// The subscriptions that are not dropped, in the order in which they were made.
    fn all(&self) -> Vec<Arc<Mutex<SubscriptionState>>> {
        let registry = locked(&self.registry);
        let subscriptions = registry.subscriptions.values();
        subscriptions.filter_map(Weak::upgrade).collect()
    }
}
