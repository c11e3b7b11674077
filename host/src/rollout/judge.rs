//! The end of canaries: promoted or aborted by an operator, or rolled back because they fail too often.

use std::sync::Arc;

use super::deployment::Deployment;
use super::diff::Step;
use super::report::{ChangeError, DrainReport};
use super::resolve::Compiled;
use super::running_guests::{RunningGuests, end_versions};

impl RunningGuests {
    /// Puts a guest's canary into service, and ends the version that was. Reports how that ended.
    pub(crate) async fn promote_canary(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let guest = name.to_owned();
        self.end_canary(name, Step::Promote { guest }).await
    }

    /// Ends a guest's canary. Reports how it ended.
    pub(crate) async fn abort_canary(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let guest = name.to_owned();
        self.end_canary(name, Step::EndCanary { guest }).await
    }

    async fn end_canary(&self, name: &str, step: Step) -> Result<DrainReport, ChangeError> {
        let _turn = self.turn().await?;
        self.with(name, |guest| guest.must_have_canary())??;
        self.carry_out(vec![step], Compiled::default()).await
    }

    /// Rolls canaries back that fail too often, until the host stops. They get no messages any more: that is logged at once,
    /// and they end when it is their turn. Returns how those ended that were still at it when the host stopped.
    pub(crate) async fn judge_canaries(self: Arc<Self>) -> DrainReport {
        loop {
            tokio::select! {
                biased;
                () = self.stopping().cancelled() => return DrainReport::default(),
                () = self.canary_failure().notified() => {}
            }
            self.report_canary_failures();
            let mut others = false;
            let mut rolling_back = std::pin::pin!(self.roll_back_failed());
            let report = loop {
                tokio::select! {
                    report = &mut rolling_back => break report,
                    () = self.canary_failure().notified() => {
                        self.report_canary_failures();
                        others = true;
                    }
                }
            };
            if others {
                self.canary_failure().notify_one();
            }
            if self.are_stopping() {
                return report;
            }
            for problem in report.into_problems() {
                tracing::warn!("while a canary was rolled back: {problem}");
            }
        }
    }

    fn report_canary_failures(&self) {
        let mut deployments = self.deployments();
        deployments
            .values_mut()
            .for_each(Deployment::report_canary_failure);
    }

    /// Ends the canaries that have failed. Only their leaving needs the turn: nothing has to wait for what they have in
    /// flight.
    async fn roll_back_failed(&self) -> DrainReport {
        let retiring: Vec<_> = {
            let Ok(_turn) = self.turn().await else {
                return DrainReport::default();
            };
            let mut deployments = self.deployments();
            let failed = deployments
                .values_mut()
                .filter(|guest| guest.has_failed_canary());
            failed.filter_map(Deployment::end_canary).collect()
        };
        let report = end_versions(retiring, self.drain_deadline()).await;
        self.context().connector.forget_unused_buckets();
        report
    }
}
