//! A change to the guests of a host: all of it, or nothing.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::canary::Canary;
use super::guests::{Asked, Base, Guests, Slot};
use super::version::{Candidate, Version};
use super::{ChangeError, DrainReport};
use crate::config::{CanarySettings, GuestSettings};
use crate::guest::CompiledComponent;
use crate::trial::Trial;
use crate::trigger::{Prepared, VersionSubscriptions};

/// What is to become of a guest.
pub(super) enum Change {
    /// A version comes: into service, or on trial.
    Come(Box<Coming>),
    /// The version on trial comes into service.
    Promote(String),
    /// The version on trial ends.
    EndCanary(String),
    /// The guest is as it was asked for, though it was asked for otherwise before.
    Note(String, Box<Asked>),
    /// The guest goes out of service.
    GoOut(String),
}

/// A version that is to come.
pub(super) struct Coming {
    pub(super) base: Base,
    pub(super) number: u32,
    pub(super) settings: GuestSettings,
    pub(super) component: CompiledComponent,
    /// On trial; else into service, where it replaces the guest's other versions.
    pub(super) canary: Option<CanarySettings>,
    pub(super) asked: Asked,
}

impl From<Coming> for Change {
    fn from(coming: Coming) -> Self {
        Self::Come(Box::new(coming))
    }
}

/// A version that has started.
struct Started {
    base: Base,
    candidate: Candidate,
    canary: Option<CanarySettings>,
    asked: Asked,
}

/// What only has to change hands, and can still be taken back.
enum Ready {
    /// A version whose subscriptions have begun behind a prepared.
    Main(Started, Prepared),
    /// A version that needs none.
    Canary(Started, CanarySettings),
    /// A version on trial whose own subscriptions have begun behind a prepared.
    Promotion {
        base: Base,
        trial: Arc<Trial>,
        prepared: Prepared,
    },
}

/// A version that gets no more messages, and what it had settled by then.
struct Leaving {
    base: Base,
    version: Version,
    settled: u64,
}

/// Changes by what has to be done when.
#[derive(Default)]
struct Sorted {
    coming: Vec<Coming>,
    promoted: Vec<String>,
    ended: Vec<String>,
    noted: Vec<(String, Asked)>,
    going: Vec<String>,
}

impl From<Vec<Change>> for Sorted {
    fn from(changes: Vec<Change>) -> Self {
        let mut sorted = Self::default();
        for change in changes {
            match change {
                Change::Come(coming) => sorted.coming.push(*coming),
                Change::Promote(name) => sorted.promoted.push(name),
                Change::EndCanary(name) => sorted.ended.push(name),
                Change::Note(name, asked) => sorted.noted.push((name, *asked)),
                Change::GoOut(name) => sorted.going.push(name),
            }
        }
        sorted
    }
}

impl Guests {
    /// Carries changes out. Whoever calls has the turn.
    ///
    /// Until all that comes in has started and is subscribed, everything can be taken back, and is when something fails.
    /// Then versions change hands at once; last, what goes out is drained.
    pub(super) async fn carry_out(&self, changes: Vec<Change>) -> Result<DrainReport, ChangeError> {
        let Sorted {
            coming,
            promoted,
            ended,
            noted,
            going,
        } = changes.into();
        let started = self.unless_stopping(self.start_all(coming)).await?;
        let ready = self.make_ready(promoted, started).await?;
        let deadline = self.drain_deadline();
        let mut leaving = Vec::new();
        for ready in ready {
            leaving.extend(self.put_in(ready).await);
        }
        let gone: Vec<Slot> = {
            let mut slots = self.slots();
            for name in ended {
                leaving.extend(slots.get_mut(&name).and_then(Slot::end_canary));
            }
            for (name, asked) in noted {
                slots.entry(name).and_modify(|slot| slot.asked = asked);
            }
            going.iter().filter_map(|name| slots.remove(name)).collect()
        };
        let (mut report, gone) = tokio::join!(end_all(leaving, deadline), self.end(gone, deadline));
        report.merge(gone);
        self.surroundings.connector.forget_unused_buckets();
        Ok(report)
    }

