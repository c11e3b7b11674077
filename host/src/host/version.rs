//! One version of a guest: a component with its settings, from its start to its end.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::guests::{Base, Surroundings};
use crate::component::Digest;
use crate::config::GuestSettings;
use crate::dispatch::{Dispatcher, Drained};
use crate::guest::{CompiledComponent, Engine, Guest, GuestStartError, Template};
use crate::imports;
use crate::policy::Policy;
use crate::queue::Reader;
use crate::trial::Trial;
use crate::trigger::VersionSubscriptions;

/// A version that has started, and is not in service.
pub(super) struct Candidate {
    parts: Parts,
}

/// A version that is given messages.
pub(super) struct Version {
    parts: Parts,
    dispatcher: Dispatcher,
}

struct Parts {
    guest: Arc<Guest>,
    own: Arc<VersionSubscriptions>,
    settings: GuestSettings,
    digest: Digest,
    /// The version's part of the instances that all guests share. Given back last.
    _instances: OwnedSemaphorePermit,
}

impl Candidate {
    /// Makes the first instance, and calls the guest's `start`.
    pub(super) async fn start(
        engine: Arc<Engine>,
        surroundings: &Surroundings,
        base: &Base,
        number: u32,
        settings: GuestSettings,
        component: CompiledComponent,
        instances: OwnedSemaphorePermit,
    ) -> Result<Self, GuestStartError> {
        let name = &base.name;
        let policy = Policy::new(name, &settings, &surroundings.prefix);
        let own = base
            .intake
            .of_version(number, policy.prefix(), &settings.subscribe);
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
        let template = Arc::new(Template::new(name, number, settings.clone(), imports));
        let digest = component.digest();
        let guest = Arc::new(Guest::new(engine, component, template));
        guest.start().await?;
        Ok(Self {
            parts: Parts {
                guest,
                own,
                settings,
                digest,
                _instances: instances,
            },
        })
    }

    /// Which version it is.
    pub(super) fn number(&self) -> u32 {
        self.parts.guest.version()
    }

    /// Its way to the guest's subscriptions.
    pub(super) fn own(&self) -> &Arc<VersionSubscriptions> {
        &self.parts.own
    }

    /// It will not come into service after all.
    pub(super) async fn discard(self, deadline: Instant) {
        let guest = &self.parts.guest;
        if let Err(why) = guest.stop(deadline).await {
            tracing::warn!(guest = %guest.name(), "a version that did not come into service: {why}");
        }
    }

    /// Takes the guest's queue over.
    pub(super) fn into_service(self, base: &Base) -> Version {
        let limits = &self.parts.settings.limits;
        let reader = base
            .queue
            .hand_over(limits.queue_messages, limits.queue_bytes);
        self.work(base, reader, None)
    }

    /// Takes a share of what comes into the guest's queue from now on.
    pub(super) fn into_trial(self, base: &Base, share: f64, trial: Arc<Trial>) -> Version {
        let reader = base.queue.split_off(share);
        self.work(base, reader, Some(trial))
    }

    fn work(self, base: &Base, reader: Reader, trial: Option<Arc<Trial>>) -> Version {
        let Self { parts } = self;
        let dispatcher = Dispatcher::start(
            Arc::clone(&parts.guest),
            Arc::clone(&base.queue),
            reader,
            trial,
        );
        Version { parts, dispatcher }
    }
}

impl Version {
    /// Which version it is.
    pub(super) fn number(&self) -> u32 {
        self.parts.guest.version()
    }

    /// What it runs with.
    pub(super) fn settings(&self) -> &GuestSettings {
        &self.parts.settings
    }

    /// What it runs.
    pub(super) fn digest(&self) -> Digest {
        self.parts.digest
    }

    /// Its way to the guest's subscriptions.
    pub(super) fn own(&self) -> &Arc<VersionSubscriptions> {
        &self.parts.own
    }

    /// What it takes from the guest's queue as.
    pub(super) fn reader(&self) -> Reader {
        self.dispatcher.reader()
    }

    /// It may finish its messages, but no longer change what the guest is subscribed to.
    pub(super) fn retire(&self) {
        self.parts.own.retire();
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
        (drained, self.parts.guest.stop(deadline).await)
    }
}
