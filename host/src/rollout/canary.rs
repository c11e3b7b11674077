//! A canary: another version of a guest beside the one in service, on a share of the guest's messages.

use std::sync::Arc;

use super::guest_context::GuestContext;
use super::version::{Candidate, Version};
use crate::canary_analysis::{AnalysisCounts, CanaryAnalysis};
use crate::component::Digest;
use crate::config::CanarySettings;
use crate::status::CanaryStatus;
use crate::trigger::VersionSubscriptions;

/// A version that gets a share of the guest's messages, and the analysis of what becomes of them.
pub(super) struct Canary {
    /// The version that is tried, whose workers read a lane of their own.
    version: Version,
    /// The analysis of the canary's outcomes, shared with its workers.
    analysis: Arc<CanaryAnalysis>,
    /// The canary's own settings: its component, its share, and its bound of failures.
    settings: CanarySettings,
    /// The canary's failure has been logged and counted.
    failure_is_reported: bool,
}

impl Canary {
    /// Gives a version its share of the guest's messages, from now on.
    pub(super) fn begin(
        candidate: Candidate,
        context: &GuestContext,
        settings: CanarySettings,
    ) -> Self {
        let analysis = Arc::new(CanaryAnalysis::new(
            settings.window_len(),
            settings.max_failures(),
            Arc::clone(&context.canary_failure),
        ));
        let share = settings.share.get();
        Self {
            version: candidate.into_canary(context, share, Arc::clone(&analysis)),
            analysis,
            settings,
            failure_is_reported: false,
        }
    }

    /// Ends the canary's share: what waited for it is for the version in service.
    pub(super) fn retire(self, context: &GuestContext) -> Version {
        self.analysis.end();
        context.queue.merge_lane(self.version.reader());
        self.version.retire();
        self.version
    }

    /// Hands the guest's queue over to the canary: it is the version in service from now on.
    pub(super) fn promote(self, context: &GuestContext) -> Version {
        self.analysis.end();
        context.queue.promote_lane(self.version.reader());
        self.version
    }

    /// The version, when the guest itself is stopped.
    pub(super) fn into_version(self) -> Version {
        self.version
    }

    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    pub(super) fn analysis(&self) -> &Arc<CanaryAnalysis> {
        &self.analysis
    }

    pub(super) fn subscriptions(&self) -> &Arc<VersionSubscriptions> {
        self.version.subscriptions()
    }

    /// The canary's settings and component, unless it has failed: then it is on its way out.
    pub(super) fn running(&self) -> Option<(CanarySettings, Digest)> {
        let goes_on = !self.analysis.has_failed();
        goes_on.then(|| (self.settings.clone(), self.version.digest()))
    }

    /// True if the canary fails too often, or has.
    pub(super) fn has_failed(&self) -> bool {
        self.analysis.has_failed()
    }

    /// The canary as it is now.
    pub(super) fn status(&self, context: &GuestContext) -> CanaryStatus {
        let AnalysisCounts {
            handled,
            failed,
            recently_failed,
        } = self.analysis.counts();
        CanaryStatus {
            component: self.settings.component.clone(),
            version: self.version.number(),
            share: self.settings.share,
            max_failure: self.settings.max_failure,
            window: self.settings.window_len(),
            handled,
            failed,
            recently_failed,
            queued: context.queue.len_for(self.version.reader()),
            in_flight: self.version.in_flight(),
        }
    }

    /// The reason for which the canary is rolled back, the first time that it is asked for after its failure.
    pub(super) fn report_failure(&mut self) -> Option<String> {
        if self.failure_is_reported {
            return None;
        }
        let why = self.why_rolled_back()?;
        self.failure_is_reported = true;
        Some(why)
    }

    /// The reason for which the canary is rolled back. `None` if it has not failed.
    pub(super) fn why_rolled_back(&self) -> Option<String> {
        let CanarySettings {
            component,
            max_failure,
            ..
        } = &self.settings;
        let window = self.settings.window_len();
        let AnalysisCounts {
            handled,
            failed,
            recently_failed,
        } = self.analysis.counts();
        let seen = u64::from(window).min(handled + failed);
        self.analysis.has_failed().then(|| {
            format!(
                "version {}, {component}: {recently_failed} of its last {seen} messages failed, and of {window} {} may \
                 (max_failure = {})",
                self.version.number(),
                self.settings.max_failures(),
                max_failure.get()
            )
        })
    }
}
