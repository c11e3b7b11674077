//! Subscriptions of one guest to subjects: core NATS, at most once. All its versions share them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::forwarder::{Forwarder, forwarded};
use super::gate::{GateOpener, GateWaiter};
use super::incoming::{Incoming, SubscriptionContext};
use super::interests::{Interest, Interests, Presence, SubscriptionKey, Wanted};
use crate::connection::Stopper;
use crate::error::Error;
use crate::protocol::reserved::is_reserved;
use crate::queue::Queue;

/// The time that the server may take to note subscriptions.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that ending subscriptions may take.
const UNSUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that what has arrived may take on its way into the queue. It is there at once, unless the subscription could
/// not be ended.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Subscriptions that have just been begun, behind a gate. Dropped unopened, their messages are nobody's.
#[must_use = "messages wait behind it"]
pub(super) struct Gate {
    /// The gate itself.
    opener: GateOpener,
    /// The subscriptions behind it.
    begun: Vec<SubscriptionKey>,
    /// The version that they were begun for.
    version: u32,
}

/// The way in for the messages of a subscription that has just been begun.
pub(super) enum Admission {
    /// Messages wait behind a gate: the version that wants them is not in service yet.
    Gated(GateWaiter),
    /// Messages go into the queue at once: the version is in service.
    Immediate,
}

/// A subscription that could not be made.
pub(crate) struct SubscribeRefused {
    /// The subject as it travels.
    pub(crate) subject: String,
    /// The error of the subscription, or of the round trip that proves that the server has it.
    pub(crate) source: Error,
}

impl Gate {
    /// Lets the messages go on into the guest's queue.
    pub(super) fn open(self) {
        self.opener.open();
    }
}

/// All subscriptions of one guest, over all its versions.
pub(super) struct Subscriptions {
    /// The guest's name, connection and counters, shared with every message that arrives.
    pub(super) context: Arc<SubscriptionContext>,
    /// The guest's queue, which forwarders fill and the end of a stop closes.
    queue: Arc<Queue<Incoming>>,
    /// The turn of whoever changes subscriptions. A stop does not wait for its turn.
    turn: Mutex<()>,
    /// The subscriptions that there are, and the versions that want them.
    interests: Mutex<Interests<LiveSubscription>>,
    /// Set at the beginning of a stop: no subscription begins any more.
    stopping: AtomicBool,
}

/// A subscription that has begun.
struct LiveSubscription {
    /// The handle that ends the subscription, so that what has arrived is still forwarded.
    stopper: Stopper,
    /// The task that forwards its messages.
    forwarder: JoinHandle<()>,
    /// The bytes of prefix that the guest does not see of the subjects.
    prefix_bytes: Arc<AtomicUsize>,
}

