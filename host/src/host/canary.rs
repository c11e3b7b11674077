//! Canaries: versions of guests that are on trial beside the one in service.

use std::sync::Arc;

use super::change::Change;
use super::guests::{Base, Guests, Slot};
use super::version::{Candidate, Version};
use super::{CanaryInfo, ChangeError, DrainReport};
use crate::config::CanarySettings;
use crate::metrics::CanaryFigures;
use crate::trial::{Figures, Trial};

/// A version on trial.
pub(super) struct Canary {
    pub(super) version: Version,
    pub(super) trial: Arc<Trial>,
    pub(super) settings: CanarySettings,
    failure_is_told: bool,
}

impl Canary {
    /// From here on it gets its share of the guest's messages.
    pub(super) fn begin(candidate: Candidate, base: &Base, settings: CanarySettings) -> Self {
        let window = settings.counted();
        let trial = Arc::new(Trial::new(
            window,
            settings.most_failures(),
            Arc::clone(&base.canary_failure),
        ));
        let version = candidate.into_trial(base, settings.share.get(), Arc::clone(&trial));
        Self {
            version,
            trial,
            settings,
            failure_is_told: false,
        }
    }

    /// It gets no more messages. What waited for it is for the version in service.
    pub(super) fn leave(self, base: &Base) -> Version {
        self.trial.end();
        base.queue.join(self.version.reader());
        self.version.retire();
        self.version
    }

    /// How it does, for people.
    pub(super) fn info(&self, base: &Base) -> CanaryInfo {
        let Figures {
            handled,
            failed,
            recently_failed,
        } = self.trial.figures();
        CanaryInfo {
            component: self.settings.component.clone(),
            version: self.version.number(),
            share: self.settings.share,
            max_failure: self.settings.max_failure,
            window: self.settings.counted(),
            handled,
            failed,
            recently_failed,
            queued: base.queue.len_for(self.version.reader()),
            in_hand: self.version.in_hand(),
        }
    }

    /// How it does, for programs.
    pub(super) fn figures(&self) -> CanaryFigures {
        let Figures {
            handled, failed, ..
        } = self.trial.figures();
        CanaryFigures {
            share: self.settings.share.get(),
            handled,
            failed,
        }
    }

    /// Why it was taken out, if it has been.
    fn why_taken_out(&self) -> Option<String> {
        let CanarySettings {
            component,
            max_failure,
            ..
        } = &self.settings;
        let window = self.settings.counted();
        let Figures {
            handled,
            failed,
            recently_failed,
        } = self.trial.figures();
        let seen = u64::from(window).min(handled + failed);
        self.trial.has_failed().then(|| {
            format!(
                "version {}, {component}: {recently_failed} of its last {seen} messages failed, and of {window} {} may \
                 (max_failure = {})",
                self.version.number(),
                self.settings.most_failures(),
                max_failure.get()
            )
        })
    }
}

impl Guests {
    /// Puts the version on trial into service, and ends the one that was. Reports how that ended.
    pub(super) async fn promote(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let _turn = self.turn().await?;
        self.must_have_canary(name)?;
        self.carry_out(vec![Change::Promote(name.to_owned())]).await
    }

    /// Ends the trial, and the version that was on it. Reports how that ended.
    pub(super) async fn abandon(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let _turn = self.turn().await?;
        self.must_have_canary(name)?;
        self.carry_out(vec![Change::EndCanary(name.to_owned())])
            .await
    }

    fn must_have_canary(&self, name: &str) -> Result<(), ChangeError> {
        let slots = self.slots();
        let slot = slots.get(name).ok_or_else(|| ChangeError::NotLoaded {
            name: name.to_owned(),
        })?;
        if slot.canary.is_some() {
            Ok(())
        } else {
            Err(slot.no_canary())
        }
    }

    /// Takes out the versions on trial that fail too often, until the host stops. They get no messages any more: that is
    /// told at once, and they end when it is their turn. Returns how those ended that were still at it then.
    pub(super) async fn judge_canaries(self: Arc<Self>) -> DrainReport {
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return DrainReport::default(),
                () = self.canary_failure.notified() => {}
            }
            self.slots().values_mut().for_each(Slot::tell_failure);
            let mut others = false;
            let mut taking_out = std::pin::pin!(self.take_out_failed());
            let report = loop {
                tokio::select! {
                    report = &mut taking_out => break report,
                    () = self.canary_failure.notified() => {
                        self.slots().values_mut().for_each(Slot::tell_failure);
                        others = true;
                    }
                }
            };
            if others {
                self.canary_failure.notify_one();
            }
            if self.stopping.is_cancelled() {
                return report;
            }
            for problem in report.into_problems() {
                tracing::warn!("while a canary was taken out: {problem}");
            }
        }
    }
}

impl Slot {
    pub(super) fn has_failed_canary(&self) -> bool {
        self.canary
            .as_ref()
            .is_some_and(|canary| canary.trial.has_failed())
    }

    /// Says once that its canary has failed, if it has.
    pub(super) fn tell_failure(&mut self) {
        let Some(canary) = self
            .canary
            .as_mut()
            .filter(|canary| !canary.failure_is_told)
        else {
            return;
        };
        let Some(why) = canary.why_taken_out() else {
            return;
        };
        canary.failure_is_told = true;
        tracing::error!(guest = %self.base.name, "the canary is taken out: {why}");
        self.base.counters.canaries_taken_out.add_one();
        self.canary_taken_out = Some(why);
    }

    /// Why there is no canary to do something with.
    pub(super) fn no_canary(&self) -> ChangeError {
        // It may be on its way out.
        let failed = self.canary.as_ref().and_then(Canary::why_taken_out);
        let taken_out = failed.or_else(|| self.canary_taken_out.clone());
        ChangeError::NoCanary {
            name: self.base.name.to_string(),
            taken_out,
        }
    }
}
