//! The guests of a host: loaded, replaced and unloaded while it runs. What the configuration lists comes this way, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::canary::Canary;
use super::version::{Candidate, Version};
use super::{ChangeError, DrainReport, GuestError, GuestInfo};
use crate::component::{Digest, RunningObject};
use crate::config::{BucketSettings, GuestSettings, MOST_INSTANCES};
use crate::connection::Connection;
use crate::connector::Connector;
use crate::guest::{CompiledComponent, Engine};
use crate::lock::locked;
use crate::metrics::{GuestCounters, GuestFigures, GuestStats};
use crate::queue::Queue;
use crate::trace::Tracer;
use crate::trigger::{Incoming, Intake};

/// What every guest of a host has around it.
pub(super) struct Surroundings {
    pub(super) connection: Connection,
    pub(super) connector: Connector,
    pub(super) prefix: String,
    pub(super) default_bucket: String,
    pub(super) bucket_settings: BTreeMap<String, BucketSettings>,
    pub(super) drain_timeout: Duration,
    pub(super) tracer: Option<Tracer>,
}

/// What stays of a guest from version to version.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) name: Arc<str>,
    pub(super) intake: Arc<Intake>,
    pub(super) queue: Arc<Queue<Incoming>>,
    pub(super) counters: Arc<GuestCounters>,
    /// Woken when a version on trial has failed.
    pub(super) canary_failure: Arc<Notify>,
}

/// A guest in service.
pub(super) struct Slot {
    pub(super) base: Base,
    pub(super) version: Version,
    /// The version that is on trial beside it.
    pub(super) canary: Option<Canary>,
    /// The number of the last version: 1 for the one that was loaded, and one more for each after it.
    pub(super) latest: u32,
    /// What the guest was last told to be. It may be otherwise by now: a canary may have been promoted or taken out.
    pub(super) asked: Asked,
    /// Why the last version on trial was taken out, if it was.
    pub(super) canary_taken_out: Option<String>,
}

/// What a guest was told to be.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) settings: GuestSettings,
    /// The components then.
    pub(super) known: Known,
}

/// Components that have been compiled before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) main: Option<Digest>,
    pub(super) canary: Option<Digest>,
}

impl Slot {
    pub(super) fn new(base: Base, version: Version, asked: Asked) -> Self {
        let latest = version.number();
        Self {
            base,
            version,
            canary: None,
            latest,
            asked,
            canary_taken_out: None,
        }
    }

    fn figures(&self) -> GuestFigures {
        let Base {
            name,
            queue,
            counters,
            ..
        } = &self.base;
        GuestFigures {
            name: name.to_string(),
            stats: counters.snapshot(),
            handling: counters.handling.snapshot(),
            in_flight: counters.in_flight.get(),
            queue_messages: queue.len() as u64,
            queue_bytes: queue.bytes() as u64,
            instances: counters.instances.get(),
            memory_bytes: counters.memory.get(),
            canary: self.canary.as_ref().map(Canary::figures),
        }
    }

    /// How much its versions have settled.
    fn settled(&self) -> [u64; 2] {
        [
            self.version.settled(),
            self.canary
                .as_ref()
                .map_or(0, |canary| canary.version.settled()),
        ]
    }

    fn info(&self) -> GuestInfo {
        GuestInfo {
            name: self.base.name.to_string(),
            component: self.version.settings().component.clone(),
            version: self.version.number(),
            queued: self.base.queue.len(),
            in_hand: self.version.in_hand()
                + self
                    .canary
                    .as_ref()
                    .map_or(0, |canary| canary.version.in_hand()),
            stats: self.base.counters.snapshot(),
            canary: self.canary.as_ref().map(|canary| canary.info(&self.base)),
            canary_taken_out: self.canary_taken_out.clone(),
        }
    }
}

/// All guests of a host.
pub(super) struct Guests {
    pub(super) engine: Arc<Engine>,
    pub(super) surroundings: Surroundings,
    slots: Mutex<BTreeMap<String, Slot>>,
    /// Changes take turns.
    changes: tokio::sync::Mutex<()>,
    /// Instances that are nobody's yet.
    instances: Arc<Semaphore>,
    pub(super) stopping: CancellationToken,
    /// Woken when a version on trial has failed.
    pub(super) canary_failure: Arc<Notify>,
}

impl Guests {
    pub(super) fn new(engine: Arc<Engine>, surroundings: Surroundings) -> Self {
        let (slots, changes, stopping, canary_failure) = Default::default();
        let instances = Arc::new(Semaphore::new(MOST_INSTANCES as usize));
        Self {
            engine,
            surroundings,
            slots,
            changes,
            instances,
            stopping,
            canary_failure,
        }
    }

    /// Takes all guests out of service, and takes no more changes.
    pub(super) async fn stop(&self, deadline: Instant) -> DrainReport {
        self.stopping.cancel();
        // A change that has come so far that it cannot be taken back ends by its own deadline, which is before ours.
        let turn = timeout_at(deadline, self.changes.lock()).await;
        let slots = std::mem::take(&mut *self.slots()).into_values().collect();
        let mut report = self.end(slots, deadline).await;
        if turn.is_err() {
            report
                .problems
                .push("a guest was being changed, and was cut off".to_owned());
        }
        report
    }

    /// The guests in service.
    pub(super) fn list(&self) -> Vec<GuestInfo> {
        self.slots().values().map(Slot::info).collect()
    }

