//! Subscriptions of one version of a guest: those of its settings, and those that it asks for by itself.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use async_nats::Subject;

use super::core_nats::{Admission, Subscriptions};
use super::gate::{GateBounds, GateOpener};
use super::interests::{Interest, SubscriptionKey, Wanted, add_wanted};
use super::self_made::SelfMade;
use crate::config::GuestSettings;
use crate::error::Error;
use crate::lock::locked;
use crate::protocol::subject::on_wire;
use crate::self_subscribe::{SelfSubscribe, SubscriptionChange};

/// One version's view of its guest's subscriptions.
///
/// What the version asks for while it starts, or is a canary, begins only when it comes into service: until then its
/// messages would be nobody's, or another version's.
pub(crate) struct VersionSubscriptions {
    /// The guest's subscriptions, which outlive the version.
    subscriptions: Arc<Subscriptions>,
    /// The version's number, with which interests are noted.
    version: u32,
    /// The prefix of the version's subjects.
    prefix: String,
    /// The bounds of what waits for the version before it is in service: those of its queue.
    gate_bounds: GateBounds,
    /// The version's phase. Until it is in service, changes are only noted.
    phase: Mutex<Phase>,
    /// The subscriptions that the version makes by itself, and its bounds.
    self_made: Mutex<SelfMade>,
}

/// The part that the version plays for its guest.
enum Phase {
    /// The version is to come into service, and wants these then.
    Waiting(Wanted),
    InService,
    Retired,
}

impl VersionSubscriptions {
    pub(super) fn new(
        subscriptions: Arc<Subscriptions>,
        version: u32,
        prefix: &str,
        settings: &GuestSettings,
    ) -> Self {
        let wanted = settings.subscribe.iter().map(|settings| {
            let prefix = if settings.ignore_prefix { "" } else { prefix };
            let key = SubscriptionKey {
                subject: on_wire(prefix, &settings.subject),
                queue: settings.queue.clone(),
            };
            (key, prefix.len())
        });
        let wanted: Wanted = wanted.collect();
        let configured = wanted.keys().cloned().collect();
        Self {
            subscriptions,
            version,
            prefix: prefix.to_owned(),
            gate_bounds: GateBounds {
                max_messages: settings.limits.queue_messages,
                max_bytes: settings.limits.queue_bytes,
            },
            phase: Mutex::new(Phase::Waiting(wanted)),
            self_made: Mutex::new(SelfMade::new(configured, &settings.limits)),
        }
    }

    /// The version that these subscriptions belong to.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// A gate with room for what may wait for the version.
    pub(super) fn gate(&self) -> GateOpener {
        GateOpener::new(self.gate_bounds)
    }

    /// The subscriptions that the version will want when it comes into service.
    pub(super) fn wanted(&self) -> Wanted {
        match &*self.phase() {
            Phase::Waiting(wanted) => wanted.clone(),
            Phase::InService | Phase::Retired => Wanted::new(),
        }
    }

    /// Brings the version into service, and returns what it wants now. From here on, what it asks for begins and ends at
    /// once.
    pub(super) fn come_into_service(&self) -> Wanted {
        match std::mem::replace(&mut *self.phase(), Phase::InService) {
            Phase::Waiting(wanted) => wanted,
            Phase::InService | Phase::Retired => Wanted::new(),
        }
    }

    /// Retires the version: it may finish its messages, but no longer change what the guest is subscribed to.
    pub(crate) fn retire(&self) {
        *self.phase() = Phase::Retired;
    }

    /// Notes a change of a version that is not in service yet. The change of one that is is carried out at once.
    ///
    /// # Errors
    /// The change is refused, or the version has been replaced.
    fn note(&self, change: impl FnOnce(&mut Wanted) -> Result<(), Error>) -> Result<Noted, Error> {
        match &mut *self.phase() {
            Phase::Waiting(wanted) => change(wanted).map(|()| Noted::ForLater),
            Phase::InService => Ok(Noted::DoNow),
            Phase::Retired => Err(Error::Unavailable(
                "this version of the guest has been replaced".into(),
            )),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        locked(&self.phase)
    }
}

/// The moment at which a change of a version's subscriptions takes effect.
enum Noted {
    ForLater,
    DoNow,
}

impl SelfSubscribe for VersionSubscriptions {
    fn subscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
        ignore_prefix: bool,
    ) -> SubscriptionChange<'_> {
        Box::pin(async move {
            let subject = subject.to_string();
            let key = SubscriptionKey { subject, queue };
            let prefix_bytes = if ignore_prefix { 0 } else { self.prefix.len() };
            let is_new = locked(&self.self_made).add(&key)?;
            let subscribed = match self.note(|wanted| add_wanted(wanted, &key, prefix_bytes)) {
                Ok(Noted::ForLater) => Ok(()),
                Ok(Noted::DoNow) => self.subscribe_now(&key, prefix_bytes, is_new).await,
                Err(error) => Err(error),
            };
            subscribed.inspect_err(|_| {
                if is_new {
                    locked(&self.self_made).remove(&key);
                }
            })
        })
    }

    fn unsubscribe(&self, subject: Subject, queue: Option<String>) -> SubscriptionChange<'_> {
        Box::pin(async move {
            let subject = subject.to_string();
            let key = SubscriptionKey { subject, queue };
            let noted = self.note(|wanted| {
                wanted.remove(&key);
                Ok(())
            })?;
            match noted {
                Noted::ForLater => Ok(()),
                // A successor may have come to want it meanwhile.
                Noted::DoNow => {
                    self.count_change()?;
                    let (all, successor) = (&self.subscriptions, self.version + 1);
                    all.unsubscribe_unless_wanted(&key, successor).await
                }
            }
            .inspect(|()| locked(&self.self_made).remove(&key))
        })
    }
}

impl VersionSubscriptions {
    fn count_change(&self) -> Result<(), Error> {
        locked(&self.self_made).count_change(Instant::now())
    }

    async fn subscribe_now(
        &self,
        key: &SubscriptionKey,
        prefix_bytes: usize,
        is_counted: bool,
    ) -> Result<(), Error> {
        // One that is there costs nothing. It is made again if it was lost.
        if is_counted {
            self.count_change()?;
        }
        let interest = Interest {
            version: self.version,
            prefix_bytes,
        };
        let all = &self.subscriptions;
        let is_new = all.subscribe(key, interest, Admission::Immediate).await?;
        // The version may have been retired meanwhile: then nobody wants what it has just begun, but its successor.
        if let (true, Err(retired)) = (is_new, self.note(|_| Ok(()))) {
            all.unsubscribe_unless_wanted(key, self.version + 1).await?;
            return Err(retired);
        }
        Ok(())
    }
}
