//! The guests of a host: loaded, replaced and unloaded while it runs. What the configuration lists comes this way, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::change::{Change, Coming};
use super::changes::RunningObject;
use super::version::{Candidate, Version};
use super::{Applied, ChangeError, DrainReport, GuestError, GuestInfo};
use crate::config::{BucketSettings, ComponentSource, GuestSettings, MOST_INSTANCES};
use crate::connection::Connection;
use crate::connector::Connector;
use crate::guest::{Digest, Engine, Loaded};
use crate::metrics::{GuestCounters, GuestFigures, GuestStats};
use crate::queue::Queue;
use crate::trace::Tracer;
use crate::trigger::{Arrival, Subjects};

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
    pub(super) subjects: Arc<Subjects>,
    pub(super) queue: Arc<Queue<Arrival>>,
    pub(super) counters: Arc<GuestCounters>,
}

impl Base {
    fn figures(&self) -> GuestFigures {
        let counters = &self.counters;
        GuestFigures {
            name: self.name.to_string(),
            stats: counters.snapshot(),
            handling: counters.handling.snapshot(),
            in_flight: counters.in_flight.get(),
            queue_messages: self.queue.len() as u64,
            queue_bytes: self.queue.bytes() as u64,
            instances: counters.instances.get(),
            memory_bytes: counters.memory.get(),
        }
    }
}

/// A guest in service.
pub(super) struct Slot {
    pub(super) base: Base,
    pub(super) version: Version,
    /// 1 for the one that was loaded, one more each time it was replaced.
    pub(super) number: u32,
}

