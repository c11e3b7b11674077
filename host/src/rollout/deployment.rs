//! A deployment: one guest in service, with its canary and what it is desired to be. This file alone sees its fields.

use std::sync::Arc;

use super::canary::Canary;
use super::diff::{Desired, RunningCanary, RunningGuest};
use super::guest_context::GuestContext;
use super::report::ChangeError;
use super::version::{Candidate, Retiring, Version};
use crate::canary_analysis::CanaryAnalysis;
use crate::component::{Digest, RunningObject};
use crate::config::{CanarySettings, GuestSettings};
use crate::guest::CompiledComponent;
use crate::metrics::GuestStats;
use crate::status::GuestStatus;
use crate::trigger::VersionSubscriptions;

/// A guest in service.
pub(super) struct Deployment {
    /// The part of the guest that stays from version to version, such as its queue and its counters.
    context: GuestContext,
    /// The version in service.
    version: Version,
    /// The version that is tried beside it.
    canary: Option<Canary>,
    /// The number of the newest version: 1 for the one that was loaded, and one more for each after it.
    latest_version: u32,
    /// The guest as it was last asked to be. It may be otherwise by now: a canary may have been promoted or rolled back.
    desired: Desired,
    /// The reason for which the last canary was rolled back, if it was.
    canary_rolled_back: Option<String>,
}

/// A canary that is to be promoted: its failures do not count meanwhile.
pub(super) struct Promotion {
    /// The guest whose canary it is.
    pub(super) context: GuestContext,
    /// The canary's analysis, held until the canary is in service or the promotion is taken back.
    pub(super) analysis: Arc<CanaryAnalysis>,
    /// The canary's view of the guest's subscriptions, with those that it will want.
    pub(super) subscriptions: Arc<VersionSubscriptions>,
}

impl Deployment {
    /// A guest whose first version has just come into service.
    pub(super) fn new(context: GuestContext, version: Version, desired: Desired) -> Self {
        Self {
            latest_version: version.number(),
            context,
            version,
            canary: None,
            desired,
            canary_rolled_back: None,
        }
    }

    pub(super) fn context(&self) -> &GuestContext {
        &self.context
    }

    /// The settings of the version in service.
    pub(super) fn settings(&self) -> &GuestSettings {
        self.version.settings()
    }

    pub(super) fn stats(&self) -> GuestStats {
        self.context.counters.snapshot()
    }

    /// The guest as it runs, to be compared with what it is desired to be.
    pub(super) fn running(&self) -> RunningGuest {
        let canary = self.canary.as_ref().and_then(Canary::running);
        RunningGuest {
            latest_version: self.latest_version,
            desired: self.desired.clone(),
            settings: self.version.settings().clone(),
            digest: self.version.digest(),
            canary: canary.map(|(settings, digest)| RunningCanary { settings, digest }),
        }
    }

    /// A component that one of the guest's versions runs.
    pub(super) fn component(&self, digest: Digest) -> Option<&CompiledComponent> {
        let canary = self.canary.as_ref().map(Canary::version);
        std::iter::once(&self.version)
            .chain(canary)
            .map(Version::component)
            .find(|component| component.digest() == digest)
    }

    /// The guest's components that are objects, as they were when they were asked for.
    pub(super) fn objects(&self) -> impl Iterator<Item = RunningObject> {
        let Desired { settings, digests } = &self.desired;
        let digests = [Some(digests.main), digests.canary];
        let components = settings.components().zip(digests);
        components.filter_map(|(component, digest)| {
            RunningObject::new(&self.context.name, component, digest?)
        })
    }

    pub(super) fn set_desired(&mut self, desired: Desired) {
        self.desired = desired;
    }

    /// Replaces the version in service, and ends the canary. Returns the versions that get no messages any more.
    pub(super) fn replace(&mut self, candidate: Candidate, desired: Desired) -> Vec<Retiring> {
        self.version.retire();
        let mut retiring: Vec<_> = self.end_canary().into_iter().collect();
        self.latest_version = candidate.number();
        self.desired = desired;
        self.canary_rolled_back = None;
        // Read before the new version takes over.
        let settled_before = self.version.settled();
        let new = candidate.into_service(&self.context);
        let old = std::mem::replace(&mut self.version, new);
        retiring.push(Retiring::new(self.context.clone(), old, settled_before));
        retiring
    }

