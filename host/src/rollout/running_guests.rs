//! The guests of a host: those in service, and who may change them when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::join_all;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::deployment::Deployment;
use super::diff::RunningGuest;
use super::guest_context::{GuestContext, HostContext};
use super::report::{ChangeError, DrainReport};
use super::version::Retiring;
use crate::component::{Digest, RunningObject};
use crate::config::{GuestSettings, MAX_INSTANCES};
use crate::guest::CompiledComponent;
use crate::metrics::GuestStats;
use crate::status::GuestStatus;
use crate::trigger::Intake;

use crate::lock::locked;

/// All guests of a host.
///
/// # Locks
///
/// `turn` is held from the first look of a change to its last step, across awaits. `deployments` is held for single steps
/// and never across an await; whoever holds it takes no other lock but those of queues, analyses and subscriptions' phases,
/// which are leaves.
pub(crate) struct RunningGuests {
    /// The host as its guests have it around them: the engine, the connection, defaults.
    context: HostContext,
    /// The guests in service, by name.
    deployments: Mutex<BTreeMap<String, Deployment>>,
    /// The turn of whoever changes guests.
    turn: tokio::sync::Mutex<()>,
    /// Instances that are no version's yet.
    instances: Arc<Semaphore>,
    /// Cancelled when the host begins to stop: no change begins any more.
    stopping: CancellationToken,
    /// Woken when a canary has failed.
    canary_failure: Arc<Notify>,
}

impl RunningGuests {
    /// No guest yet.
    pub(crate) fn new(context: HostContext) -> Self {
        Self {
            context,
            deployments: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            instances: Arc::new(Semaphore::new(MAX_INSTANCES as usize)),
            stopping: CancellationToken::new(),
            canary_failure: Arc::default(),
        }
    }

    pub(super) fn context(&self) -> &HostContext {
        &self.context
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub(super) fn canary_failure(&self) -> &Notify {
        &self.canary_failure
    }

    /// The guests in service, locked: see [`RunningGuests`] for what may be done meanwhile.
    pub(super) fn deployments(&self) -> MutexGuard<'_, BTreeMap<String, Deployment>> {
        locked(&self.deployments)
    }

    /// Looks at a guest, or changes it in one step.
    ///
    /// # Errors
    /// `NotLoaded` if there is none of that name.
    pub(super) fn with<T>(
        &self,
        name: &str,
        step: impl FnOnce(&mut Deployment) -> T,
    ) -> Result<T, ChangeError> {
        let mut deployments = self.deployments();
        let deployment = deployments.get_mut(name);
        let deployment = deployment.ok_or_else(|| ChangeError::NotLoaded {
            name: name.to_owned(),
        })?;
        Ok(step(deployment))
    }

    /// A guest as it runs. `None` if it does not.
    pub(super) fn running(&self, name: &str) -> Option<RunningGuest> {
        self.deployments().get(name).map(Deployment::running)
    }

    /// A component that one of a guest's versions runs.
    pub(super) fn component(&self, name: &str, digest: Digest) -> Option<CompiledComponent> {
        let deployments = self.deployments();
        deployments.get(name)?.component(digest).cloned()
    }

    /// A guest's context: that of the guest of this name, or a new one.
    pub(super) fn guest_context(&self, name: &str) -> GuestContext {
        let deployments = self.deployments();
        let there = deployments.get(name).map(|guest| guest.context().clone());
        let canary_failure = || Arc::clone(&self.canary_failure);
        there.unwrap_or_else(|| GuestContext::new(name, &self.context, canary_failure()))
    }

    /// The guests in service, as they are now.
    pub(crate) fn status(&self) -> Vec<GuestStatus> {
        self.deployments()
            .values()
            .map(Deployment::status)
            .collect()
    }

    /// The number of guests in service.
    pub(crate) fn count(&self) -> usize {
        self.deployments().len()
    }

    /// One guest's status. `None` if there is no such guest in service.
    pub(crate) fn status_of(&self, name: &str) -> Option<GuestStatus> {
        self.deployments().get(name).map(Deployment::status)
    }

    /// One guest's counts.
    pub(crate) fn stats(&self, name: &str) -> Option<GuestStats> {
        self.deployments().get(name).map(Deployment::stats)
    }

    /// The components of guests in service that are objects, as they were when they were asked for.
    pub(crate) fn objects(&self) -> Vec<RunningObject> {
        let deployments = self.deployments();
        deployments.values().flat_map(Deployment::objects).collect()
    }