    /// Ends the canaries that have failed. Only their leaving needs the turn: nothing has to wait for what they have in hand.
    pub(super) async fn take_out_failed(&self) -> DrainReport {
        let leaving: Vec<_> = {
            let Ok(_turn) = self.turn().await else {
                return DrainReport::default();
            };
            let mut slots = self.slots();
            let failed = slots.values_mut().filter(|slot| slot.has_failed_canary());
            failed.filter_map(Slot::end_canary).collect()
        };
        let report = end_all(leaving, self.drain_deadline()).await;
        self.surroundings.connector.forget_unused_buckets();
        report
    }

    /// Starts a version of each, all at once.
    async fn start_all(&self, coming: Vec<Coming>) -> Result<Vec<Started>, ChangeError> {
        let starts = coming.into_iter().map(async |coming| {
            let Coming {
                base,
                number,
                settings,
                component,
                canary,
                asked,
            } = coming;
            let candidate = self.candidate(&base, number, settings, component).await;
            match candidate {
                Ok(candidate) => Ok(Started {
                    base,
                    candidate,
                    canary,
                    asked,
                }),
                Err(error) => Err(if canary.is_some() {
                    error.of_canary()
                } else {
                    error
                }),
            }
        });
        let (mut started, mut failed) = (Vec::new(), None);
        for result in join_all(starts).await {
            match result {
                Ok(candidate) => started.push(candidate),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            None => Ok(started),
            Some(error) => {
                self.discard(started.into_iter().map(|started| started.candidate))
                    .await;
                Err(error)
            }
        }
    }

    /// Begins what those that come into service want to be subscribed to, behind gates.
    async fn make_ready(
        &self,
        promoted: Vec<String>,
        started: Vec<Started>,
    ) -> Result<Vec<Ready>, ChangeError> {
        let mut ready = Vec::new();
        let mut failed = None;
        for name in promoted {
            match self.make_promotion_ready(&name).await {
                Ok(promotion) => ready.push(promotion),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let mut left_out = Vec::new();
        for mut started in started {
            match started.canary.take() {
                _ if failed.is_some() => left_out.push(started.candidate),
                Some(settings) => ready.push(Ready::Canary(started, settings)),
                None => match prepare(&started.base, started.candidate.own()).await {
                    Ok(prepared) => ready.push(Ready::Main(started, prepared)),
                    Err(error) => {
                        failed = Some(error);
                        left_out.push(started.candidate);
                    }
                },
            }
        }
        let Some(error) = failed else {
            return Ok(ready);
        };
        for ready in ready {
            left_out.extend(ready.take_back().await);
        }
        self.discard(left_out.into_iter()).await;
        Err(error)
    }

    async fn make_promotion_ready(&self, name: &str) -> Result<Ready, ChangeError> {
        let (base, trial, own) = {
            let slots = self.slots();
            let slot = slots.get(name).ok_or_else(|| ChangeError::NotLoaded {
                name: name.to_owned(),
            })?;
            let canary = slot.canary.as_ref().ok_or_else(|| slot.no_canary())?;
            if !canary.trial.hold() {
                return Err(slot.no_canary());
            }
            (
                slot.base.clone(),
                Arc::clone(&canary.trial),
                Arc::clone(canary.version.own()),
            )
        };
        match prepare(&base, &own).await {
            Ok(prepared) => Ok(Ready::Promotion {
                base,
                trial,
                prepared,
            }),
            Err(error) => {
                trial.resume();
                Err(error)
            }
        }
    }

    async fn discard(&self, candidates: impl Iterator<Item = Candidate>) {
        let deadline = self.drain_deadline();
        join_all(candidates.map(|candidate| candidate.discard(deadline))).await;
    }

    /// Gives a version its messages. Returns those that get none any more.
    async fn put_in(&self, ready: Ready) -> Vec<Leaving> {
        match ready {
            Ready::Main(started, prepared) => {
                let (base, own) = (started.base.clone(), Arc::clone(started.candidate.own()));
                let leaving = self.put_into_service(started);
                base.intake.commit(&own, prepared).await;
                leaving
            }
            Ready::Promotion {
                base,
                trial: _,
                prepared,
            } => {
                let Some((leaving, own)) = self.put_canary_into_service(&base) else {
                    return Vec::new();
                };
                base.intake.commit(&own, prepared).await;
                vec![leaving]
            }
            Ready::Canary(started, settings) => {
                self.put_on_trial(started, settings).into_iter().collect()
            }
        }
    }

    fn put_into_service(&self, started: Started) -> Vec<Leaving> {
        let Started {
            base,
            candidate,
            asked,
            ..
        } = started;
        let mut slots = self.slots();
        let number = candidate.number();
        let Some(slot) = slots.get_mut(&*base.name) else {
            let version = candidate.into_service(&base);
            slots.insert(base.name.to_string(), Slot::new(base, version, asked));
            return Vec::new();
        };
        slot.version.retire();
        let mut leaving: Vec<_> = slot.end_canary().into_iter().collect();
        (slot.latest, slot.asked, slot.canary_taken_out) = (number, asked, None);
        // What the old one had settled is read before the new one takes over.
        let before = slot.version.settled();
        let version = std::mem::replace(&mut slot.version, candidate.into_service(&base));
        leaving.push(Leaving {
            base,
            version,
            settled: before,
        });
        leaving
    }

    fn put_canary_into_service(&self, base: &Base) -> Option<(Leaving, Arc<VersionSubscriptions>)> {
        let mut slots = self.slots();
        // It is held, and whoever calls has the turn: it is there.
        let slot = slots.get_mut(&*base.name)?;
        let canary = slot.canary.take()?;
        slot.version.retire();
        canary.trial.end();
        let settled = slot.version.settled();
        base.queue.hand_over_to(canary.version.reader());
        let own = Arc::clone(canary.version.own());
        let version = std::mem::replace(&mut slot.version, canary.version);
        Some((
            Leaving {
                base: base.clone(),
                version,
                settled,
            },
            own,
        ))
    }

    fn put_on_trial(&self, started: Started, settings: CanarySettings) -> Option<Leaving> {
        let Started {
            base,
            candidate,
            asked,
            ..
        } = started;
        let mut slots = self.slots();
        // Its guest has been put in before, or was there.
        let slot = slots.get_mut(&*base.name)?;
        let leaving = slot.end_canary();
        (slot.latest, slot.asked, slot.canary_taken_out) = (candidate.number(), asked, None);
        slot.canary = Some(Canary::begin(candidate, &base, settings));
        leaving
    }
}

impl Ready {
    /// As if it had not been. Returns what had been started for it.
    async fn take_back(self) -> Option<Candidate> {
        match self {
            Self::Main(
                Started {
                    base, candidate, ..
                },
                prepared,
            ) => {
                base.intake.cancel(prepared).await;
                Some(candidate)
            }
            Self::Canary(started, _) => Some(started.candidate),
            Self::Promotion {
                base,
                trial,
                prepared,
            } => {
                base.intake.cancel(prepared).await;
                trial.resume();
                None
            }
        }
    }
}

impl Slot {
    fn end_canary(&mut self) -> Option<Leaving> {
        // It may have failed a moment ago.
        self.tell_failure();
        let canary = self.canary.take()?;
        let settled = canary.version.settled();
        Some(Leaving {
            base: self.base.clone(),
            version: canary.leave(&self.base),
            settled,
        })
    }
}

/// Waits until these have handled what is theirs, and reports how they ended.
async fn end_all(leaving: Vec<Leaving>, deadline: Instant) -> DrainReport {
    let ends = leaving.into_iter().map(
        async |Leaving {
                   base,
                   version,
                   settled,
               }| {
            let ended = version.end(settled, deadline).await;
            (base, ended)
        },
    );
    let mut report = DrainReport::default();
    for (base, ended) in join_all(ends).await {
        report.add(&base.name, ended, base.counters.snapshot());
    }
    report
}

/// Begins what a version wants to hear, which waits until it is in service.
async fn prepare(base: &Base, own: &VersionSubscriptions) -> Result<Prepared, ChangeError> {
    let prepared = base.intake.prepare(own).await;
    prepared.map_err(|refused| ChangeError::subscribe(&base.name, refused))
}