/// All guests of a host.
pub(super) struct Guests {
    engine: Arc<Engine>,
    surroundings: Surroundings,
    slots: Mutex<BTreeMap<String, Slot>>,
    /// Changes take turns.
    changes: tokio::sync::Mutex<()>,
    /// Instances that are nobody's yet.
    instances: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Guests {
    pub(super) fn new(engine: Arc<Engine>, surroundings: Surroundings) -> Self {
        let (slots, changes, stopping) = Default::default();
        let instances = Arc::new(Semaphore::new(MOST_INSTANCES as usize));
        Self { engine, surroundings, slots, changes, instances, stopping }
    }

    /// Compiles a component and brings it into service as a new guest.
    pub(super) async fn load(&self, name: &str, settings: GuestSettings) -> Result<(), ChangeError> {
        let loaded = self.unless_stopping(self.compile(name, &settings, None)).await?;
        self.bring_up(vec![(name.to_owned(), settings, loaded)]).await
    }

    /// Brings compiled components into service as new guests.
    pub(super) async fn bring_up(
        &self,
        loaded: Vec<(String, GuestSettings, Option<Loaded>)>,
    ) -> Result<(), ChangeError> {
        let _turn = self.turn().await?;
        let mut changes = Vec::new();
        for (name, settings, loaded) in loaded {
            if self.slots().contains_key(&name) {
                return Err(ChangeError::AlreadyLoaded { name });
            }
            let base = self.base(&name);
            changes.extend(loaded.map(|loaded| Coming { base, settings, loaded }.into()));
        }
        self.carry_out(changes).await.map(drop)
    }

    /// Compiles those whose components are objects.
    pub(super) async fn load_objects(
        &self,
        guests: &BTreeMap<String, GuestSettings>,
    ) -> Result<Vec<(String, GuestSettings, Option<Loaded>)>, ChangeError> {
        let objects =
            guests.iter().filter(|(_, guest)| matches!(guest.component, ComponentSource::Object { .. }));
        let loads = objects.map(async |(name, settings)| {
            let loaded = self.compile(name, settings, None).await?;
            Ok((name.clone(), settings.clone(), loaded))
        });
        join_all(loads).await.into_iter().collect()
    }

    /// Brings a new version of a guest into service, and ends the old one. Reports how that ended.
    pub(super) async fn replace(
        &self,
        name: &str,
        settings: GuestSettings,
    ) -> Result<DrainReport, ChangeError> {
        let not_loaded = || ChangeError::NotLoaded { name: name.to_owned() };
        if !self.slots().contains_key(name) {
            return Err(not_loaded());
        }
        let loaded = self.unless_stopping(self.compile(name, &settings, None)).await?;
        let _turn = self.turn().await?;
        let base = self.slots().get(name).map(|slot| slot.base.clone()).ok_or_else(not_loaded)?;
        let change = loaded.map(|loaded| Coming { base, settings, loaded }.into());
        self.carry_out(change.into_iter().collect()).await
    }

    /// Takes a guest out of service: what has arrived for it is handled first.
    pub(super) async fn unload(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let _turn = self.turn().await?;
        if !self.slots().contains_key(name) {
            return Err(ChangeError::NotLoaded { name: name.to_owned() });
        }
        self.carry_out(vec![Change::GoOut(name.to_owned())]).await
    }

    /// Makes the guests be these, or changes nothing.
    pub(super) async fn apply(
        &self,
        wanted: BTreeMap<String, GuestSettings>,
    ) -> Result<Applied, ChangeError> {
        let _turn = self.turn().await?;
        let mut applied = Applied::default();
        let mut changes = Vec::new();
        for (name, settings) in wanted.clone() {
            let current = self.slots().get(&name).map(|slot| {
                let known = (slot.version.settings == settings).then_some(slot.version.digest);
                (slot.base.clone(), known)
            });
            let known = current.as_ref().and_then(|(_, known)| *known);
            let loaded = self.unless_stopping(self.compile(&name, &settings, known)).await?;
            // The same settings and the same bytes: it stays as it is.
            let Some(loaded) = loaded else { continue };
            let list = if current.is_some() { &mut applied.replaced } else { &mut applied.loaded };
            list.push(name.clone());
            let base = current.map_or_else(|| self.base(&name), |(base, _)| base);
            changes.push(Coming { base, settings, loaded }.into());
        }
        let gone: Vec<_> = self.slots().keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        changes.extend(gone.iter().cloned().map(Change::GoOut));
        applied.unloaded = gone;
        applied.problems = self.carry_out(changes).await?.into_problems();
        Ok(applied)
    }

    /// Takes all guests out of service, and takes no more changes.
    pub(super) async fn stop(&self, deadline: Instant) -> DrainReport {
        self.stopping.cancel();
        // A change that has come so far that it cannot be taken back ends by its own deadline, which is before ours.
        let turn = timeout_at(deadline, self.changes.lock()).await;
        let slots = std::mem::take(&mut *self.slots()).into_values().collect();
        let mut report = self.end(slots, deadline).await;
        if turn.is_err() {
            report.problems.push("a guest was being changed, and was cut off".to_owned());
        }
        report
    }

    /// The guests in service.
    pub(super) fn list(&self) -> Vec<GuestInfo> {
        let info = |(name, slot): (&String, &Slot)| GuestInfo {
            name: name.clone(),
            component: slot.version.settings.component.clone(),
            version: slot.number,
            queued: slot.base.queue.len(),
            in_hand: slot.version.in_hand(),
            stats: slot.base.counters.snapshot(),
        };
        self.slots().iter().map(info).collect()
    }

    /// The guests in service whose components are objects.
    pub(super) fn objects(&self) -> Vec<RunningObject> {
        let object = |(name, slot): (&String, &Slot)| {
            RunningObject::new(name, &slot.version.settings.component, slot.version.digest)
        };
        self.slots().iter().filter_map(object).collect()
    }

    /// The figures of one guest.
    pub(super) fn stats(&self, name: &str) -> Option<GuestStats> {
        self.slots().get(name).map(|slot| slot.base.counters.snapshot())
    }

    /// The figures of all guests.
    pub(super) fn figures(&self) -> Vec<GuestFigures> {
        self.slots().values().map(|slot| slot.base.figures()).collect()
    }

    /// Whether they are being taken out of service.
    pub(super) fn are_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// The settings of one guest, and what is put before its subjects.
    pub(super) fn settings(&self, name: &str) -> Option<(GuestSettings, String)> {
        let settings = self.slots().get(name).map(|slot| slot.version.settings.clone())?;
        let prefix = settings.prefix.clone().unwrap_or_else(|| self.surroundings.prefix.clone());
        Some((settings, prefix))
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        // Entries are only put in, swapped and taken out under the lock.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn base(&self, name: &str) -> Base {
        let counters = Arc::<GuestCounters>::default();
        // Nothing fits until a version takes it over.
        let queue = Arc::new(Queue::new(0, 0));
        let connection = self.surroundings.connection.clone();
        let tracer = self.surroundings.tracer.clone();
        let subjects = Subjects::new(name, connection, Arc::clone(&counters), Arc::clone(&queue), tracer);
        Base { name: name.into(), subjects: Arc::new(subjects), queue, counters }
    }

    async fn compile(
        &self,
        name: &str,
        settings: &GuestSettings,
        known: Option<Digest>,
    ) -> Result<Option<Loaded>, ChangeError> {
        let jetstream = self.surroundings.connection.jetstream();
        let loaded = Loaded::load(&self.engine, jetstream, &settings.component, known).await;
        loaded.map_err(|error| ChangeError::guest(name, error.into()))
    }

    /// Changes take turns; none begins once the host stops.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ChangeError> {
        self.unless_stopping(async { Ok(self.changes.lock().await) }).await
    }

