//! A change to the guests of a host: all of it, or nothing.

use futures_util::future::join_all;

use super::guests::{Base, Guests, Slot};
use super::version::{Candidate, Version};
use super::{ChangeError, DrainReport};
use crate::config::GuestSettings;
use crate::guest::Loaded;
use crate::trigger::{Gate, Wanted};

/// What is to become of one guest.
pub(super) enum Change {
    /// A version comes into service: the first one of its guest, or the next.
    ComeIn(Box<Coming>),
    /// The guest of this name goes out of service.
    GoOut(String),
}

/// A version that is to come into service.
pub(super) struct Coming {
    pub(super) base: Base,
    pub(super) settings: GuestSettings,
    pub(super) loaded: Loaded,
}

impl From<Coming> for Change {
    fn from(coming: Coming) -> Self {
        Self::ComeIn(Box::new(coming))
    }
}

/// A version that has started, and whose subscriptions have begun behind a gate.
struct Ready {
    base: Base,
    candidate: Candidate,
    wanted: Wanted,
    gate: Gate,
}

/// A version that was replaced, and what it had settled by then.
struct Replaced {
    base: Base,
    version: Version,
    settled: u64,
}

impl Guests {
    /// Carries changes out. Whoever calls has the turn.
    ///
    /// Until all that comes in has started and is subscribed, everything can be taken back, and is when something fails.
    /// Then versions change hands at once; last, what goes out is drained.
    pub(super) async fn carry_out(&self, changes: Vec<Change>) -> Result<DrainReport, ChangeError> {
        let (mut coming, mut going) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::ComeIn(version) => coming.push(*version),
                Change::GoOut(name) => going.push(name),
            }
        }
        let started = self.unless_stopping(self.start_all(coming)).await?;
        let ready = self.subscribe_all(started).await?;
        let deadline = self.drain_deadline();
        let mut replaced = Vec::new();
        for ready in ready {
            replaced.extend(self.put_in(ready).await);
        }
        let gone: Vec<Slot> = going.iter().filter_map(|name| self.slots().remove(name)).collect();
        let ends = replaced.into_iter().map(async |old| {
            let ended = old.version.end(old.settled, deadline).await;
            (old.base, ended)
        });
        let (ended, mut report) = tokio::join!(join_all(ends), self.end(gone, deadline));
        for (base, ended) in ended {
            report.add(&base.name, ended, base.counters.snapshot());
        }
        Ok(report)
    }

    /// Starts a version of each, all at once.
    async fn start_all(&self, coming: Vec<Coming>) -> Result<Vec<(Base, Candidate)>, ChangeError> {
        let starts = coming.into_iter().map(async |Coming { base, settings, loaded }| {
            let candidate = self.candidate(&base, settings, loaded).await?;
            Ok((base, candidate))
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
                self.discard(started.into_iter().map(|(_, candidate)| candidate)).await;
                Err(error)
            }
        }
    }

    /// Begins what they want to be subscribed to, behind gates.
    async fn subscribe_all(&self, started: Vec<(Base, Candidate)>) -> Result<Vec<Ready>, ChangeError> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut started = started.into_iter();
        while let Some((base, candidate)) = started.next() {
            let wanted = candidate.wanted();
            match base.subjects.begin_all(&wanted).await {
                Ok(gate) => ready.push(Ready { base, candidate, wanted, gate }),
                Err(refused) => {
                    let error = ChangeError::subscribe(&base.name, refused);
                    let mut back = vec![candidate];
                    for Ready { base, candidate, gate, .. } in ready {
                        base.subjects.take_back(gate).await;
                        back.push(candidate);
                    }
                    self.discard(back.into_iter().chain(started.map(|(_, candidate)| candidate))).await;
                    return Err(error);
                }
            }
        }
        Ok(ready)
    }

    async fn discard(&self, candidates: impl Iterator<Item = Candidate>) {
        let deadline = self.drain_deadline();
        join_all(candidates.map(|candidate| candidate.discard(deadline))).await;
    }

    /// Gives a version its guest's queue. Returns the one that had it, if there was one.
    async fn put_in(&self, ready: Ready) -> Option<Replaced> {
        let Ready { base, candidate, wanted, gate } = ready;
        let replaced = {
            let mut slots = self.slots();
            match slots.get_mut(&*base.name) {
                None => {
                    let version = candidate.into_service(&base);
                    slots.insert(base.name.to_string(), Slot { base: base.clone(), version, number: 1 });
                    None
                }
                Some(slot) => {
                    slot.version.retire();
                    let settled = slot.version.settled();
                    slot.number += 1;
                    let version = std::mem::replace(&mut slot.version, candidate.into_service(&base));
                    Some(Replaced { base: base.clone(), version, settled })
                }
            }
        };
        base.subjects.set_prefixes(&wanted).await;
        let unwanted = base.subjects.unwanted(&wanted).await;
        gate.open();
        base.subjects.end_all(unwanted).await;
        replaced
    }
}