    /// The components of guests in service that are objects, as they were when they were asked for.
    pub(super) fn objects(&self) -> Vec<RunningObject> {
        let slots = self.slots();
        let objects = slots.iter().flat_map(|(name, slot)| {
            let Known { main, canary } = slot.asked.known;
            let components = slot.asked.settings.components().zip([main, canary]);
            components
                .filter_map(|(component, digest)| RunningObject::new(name, component, digest?))
        });
        objects.collect()
    }

    /// The figures of one guest.
    pub(super) fn stats(&self, name: &str) -> Option<GuestStats> {
        self.slots()
            .get(name)
            .map(|slot| slot.base.counters.snapshot())
    }

    /// The figures of all guests.
    pub(super) fn figures(&self) -> Vec<GuestFigures> {
        self.slots().values().map(Slot::figures).collect()
    }

    /// Whether they are being taken out of service.
    pub(super) fn are_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// The settings of one guest, and what is put before its subjects.
    pub(super) fn settings(&self, name: &str) -> Option<(GuestSettings, String)> {
        let settings = self
            .slots()
            .get(name)
            .map(|slot| slot.version.settings().clone())?;
        let prefix = settings
            .prefix
            .clone()
            .unwrap_or_else(|| self.surroundings.prefix.clone());
        Some((settings, prefix))
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        // Entries are only put in, swapped and taken out under the lock.
        locked(&self.slots)
    }

    /// A guest that has no version yet.
    pub(super) fn base(&self, name: &str) -> Base {
        let counters = Arc::<GuestCounters>::default();
        // Nothing fits until a version takes it over.
        let queue = Arc::new(Queue::new(0, 0));
        let connection = self.surroundings.connection.clone();
        let tracer = self.surroundings.tracer.clone();
        let intake = Intake::new(
            name,
            connection,
            Arc::clone(&counters),
            Arc::clone(&queue),
            tracer,
        );
        let canary_failure = Arc::clone(&self.canary_failure);
        Base {
            name: name.into(),
            intake: Arc::new(intake),
            queue,
            counters,
            canary_failure,
        }
    }

    /// Changes take turns; none begins once the host stops.
    pub(super) async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ChangeError> {
        self.unless_stopping(async { Ok(self.changes.lock().await) })
            .await
    }

    pub(super) async fn candidate(
        &self,
        base: &Base,
        number: u32,
        settings: GuestSettings,
        component: CompiledComponent,
    ) -> Result<Candidate, ChangeError> {
        let instances = self.reserve(&base.name, settings.instances.max.get())?;
        let engine = Arc::clone(&self.engine);
        let started = Candidate::start(
            engine,
            &self.surroundings,
            base,
            number,
            settings,
            component,
            instances,
        )
        .await;
        started
            .map_err(|error| ChangeError::guest(&base.name, GuestError::Start(error.to_string())))
    }

    /// The instances that a version may have. Two versions of a guest are there at once while one replaces the other.
    fn reserve(&self, name: &str, asked: u32) -> Result<OwnedSemaphorePermit, ChangeError> {
        Arc::clone(&self.instances)
            .try_acquire_many_owned(asked)
            .map_err(|_| ChangeError::TooManyInstances {
                name: name.to_owned(),
                asked,
                free: self.instances.available_permits(),
            })
    }

    /// Gives up as soon as the host stops.
    pub(super) async fn unless_stopping<T>(
        &self,
        change: impl Future<Output = Result<T, ChangeError>>,
    ) -> Result<T, ChangeError> {
        self.stopping
            .run_until_cancelled(change)
            .await
            .unwrap_or(Err(ChangeError::Stopping))
    }

    /// By when what is drained from now on must have ended.
    pub(super) fn drain_deadline(&self) -> Instant {
        Instant::now() + self.surroundings.drain_timeout
    }

    /// Drains these. The connection stays open.
    pub(super) async fn end(&self, slots: Vec<Slot>, deadline: Instant) -> DrainReport {
        let mut report = DrainReport::default();
        if slots.is_empty() {
            return report;
        }
        let queues: Vec<_> = slots
            .iter()
            .map(|slot| Arc::clone(&slot.base.queue))
            .collect();
        let leaving: Vec<_> = slots.iter().map(Slot::settled).collect();
        let intakes: Vec<_> = slots
            .iter()
            .map(|slot| Arc::clone(&slot.base.intake))
            .collect();
        if let Err(error) =
            Intake::stop_all(&intakes, &self.surroundings.connection, deadline).await
        {
            report
                .problems
                .push(format!("messages on their way may be lost: {error}"));
        }
        // All at once: a guest that takes all the time leaves the others theirs.
        let versions = slots.into_iter().zip(leaving).flat_map(|(slot, settled)| {
            let Slot {
                base,
                version,
                canary,
                ..
            } = slot;
            let canary = canary.map(|canary| canary.version);
            let versions = std::iter::once(version).chain(canary).zip(settled);
            versions.map(move |(version, settled)| (base.clone(), version, settled))
        });
        let ends = versions
            .map(async |(base, version, settled)| (base, version.end(settled, deadline).await));
        for (base, ended) in join_all(ends).await {
            report.add(&base.name, ended, base.counters.snapshot());
        }
        // What a canary that failed at the very end gave back, when nobody was left to take it.
        report.abandoned += queues.iter().map(|queue| queue.len() as u64).sum::<u64>();
        report
    }
}