impl Subscriptions {
    /// No subscription yet. What arrives goes into the queue.
    pub(super) fn new(context: SubscriptionContext, queue: Arc<Queue<Incoming>>) -> Self {
        Self {
            context: Arc::new(context),
            queue,
            turn: Mutex::default(),
            interests: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Begins those that a version wants and that are not there yet, and waits until the server has them. What arrives on
    /// these waits until the gate is opened, within its room.
    ///
    /// # Errors
    /// The subscription that could not be made, and why. Those that had been begun are ended again.
    pub(super) async fn prepare(
        &self,
        wanted: &Wanted,
        version: u32,
        opener: GateOpener,
    ) -> Result<Gate, SubscribeRefused> {
        let mut begun = Vec::new();
        let mut result = Ok(());
        for (key, prefix_bytes) in wanted {
            let interest = Interest {
                version,
                prefix_bytes: *prefix_bytes,
            };
            let admission = Admission::Gated(opener.waiter());
            match self.subscribe(key, interest, admission).await {
                Ok(is_new) => begun.extend(is_new.then(|| key.clone())),
                Err(source) => {
                    let subject = key.subject.clone();
                    result = Err(SubscribeRefused { subject, source });
                    break;
                }
            }
        }
        if let (Ok(()), Some(last)) = (&result, begun.last()) {
            let fenced = self.context.connection.fence(BEGIN_TIMEOUT).await;
            let subject = last.subject.clone();
            result = fenced.map_err(|source| SubscribeRefused { subject, source });
        }
        let gate = Gate {
            opener,
            begun,
            version,
        };
        if let Err(refused) = result {
            self.cancel(gate).await;
            return Err(refused);
        }
        Ok(gate)
    }

    /// Ends what was begun behind a gate. What has arrived on it is nobody's. What the version in service has come to want
    /// meanwhile begins anew.
    pub(super) async fn cancel(&self, gate: Gate) {
        let Gate { opener, begun, .. } = gate;
        drop(opener);
        let _turn = self.turn.lock().await;
        for key in begun {
            let in_service = self.interests.lock().await.in_service(&key);
            self.log_end(&key, self.unsubscribe_in_turn(&key).await);
            if let Some(interest) = in_service {
                let begun = self.begin_in_turn(&key, interest, Admission::Immediate);
                self.log_begin(&key, begun.await);
            }
        }
    }

    /// Makes what a version wants its own, now that it is in service, and begins again what the one before has ended since.
    /// What was begun for it, and it does not want any more, ends.
    ///
    /// All in one turn: what the version asks for from then on comes after.
    pub(super) async fn adopt(&self, wanted: impl FnOnce() -> Wanted, gate: &Gate) {
        let _turn = self.turn.lock().await;
        let wanted = wanted();
        for (key, prefix_bytes) in &wanted {
            let interest = Interest {
                version: gate.version,
                prefix_bytes: *prefix_bytes,
            };
            let begun = self.subscribe_in_turn(key, interest, Admission::Immediate);
            self.log_begin(key, begun.await.map(drop));
        }
        for key in gate.begun.iter().filter(|key| !wanted.contains_key(*key)) {
            self.log_end(key, self.unsubscribe_in_turn(key).await);
        }
    }

    fn log_begin(&self, key: &SubscriptionKey, result: Result<(), Error>) {
        if let Err(error) = result {
            let (guest, subject) = (&self.context.guest, &key.subject);
            tracing::error!(%guest, subject, "the guest is no longer subscribed: {error}");
        }
    }

    fn log_end(&self, key: &SubscriptionKey, result: Result<(), Error>) {
        if let Err(error) = result {
            let (guest, subject) = (&self.context.guest, &key.subject);
            tracing::warn!(%guest, subject, "messages on their way may be lost: {error}");
        }
    }

    /// Ends those that only versions before this one want. What has arrived on them is still handled.
    pub(super) async fn unsubscribe_older(&self, version: u32) {
        let old = self.interests.lock().await.older_than(version);
        for key in old {
            self.log_end(&key, self.unsubscribe_unless_wanted(&key, version).await);
        }
    }

    /// Begins a subscription, unless it is there. True if it was not.
    pub(super) async fn subscribe(
        &self,
        key: &SubscriptionKey,
        interest: Interest,
        admission: Admission,
    ) -> Result<bool, Error> {
        let _turn = self.turn.lock().await;
        self.subscribe_in_turn(key, interest, admission).await
    }

    async fn subscribe_in_turn(
        &self,
        key: &SubscriptionKey,
        interest: Interest,
        admission: Admission,
    ) -> Result<bool, Error> {
        let presence = {
            let mut interests = self.interests.lock().await;
            let presence = interests.presence(key);
            if presence == Presence::Begun
                && matches!(admission, Admission::Immediate)
                && let Some(subscription) = interests.add(key, interest)
            {
                let bytes = interest.prefix_bytes;
                subscription.prefix_bytes.store(bytes, Ordering::Relaxed);
            }
            presence
        };
        match presence {
            Presence::Begun => return Ok(false),
            Presence::Ending => self.unsubscribe_in_turn(key).await?,
            Presence::Absent => {}
        }
        self.begin_in_turn(key, interest, admission).await?;
        Ok(true)
    }

    async fn begin_in_turn(
        &self,
        key: &SubscriptionKey,
        interest: Interest,
        admission: Admission,
    ) -> Result<(), Error> {
        let mut interests = self.interests.lock().await;
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::Unavailable("the guest is being stopped".into()));
        }
        interests.check_room()?;
        let SubscriptionKey { subject, queue } = key.clone();
        if is_reserved(&subject) {
            return Err(Error::Invalid(format!(
                "{subject:?} is never a guest's, whatever is put before it"
            )));
        }
        let connection = &self.context.connection;
        let inbound = connection.subscribe(subject.into(), queue).await?;
        let stopper = inbound.stopper();
        let prefix_bytes = Arc::new(AtomicUsize::new(interest.prefix_bytes));
        let forwarder = Forwarder {
            queue: Arc::clone(&self.queue),
            prefix_bytes: Arc::clone(&prefix_bytes),
            context: Arc::clone(&self.context),
        };
        let (gate, is_in_service) = match admission {
            Admission::Gated(gate) => (Some(gate), false),
            Admission::Immediate => (None, true),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "`LiveSubscription` keeps it, `forwarded` awaits it"
        )]
        let forwarder = connection.runtime().spawn(forwarder.run(inbound, gate));
        let subscription = LiveSubscription {
            stopper,
            forwarder,
            prefix_bytes,
        };
        interests.insert(key.clone(), interest, is_in_service, subscription);
        Ok(())
    }

    /// Ends a subscription, unless this version, or one after it, has come to want it.
    pub(super) async fn unsubscribe_unless_wanted(
        &self,
        key: &SubscriptionKey,
        version: u32,
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        if self.interests.lock().await.is_wanted_since(key, version) {
            return Ok(());
        }
        self.unsubscribe_in_turn(key).await
    }

    async fn unsubscribe_in_turn(&self, key: &SubscriptionKey) -> Result<(), Error> {
        let Some(stopper) = self
            .interests
            .lock()
            .await
            .begin_end(key)
            .map(|subscription| subscription.stopper.clone())
        else {
            return Ok(());
        };
        let connection = &self.context.connection;
        let stopped = connection.quiesce(&[stopper], UNSUBSCRIBE_TIMEOUT).await;
        let mut interests = self.interests.lock().await;
        // A stop may have been quicker.
        if let Some(subscription) = interests.get_mut(key) {
            let deadline = Instant::now() + FORWARD_TIMEOUT;
            forwarded(&self.context.guest, &mut subscription.forwarder, deadline).await;
            interests.remove(key);
        }
        stopped
    }

    /// Begins no more subscriptions, and returns what stops those that there are.
    pub(super) async fn begin_stop(&self) -> Vec<Stopper> {
        // First of all: whoever waits to begin one then gives up at once.
        self.stopping.store(true, Ordering::Release);
        self.interests
            .lock()
            .await
            .all()
            .map(|subscription| subscription.stopper.clone())
            .collect()
    }

    /// Waits, once they are stopped, until all that had arrived is in the queue, and closes it.
    pub(super) async fn finish_stop(&self) {
        let deadline = Instant::now() + FORWARD_TIMEOUT;
        let mut interests = self.interests.lock().await;
        for mut subscription in interests.take() {
            forwarded(&self.context.guest, &mut subscription.forwarder, deadline).await;
        }
        self.queue.close();
    }
}