    pub(super) async fn candidate(
        &self,
        base: &Base,
        settings: GuestSettings,
        loaded: Loaded,
    ) -> Result<Candidate, ChangeError> {
        let instances = self.reserve(&base.name, settings.instances.max.get())?;
        let engine = Arc::clone(&self.engine);
        let started = Candidate::start(engine, &self.surroundings, base, settings, loaded, instances).await;
        started.map_err(|error| ChangeError::guest(&base.name, GuestError::Start(error.to_string())))
    }

    /// The instances that a version may have. Two versions of a guest are there at once while one replaces the other.
    fn reserve(&self, name: &str, asked: u32) -> Result<OwnedSemaphorePermit, ChangeError> {
        Arc::clone(&self.instances).try_acquire_many_owned(asked).map_err(|_| ChangeError::TooManyInstances {
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
        self.stopping.run_until_cancelled(change).await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// By when what is drained from now on must have ended.
    pub(super) fn drain_deadline(&self) -> Instant {
        Instant::now() + self.surroundings.drain_timeout
    }

    /// Drains these. The connection stays open.
    pub(super) async fn end(&self, slots: Vec<Slot>, deadline: Instant) -> DrainReport {
        let mut report = DrainReport::default();
        let settled: Vec<_> = slots.iter().map(|slot| slot.version.settled()).collect();
        let stoppers = join_all(slots.iter().map(|slot| slot.base.subjects.stoppers())).await.concat();
        let left = deadline.saturating_duration_since(Instant::now());
        if let Err(error) = self.surroundings.connection.quiesce(&stoppers, left).await {
            report.problems.push(format!("messages on their way may be lost: {error}"));
        }
        join_all(slots.iter().map(|slot| slot.base.subjects.finish())).await;
        // All at once: a guest that takes all the time leaves the others theirs.
        let ends = slots
            .into_iter()
            .zip(settled)
            .map(async |(slot, settled)| (slot.version.end(settled, deadline).await, slot.base));
        for (ended, base) in join_all(ends).await {
            report.add(&base.name, ended, base.counters.snapshot());
        }
        report
    }
}

/// Compiles the components that are files, all at once.
pub(super) async fn load_files(
    engine: &Arc<Engine>,
    guests: &BTreeMap<String, GuestSettings>,
) -> Result<Vec<(String, GuestSettings, Option<Loaded>)>, (String, GuestError)> {
    let files = guests.iter().filter_map(|(name, settings)| match &settings.component {
        ComponentSource::File(path) => Some((name, settings, path)),
        ComponentSource::Object { .. } => None,
    });
    let loads = files.map(async |(name, settings, path)| match Loaded::load_file(engine, path, None).await {
        Ok(loaded) => Ok((name.clone(), settings.clone(), loaded)),
        Err(error) => Err((name.clone(), GuestError::from(error))),
    });
    join_all(loads).await.into_iter().collect()
}
