//! A change of guests, carried out: all of its steps, or none.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::deployment::{Deployment, Promotion};
use super::diff::{Desired, NewVersion, Step, VersionRole};
use super::guest_context::GuestContext;
use super::report::{ChangeError, DrainReport, GuestError};
use super::resolve::Compiled;
use super::running_guests::{RunningGuests, end_versions};
use super::version::{Candidate, Retiring};
use crate::config::CanarySettings;
use crate::guest::{CompiledComponent, LoadError};
use crate::imports::GrantedDir;
use crate::trigger::{Prepared, VersionSubscriptions};

/// A version that has started.
struct StartedVersion {
    /// The guest that the version is of, which is not in service yet if it is new.
    context: GuestContext,
    /// The version, which is discarded if another step of the change fails.
    candidate: Candidate,
    /// The part that the version is to play: in service, or as a canary.
    role: VersionRole,
    /// The guest as it is asked to be, recorded when the version is put in.
    desired: Desired,
}

/// A version that only has to change hands. It can still be taken back.
enum ReadyVersion {
    /// A version for service, whose subscriptions are prepared.
    InService(Box<StartedVersion>, Prepared),
    /// A canary, which hears what its guest hears.
    Canary(Box<StartedVersion>, CanarySettings),
    /// A canary that is to be promoted, whose own subscriptions are prepared.
    Promotion(Promotion, Prepared),
}

/// The steps of a change, by when they are carried out.
#[derive(Default)]
struct StepsByKind {
    /// Versions to be started, all at once and before all else.
    starts: Vec<NewVersion>,
    /// Names of guests whose canary comes into service.
    promotions: Vec<String>,
    /// Names of guests whose canary ends, after new versions have been put in.
    ended_canaries: Vec<String>,
    /// Guests that are to be recorded as desired like this, by name.
    records: Vec<(String, Desired)>,
    /// Names of guests that go out of service, last.
    unloads: Vec<String>,
}

impl From<Vec<Step>> for StepsByKind {
    fn from(steps: Vec<Step>) -> Self {
        let mut sorted = Self::default();
        for step in steps {
            match step {
                Step::Start(new) => sorted.starts.push(*new),
                Step::Promote { guest } => sorted.promotions.push(guest),
                Step::EndCanary { guest } => sorted.ended_canaries.push(guest),
                Step::RecordDesired { guest, desired } => sorted.records.push((guest, *desired)),
                Step::Unload { guest } => sorted.unloads.push(guest),
            }
        }
        sorted
    }
}

impl RunningGuests {
    /// Carries a change out. The caller holds the turn.
    ///
    /// Until all new versions have started and their subscriptions are prepared, everything can be taken back, and is when
    /// something fails. Then versions change hands at once; last, what goes out of service is drained.
    ///
    /// # Errors
    /// What keeps a version from coming into service. Then nothing has changed.
    pub(super) async fn carry_out(
        &self,
        mut steps: Vec<Step>,
        mut compiled: Compiled,
    ) -> Result<DrainReport, ChangeError> {
        self.unless_stopping(self.complete(&mut steps, &mut compiled))
            .await?;
        let StepsByKind {
            starts,
            promotions,
            ended_canaries,
            records,
            unloads,
        } = steps.into();
        let started = self
            .unless_stopping(self.start_all(starts, &compiled))
            .await?;
        let ready = self.prepare_all(promotions, started).await?;
        let deadline = self.drain_deadline();
        let mut retiring = Vec::new();
        for version in ready {
            retiring.extend(self.put_in(version).await);
        }
        let gone: Vec<Deployment> = {
            let mut deployments = self.deployments();
            for name in ended_canaries {
                let guest = deployments.get_mut(&name);
                retiring.extend(guest.and_then(Deployment::end_canary));
            }
            for (name, desired) in records {
                if let Some(guest) = deployments.get_mut(&name) {
                    guest.set_desired(desired);
                }
            }
            unloads
                .iter()
                .filter_map(|name| deployments.remove(name))
                .collect()
        };
        let (mut report, gone) = tokio::join!(
            end_versions(retiring, deadline),
            self.end_guests(gone, deadline)
        );
        report.merge(gone);
        self.context().connector.forget_unused_buckets();
        Ok(report)
    }

