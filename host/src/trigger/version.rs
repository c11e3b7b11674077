//! What one version of a guest is subscribed to: what its settings say, and what it asks for itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_nats::Subject;

use super::subject::{Claim, Entry, Key, Subjects, want};
use crate::config::SubscriptionSettings;
use crate::error::Error;
use crate::imports::{Changed, Subscriptions};
use crate::lock::locked;

/// Subscriptions that are wanted, and how many bytes of prefix the guest does not see of each.
pub(crate) type Wanted = BTreeMap<Key, usize>;

/// The way of one version to its guest's subscriptions.
///
/// What it asks for while it starts, or is on trial, begins only when it comes into service: until then its messages would
/// be nobody's, or another version's.
pub(crate) struct VersionSubjects {
    subjects: Arc<Subjects>,
    version: u32,
    prefix: String,
    phase: Mutex<Phase>,
}

enum Phase {
    Waiting(Wanted),
    InService,
    Retired,
}

impl VersionSubjects {
    pub(crate) fn new(
        subjects: Arc<Subjects>,
        version: u32,
        prefix: &str,
        configured: &[SubscriptionSettings],
    ) -> Self {
        let wanted = configured.iter().map(|settings| {
            let prefix = if settings.ignore_prefix { "" } else { prefix };
            (
                (
                    format!("{prefix}{}", settings.subject),
                    settings.queue.clone(),
                ),
                prefix.len(),
            )
        });
        let phase = Mutex::new(Phase::Waiting(wanted.collect()));
        Self {
            subjects,
            version,
            prefix: prefix.to_owned(),
            phase,
        }
    }

    /// Whose way it is.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// What it will want when it comes into service.
    pub(crate) fn wanted(&self) -> Wanted {
        match &*self.phase() {
            Phase::Waiting(wanted) => wanted.clone(),
            Phase::InService | Phase::Retired => Wanted::new(),
        }
    }

    /// What it wants now that it is in service. From here on, what it asks for begins and ends at once.
    pub(crate) fn come_into_service(&self) -> Wanted {
        match std::mem::replace(&mut *self.phase(), Phase::InService) {
            Phase::Waiting(wanted) => wanted,
            Phase::InService | Phase::Retired => Wanted::new(),
        }
    }

    /// It may finish its messages, but no longer change what the guest is subscribed to.
    pub(crate) fn retire(&self) {
        *self.phase() = Phase::Retired;
    }

    /// What it asks for is done at once (false), or has been noted or refused.
    fn note(&self, change: impl FnOnce(&mut Wanted) -> Result<(), Error>) -> Result<bool, Error> {
        match &mut *self.phase() {
            Phase::Waiting(wanted) => change(wanted).map(|()| true),
            Phase::InService => Ok(false),
            Phase::Retired => Err(Error::Unavailable(
                "this version of the guest has been replaced".into(),
            )),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        locked(&self.phase)
    }
}

impl Subscriptions for VersionSubjects {
    fn subscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
        ignore_prefix: bool,
    ) -> Changed<'_> {
        Box::pin(async move {
            let key = (subject.to_string(), queue);
            let prefix_bytes = if ignore_prefix { 0 } else { self.prefix.len() };
            let noted = self.note(|wanted| want(wanted, &key, prefix_bytes))?;
            if !noted {
                let claim = Claim {
                    version: self.version,
                    prefix_bytes,
                };
                let is_new = self.subjects.begin(&key, claim, Entry::Open).await?;
                // It may have been retired meanwhile: then nobody wants what it has just begun, but its successor.
                if let (true, Err(retired)) = (is_new, self.note(|_| Ok(()))) {
                    self.subjects.end_unless(&key, self.version + 1).await?;
                    return Err(retired);
                }
            }
            Ok(())
        })
    }

    fn unsubscribe(&self, subject: Subject, queue: Option<String>) -> Changed<'_> {
        Box::pin(async move {
            let key = (subject.to_string(), queue);
            let noted = self.note(|wanted| {
                wanted.remove(&key);
                Ok(())
            })?;
            // A successor may have come to want it meanwhile.
            if noted {
                Ok(())
            } else {
                self.subjects.end_unless(&key, self.version + 1).await
            }
        })
    }
}