    /// Begins a canary. Returns the one before it.
    pub(super) fn start_canary(
        &mut self,
        candidate: Candidate,
        settings: CanarySettings,
        desired: Desired,
    ) -> Option<Retiring> {
        let retiring = self.end_canary();
        self.latest_version = candidate.number();
        self.desired = desired;
        self.canary_rolled_back = None;
        self.canary = Some(Canary::begin(candidate, &self.context, settings));
        retiring
    }

    /// Begins to promote the canary: from here on its failures do not count.
    ///
    /// # Errors
    /// There is none, or it has failed.
    pub(super) fn begin_promotion(&self) -> Result<Promotion, ChangeError> {
        let canary = self.canary.as_ref().ok_or_else(|| self.no_canary())?;
        if !canary.analysis().hold() {
            return Err(self.no_canary());
        }
        Ok(Promotion {
            context: self.context.clone(),
            analysis: Arc::clone(canary.analysis()),
            subscriptions: Arc::clone(canary.subscriptions()),
        })
    }

    /// Puts the canary into service. Returns the version that was, if there is a canary.
    pub(super) fn promote_canary(&mut self) -> Option<Retiring> {
        let canary = self.canary.take()?;
        self.version.retire();
        let settled_before = self.version.settled();
        let new = canary.promote(&self.context);
        let old = std::mem::replace(&mut self.version, new);
        Some(Retiring::new(self.context.clone(), old, settled_before))
    }

    /// Ends the canary, if there is one.
    pub(super) fn end_canary(&mut self) -> Option<Retiring> {
        // It may have failed a moment ago.
        self.report_canary_failure();
        let canary = self.canary.take()?;
        let settled_before = canary.version().settled();
        let version = canary.retire(&self.context);
        Some(Retiring::new(self.context.clone(), version, settled_before))
    }

    pub(super) fn has_failed_canary(&self) -> bool {
        self.canary.as_ref().is_some_and(Canary::has_failed)
    }

    /// Checks that there is a canary.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn must_have_canary(&self) -> Result<(), ChangeError> {
        match self.canary {
            Some(_) => Ok(()),
            None => Err(self.no_canary()),
        }
    }

    /// Logs and counts, once, that the canary has failed, if it has.
    pub(super) fn report_canary_failure(&mut self) {
        let Some(why) = self.canary.as_mut().and_then(Canary::report_failure) else {
            return;
        };
        tracing::error!(guest = %self.context.name, "the canary is rolled back: {why}");
        self.context.counters.canaries_rolled_back.add_one();
        self.canary_rolled_back = Some(why);
    }

    fn no_canary(&self) -> ChangeError {
        // It may be on its way out.
        let failed = self.canary.as_ref().and_then(Canary::why_rolled_back);
        ChangeError::NoCanary {
            name: self.context.name.to_string(),
            rolled_back: failed.or_else(|| self.canary_rolled_back.clone()),
        }
    }

    /// Takes the guest apart, when it is unloaded. What its versions settle from here on counts as finished.
    pub(super) fn into_retiring(self) -> impl Iterator<Item = Retiring> {
        let Self {
            context,
            version,
            canary,
            ..
        } = self;
        let canary = canary.map(Canary::into_version);
        std::iter::once(version).chain(canary).map(move |version| {
            let settled = version.settled();
            Retiring::new(context.clone(), version, settled)
        })
    }

    /// The guest as it is now.
    pub(super) fn status(&self) -> GuestStatus {
        let GuestContext {
            name,
            queue,
            counters,
            ..
        } = &self.context;
        GuestStatus {
            name: name.to_string(),
            component: self.version.settings().component.clone(),
            version: self.version.number(),
            queued: queue.len(),
            queued_bytes: queue.bytes(),
            in_flight: counters.in_flight.get(),
            instances: counters.instances.get(),
            memory_bytes: counters.memory.get(),
            descriptors: counters.descriptors.get(),
            file_calls: counters.file_calls.get(),
            disk_bytes: counters.disk.get(),
            stats: counters.snapshot(),
            handling: counters.handling.snapshot(),
            canary: self
                .canary
                .as_ref()
                .map(|canary| canary.status(&self.context)),
            canary_rolled_back: self.canary_rolled_back.clone(),
        }
    }
}