    /// Starts all new versions at once.
    async fn start_all(
        &self,
        starts: Vec<NewVersion>,
        compiled: &Compiled,
    ) -> Result<Vec<StartedVersion>, ChangeError> {
        let dirs = self.open_dirs(&starts).await?;
        let mut contexts = BTreeMap::new();
        let starts: Vec<_> = std::iter::zip(starts, dirs)
            .map(|(new, dirs)| {
                let context: &mut GuestContext = contexts
                    .entry(new.guest.clone())
                    .or_insert_with(|| self.guest_context(&new.guest));
                (context.clone(), new, dirs)
            })
            .collect();
        let starts = starts.into_iter().map(async |(context, new, dirs)| {
            let is_canary = matches!(new.role, VersionRole::Canary(_));
            let component = compiled.get(new.digest);
            let started = self.start(context, new, component, dirs).await;
            started.map_err(|error| match is_canary {
                true => error.of_canary(),
                false => error,
            })
        });
        let (mut started, mut failed) = (Vec::new(), None);
        for result in join_all(starts).await {
            match result {
                Ok(version) => started.push(version),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            None => Ok(started),
            Some(error) => {
                self.discard(started.into_iter().map(|version| version.candidate))
                    .await;
                Err(error)
            }
        }
    }

    async fn start(
        &self,
        context: GuestContext,
        new: NewVersion,
        component: Option<&CompiledComponent>,
        dirs: Vec<GrantedDir>,
    ) -> Result<StartedVersion, ChangeError> {
        let NewVersion {
            number,
            settings,
            role,
            desired,
            ..
        } = new;
        let failed = |error: GuestError| ChangeError::guest(&context.name, error);
        let missing = || LoadError::Compile {
            component: settings.component.clone(),
            source: "it was not compiled for this change".into(),
        };
        let component = component.ok_or_else(|| failed(missing().into()))?.clone();
        let instances = self.reserve(&context.name, settings.instances.max.get())?;
        let host = self.context();
        let started =
            Candidate::start(host, &context, number, settings, component, dirs, instances);
        let candidate = started.await.map_err(|error| failed(error.into()))?;
        Ok(StartedVersion {
            context,
            candidate,
            role,
            desired,
        })
    }

    /// Prepares what those that come into service want to hear.
    async fn prepare_all(
        &self,
        promotions: Vec<String>,
        started: Vec<StartedVersion>,
    ) -> Result<Vec<ReadyVersion>, ChangeError> {
        let mut ready = Vec::new();
        let mut failed = None;
        for name in promotions {
            match self.prepare_promotion(&name).await {
                Ok(promotion) => ready.push(promotion),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let mut left_out = Vec::new();
        for version in started {
            if failed.is_some() {
                left_out.push(version.candidate);
                continue;
            }
            match version.role.clone() {
                VersionRole::Canary(settings) => {
                    ready.push(ReadyVersion::Canary(Box::new(version), settings));
                }
                VersionRole::InService => {
                    let wants = version.candidate.subscriptions();
                    match prepare(&version.context, wants).await {
                        Ok(prepared) => {
                            ready.push(ReadyVersion::InService(Box::new(version), prepared));
                        }
                        Err(error) => {
                            failed = Some(error);
                            left_out.push(version.candidate);
                        }
                    }
                }
            }
        }
        let Some(error) = failed else {
            return Ok(ready);
        };
        for version in ready {
            left_out.extend(version.take_back().await);
        }
        self.discard(left_out.into_iter()).await;
        Err(error)
    }

    async fn prepare_promotion(&self, name: &str) -> Result<ReadyVersion, ChangeError> {
        let promotion = self.with(name, |guest| guest.begin_promotion())??;
        match prepare(&promotion.context, &promotion.subscriptions).await {
            Ok(prepared) => Ok(ReadyVersion::Promotion(promotion, prepared)),
            Err(error) => {
                promotion.analysis.resume();
                Err(error)
            }
        }
    }

    async fn discard(&self, candidates: impl Iterator<Item = Candidate>) {
        let deadline = self.drain_deadline();
        join_all(candidates.map(|candidate| candidate.discard(deadline))).await;
    }

    /// Gives a version its messages. Returns those that get none any more.
    async fn put_in(&self, ready: ReadyVersion) -> Vec<Retiring> {
        match ready {
            ReadyVersion::InService(version, prepared) => {
                let context = version.context.clone();
                let wants = version.candidate.subscriptions().clone();
                let retiring = self.put_into_service(*version);
                context.intake.commit(&wants, prepared).await;
                retiring
            }
            ReadyVersion::Promotion(promotion, prepared) => {
                let Promotion {
                    context,
                    subscriptions,
                    ..
                } = promotion;
                // It is held, and the caller has the turn: the canary is there.
                let promoted = self.with(&context.name, Deployment::promote_canary);
                let Ok(Some(retiring)) = promoted else {
                    context.intake.cancel(prepared).await;
                    return Vec::new();
                };
                context.intake.commit(&subscriptions, prepared).await;
                vec![retiring]
            }
            ReadyVersion::Canary(version, settings) => {
                let StartedVersion {
                    context,
                    candidate,
                    desired,
                    ..
                } = *version;
                // Its guest has been put in before, or was there.
                let begun = self.with(&context.name, |guest| {
                    guest.start_canary(candidate, settings, desired)
                });
                begun.ok().flatten().into_iter().collect()
            }
        }
    }

    fn put_into_service(&self, started: StartedVersion) -> Vec<Retiring> {
        let StartedVersion {
            context,
            candidate,
            desired,
            ..
        } = started;
        let mut deployments = self.deployments();
        if let Some(guest) = deployments.get_mut(&*context.name) {
            return guest.replace(candidate, desired);
        }
        let version = candidate.into_service(&context);
        let name = context.name.to_string();
        deployments.insert(name, Deployment::new(context, version, desired));
        Vec::new()
    }
}

impl ReadyVersion {
    /// Undoes what made the version ready. Returns the version, if it was started for this change.
    async fn take_back(self) -> Option<Candidate> {
        match self {
            Self::InService(version, prepared) => {
                version.context.intake.cancel(prepared).await;
                Some(version.candidate)
            }
            Self::Canary(version, _) => Some(version.candidate),
            Self::Promotion(promotion, prepared) => {
                promotion.context.intake.cancel(prepared).await;
                promotion.analysis.resume();
                None
            }
        }
    }
}

/// Prepares what a version wants to hear, which waits until it is in service.
async fn prepare(
    context: &GuestContext,
    wants: &VersionSubscriptions,
) -> Result<Prepared, ChangeError> {
    let prepared = context.intake.prepare(wants).await;
    prepared.map_err(|refused| ChangeError::subscribe(&context.name, refused))
}