    /// The settings of one guest, and the prefix of its subjects.
    pub(crate) fn settings(&self, name: &str) -> Option<(GuestSettings, String)> {
        let settings = self.deployments().get(name)?.settings().clone();
        let prefix = settings.prefix.clone();
        let prefix = prefix.unwrap_or_else(|| self.context.prefix.clone());
        Some((settings, prefix))
    }

    /// True if the guests are being taken out of service.
    pub(crate) fn are_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits for the turn to change guests.
    ///
    /// # Errors
    /// `Stopping` once the host stops.
    pub(super) async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ChangeError> {
        self.unless_stopping(async { Ok(self.turn.lock().await) })
            .await
    }

    /// Gives a change up as soon as the host stops.
    pub(super) async fn unless_stopping<T>(
        &self,
        change: impl Future<Output = Result<T, ChangeError>>,
    ) -> Result<T, ChangeError> {
        self.stopping
            .run_until_cancelled(change)
            .await
            .unwrap_or(Err(ChangeError::Stopping))
    }

    /// Reserves the instances that a version may have. Two versions of a guest need theirs while one replaces the other.
    ///
    /// # Errors
    /// `TooManyInstances` if fewer are free.
    pub(super) fn reserve(
        &self,
        name: &str,
        asked: u32,
    ) -> Result<OwnedSemaphorePermit, ChangeError> {
        Arc::clone(&self.instances)
            .try_acquire_many_owned(asked)
            .map_err(|_| ChangeError::TooManyInstances {
                name: name.to_owned(),
                asked,
                free: self.instances.available_permits(),
            })
    }

    /// The time by which what is drained from now on must have ended.
    pub(super) fn drain_deadline(&self) -> Instant {
        Instant::now() + self.context.drain_timeout
    }

    /// Takes all guests out of service, and takes no more changes.
    pub(crate) async fn stop(&self, deadline: Instant) -> DrainReport {
        self.stopping.cancel();
        // A change that has come so far that it cannot be taken back ends by its own deadline, which is before ours.
        let turn = timeout_at(deadline, self.turn.lock()).await;
        let all = std::mem::take(&mut *self.deployments());
        let mut report = self.end_guests(all.into_values().collect(), deadline).await;
        if turn.is_err() {
            let problem = "a guest was being changed, and was cut off".to_owned();
            report.problems.push(problem);
        }
        report
    }

    /// Drains these guests. The connection stays open.
    pub(super) async fn end_guests(
        &self,
        guests: Vec<Deployment>,
        deadline: Instant,
    ) -> DrainReport {
        if guests.is_empty() {
            return DrainReport::default();
        }
        let contexts: Vec<_> = guests.iter().map(|guest| guest.context().clone()).collect();
        // What is settled from here on was drained.
        let retiring: Vec<_> = guests
            .into_iter()
            .flat_map(Deployment::into_retiring)
            .collect();
        let intakes: Vec<_> = contexts
            .iter()
            .map(|context| Arc::clone(&context.intake))
            .collect();
        let stopped = Intake::stop_all(&intakes, &self.context.connection, deadline).await;
        // All at once: a guest that takes all the time leaves the others theirs.
        let mut report = end_versions(retiring, deadline).await;
        if let Err(error) = stopped {
            let problem = format!("messages on their way may be lost: {error}");
            report.problems.insert(0, problem);
        }
        // A canary that failed just before is still at what it had in flight.
        let others = join_all(contexts.iter().map(|context| {
            context.retiring.close();
            context.retiring.wait()
        }));
        // Those that take longer are in the report of whoever ends them.
        let _in_time = timeout_at(deadline, others).await;
        for context in &contexts {
            let stats = context.counters.snapshot();
            report.guests.insert(context.name.to_string(), stats);
        }
        // What a canary that failed at the very end gave back, when nobody was left to take it.
        let left = |context: &GuestContext| context.queue.len() as u64;
        report.abandoned += contexts.iter().map(left).sum::<u64>();
        report
    }
}

/// Waits until these versions have handled what is theirs, and reports how they ended.
pub(super) async fn end_versions(retiring: Vec<Retiring>, deadline: Instant) -> DrainReport {
    let mut report = DrainReport::default();
    let ends = retiring.into_iter().map(|version| version.end(deadline));
    for (context, ended) in join_all(ends).await {
        report.add(&context.name, ended, context.counters.snapshot());
    }
    report
}
