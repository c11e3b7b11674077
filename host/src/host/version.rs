//! One version of a guest: a component with its settings, from its start to its end.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::guests::{Base, Surroundings};
use crate::config::GuestSettings;
use crate::dispatch::{Dispatcher, Drained};
use crate::guest::{Digest, Engine, Guest, GuestStartError, Loaded, Template};
use crate::imports;
use crate::policy::Policy;
use crate::trigger::{VersionSubjects, Wanted};

/// A version that has started, and is not in service.
pub(super) struct Candidate {
    guest: Arc<Guest>,
    own: Arc<VersionSubjects>,
    settings: GuestSettings,
    digest: Digest,
    instances: OwnedSemaphorePermit,
}

/// A version in service.
pub(super) struct Version {
    guest: Arc<Guest>,
    own: Arc<VersionSubjects>,
    dispatcher: Dispatcher,
    pub(super) settings: GuestSettings,
    pub(super) digest: Digest,
    /// The version's part of the instances that all guests share. Given back last.
    _instances: OwnedSemaphorePermit,
}

impl Candidate {
    /// Makes the first instance, and calls the guest's `start`.
    pub(super) async fn start(
        engine: Arc<Engine>,
        surroundings: &Surroundings,
        base: &Base,
        settings: GuestSettings,
        loaded: Loaded,
        instances: OwnedSemaphorePermit,
    ) -> Result<Self, GuestStartError> {
        let name = &base.name;
        let policy = Policy::new(name, &settings, &surroundings.prefix);
        let own = VersionSubjects::new(Arc::clone(&base.subjects), policy.prefix(), &settings.subscribe);
        let own = Arc::new(own);
        let imports = imports::Shared {
            policy,
            connection: surroundings.connection.clone(),
            connector: surroundings.connector.clone(),
            default_bucket: surroundings.default_bucket.clone(),
            bucket_settings: surroundings.bucket_settings.clone(),
            counters: Arc::clone(&base.counters),
            subscriptions: Arc::clone(&own) as _,
        };
        let template = Arc::new(Template::new(name, settings.clone(), imports));
        let digest = loaded.digest();
        let guest = Arc::new(Guest::new(engine, loaded, template));
        guest.start().await?;
        Ok(Self { guest, own, settings, digest, instances })
    }

    /// What it is to be subscribed to.
    pub(super) fn wanted(&self) -> Wanted {
        self.own.come_into_service()
    }

    /// It will not come into service after all: what it began in its `start` it may end in its `stop`.
    pub(super) async fn discard(self, deadline: Instant) {
        if let Err(why) = self.guest.stop(deadline).await {
            tracing::warn!(guest = %self.guest.name(), "a version that did not come into service: {why}");
        }
    }

    /// Takes the guest's queue over.
    pub(super) fn into_service(self, base: &Base) -> Version {
        let Self { guest, own, settings, digest, instances } = self;
        let term = base.queue.hand_over(settings.limits.queue_messages, settings.limits.queue_bytes);
        let workers = settings.instances.max.get();
        let dispatcher = Dispatcher::start(Arc::clone(&guest), Arc::clone(&base.queue), term, workers);
        Version { guest, own, dispatcher, settings, digest, _instances: instances }
    }
}

impl Version {
    /// It may finish its messages, but no longer change what the guest is subscribed to.
    pub(super) fn retire(&self) {
        self.own.retire();
    }

    /// How many messages it has settled.
    pub(super) fn settled(&self) -> u64 {
        self.dispatcher.settled()
    }

    /// How many messages it handles now.
    pub(super) fn in_hand(&self) -> usize {
        self.dispatcher.in_hand()
    }

    /// Waits until what is its to handle is handled, then calls the guest's `stop`.
    pub(super) async fn end(
        mut self,
        settled_before: u64,
        deadline: Instant,
    ) -> (Drained, Result<(), String>) {
        let drained = self.dispatcher.drain(settled_before, deadline).await;
        (drained, self.guest.stop(deadline).await)
    }
}
