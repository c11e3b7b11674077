//! Messages from subjects: core NATS, at most once.
//!
//! One task for each subscription moves what arrives into the guest's queue at once, on the connection's own thread: the
//! client would drop messages of a slow reader without saying whose they were. What does not fit into the queue is
//! dropped here, and counted for the guest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::arrival::{Arrival, Source};
use super::version::Wanted;
use crate::connection::{Connection, Inbound, Stopper};
use crate::error::Error;
use crate::metrics::GuestCounters;
use crate::policy::is_reserved;
use crate::queue::Queue;
use crate::trace::Tracer;

/// What a waiting message takes beside its bytes: the structures that hold it.
const MESSAGE_OVERHEAD_BYTES: usize = size_of::<Arrival>();

/// A payload is a slice of the buffer that it was read into, which it keeps alive, 64 KiB at a time. While a few messages
/// wait that is cheap; behind so many a payload is copied out, or a queue would hold more than its bytes.
const COPY_BEHIND: usize = 64;

/// How long the server may take to note subscriptions.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long ending subscriptions may take.
const UNSUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what has arrived may take on its way into the queue. It is there at once, unless the subscription could not be
/// ended.
const MOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Subscriptions of one guest. Each costs the host and the server memory, and a guest may begin them by itself.
const MOST_SUBSCRIPTIONS: usize = 1000;

/// There would be more than [`MOST_SUBSCRIPTIONS`].
fn too_many() -> Error {
    Error::Unavailable(format!(
        "a guest has at most {MOST_SUBSCRIPTIONS} subscriptions: end some, or subscribe with a wildcard"
    ))
}

/// Notes a subscription that is to begin later.
pub(super) fn want(wanted: &mut Wanted, key: &Key, prefix_bytes: usize) -> Result<(), Error> {
    if wanted.len() >= MOST_SUBSCRIPTIONS && !wanted.contains_key(key) {
        return Err(too_many());
    }
    wanted.entry(key.clone()).or_insert(prefix_bytes);
    Ok(())
}

/// A subscription, by the subject as it travels and the queue group.
pub(crate) type Key = (String, Option<String>);

/// Behind it wait the messages of subscriptions that have just been begun. Dropped unopened, they are nobody's.
#[must_use = "messages wait behind it"]
pub(crate) struct Gate {
    opener: watch::Sender<bool>,
    begun: Vec<Key>,
    version: u32,
}

/// What a version says of a subscription that it wants.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) version: u32,
    /// How much of the subjects it does not see.
    pub(super) prefix_bytes: usize,
}

/// How the messages of a subscription that has just been begun come in.
pub(super) enum Entry {
    /// They wait behind a gate: the version that wants them is not in service yet.
    Behind(watch::Receiver<bool>),
    /// At once: the version is in service.
    Open,
}

impl Gate {
    /// Lets them go on into the guest's queue.
    pub(crate) fn open(self) {
        self.opener.send_replace(true);
    }
}

/// All subscriptions of one guest, over all its versions.
pub(crate) struct Subjects {
    source: Arc<Source>,
    queue: Arc<Queue<Arrival>>,
    /// Changes take turns. A stop does not wait for its turn.
    changes: Mutex<()>,
    open: Mutex<BTreeMap<Key, Subscription>>,
    stopping: AtomicBool,
}

struct Subscription {
    stopper: Stopper,
    mover: JoinHandle<()>,
    /// What the guest does not see of the subjects. Another version may have another prefix.
    prefix_bytes: Arc<AtomicUsize>,
    /// The newest version that wants it.
    version: u32,
    /// What the version in service last said of it.
    in_service: Option<Claim>,
    /// Somebody has begun to end it. It is kept until it has ended: a guest that is interrupted meanwhile leaves it here.
    ending: bool,
}

impl Subjects {
    /// No subscription yet. What arrives goes into the queue.
    pub(crate) fn new(
        guest: &str,
        connection: Connection,
        counters: Arc<GuestCounters>,
        queue: Arc<Queue<Arrival>>,
        tracer: Option<Tracer>,
    ) -> Self {
        let source = Arc::new(Source {
            guest: guest.into(),
            connection,
            counters,
            tracer,
        });
        let (changes, open, stopping) = Default::default();
        Self {
            source,
            queue,
            changes,
            open,
            stopping,
        }
    }

    /// Begins those that a version wants and that are not there yet, and waits until the server has them. What arrives on
    /// these waits until the gate is opened.
    ///
    /// # Errors
    ///
    /// The subscription that could not be made, and why. Those that had been begun are ended again.
    pub(crate) async fn begin_all(
        &self,
        wanted: &Wanted,
        version: u32,
    ) -> Result<Gate, (String, Error)> {
        let opener = watch::Sender::new(false);
        let mut begun = Vec::new();
        let mut result = Ok(());
        for (key, prefix_bytes) in wanted {
            let claim = Claim {
                version,
                prefix_bytes: *prefix_bytes,
            };
            match self
                .begin(key, claim, Entry::Behind(opener.subscribe()))
                .await
            {
                Ok(is_new) => begun.extend(is_new.then(|| key.clone())),
                Err(error) => {
                    result = Err((key.0.clone(), error));
                    break;
                }
            }
        }
        if let (Ok(()), Some(last)) = (&result, begun.last()) {
            let fenced = self.source.connection.fence(BEGIN_TIMEOUT).await;
            result = fenced.map_err(|error| (last.0.clone(), error));
        }
        let gate = Gate {
            opener,
            begun,
            version,
        };
        if let Err(refused) = result {
            self.take_back(gate).await;
            return Err(refused);
        }
        Ok(gate)
    }

    /// Ends what was begun behind a gate. What has arrived on it is nobody's. What the version in service has come to want
    /// meanwhile begins anew.
    pub(crate) async fn take_back(&self, gate: Gate) {
        let Gate { opener, begun, .. } = gate;
        drop(opener);
        let _turn = self.changes.lock().await;
        for key in begun {
            let in_service = self
                .open
                .lock()
                .await
                .get(&key)
                .and_then(|subscription| subscription.in_service);
            self.ended(&key, self.end_in_turn(&key).await);
            if let Some(claim) = in_service {
                self.begun(&key, self.subscribe_in_turn(&key, claim, Entry::Open).await);
            }
        }
    }

    /// A version is in service: what it wants now is its own, and begun again where the one before has ended it since. What
    /// was begun for it, and it does not want any more, ends.
    ///
    /// All in one turn: what it asks for from then on comes after.
    pub(crate) async fn adopt(&self, wanted: impl FnOnce() -> Wanted, gate: &Gate) {
        let _turn = self.changes.lock().await;
        let wanted = wanted();
        for (key, prefix_bytes) in &wanted {
            let claim = Claim {
                version: gate.version,
                prefix_bytes: *prefix_bytes,
            };
            self.begun(
                key,
                self.begin_in_turn(key, claim, Entry::Open).await.map(drop),
            );
        }
        for key in gate.begun.iter().filter(|key| !wanted.contains_key(*key)) {
            self.ended(key, self.end_in_turn(key).await);
        }
    }

    fn begun(&self, (subject, _): &Key, result: Result<(), Error>) {
        if let Err(error) = result {
            let guest = &self.source.guest;
            tracing::error!(%guest, subject, "the guest is no longer subscribed: {error}");
        }
    }

    fn ended(&self, (subject, _): &Key, result: Result<(), Error>) {
        if let Err(error) = result {
            let guest = &self.source.guest;
            tracing::warn!(%guest, subject, "messages on their way may be lost: {error}");
        }
    }

    /// Ends those that only versions before this one want. What has arrived on them is still handled.
    pub(crate) async fn end_before(&self, version: u32) {
        let open = self.open.lock().await;
        let old = open
            .iter()
            .filter(|(_, subscription)| subscription.version < version);
        let keys: Vec<_> = old.map(|(key, _)| key.clone()).collect();
        drop(open);
        for key in keys {
            self.ended(&key, self.end_unless(&key, version).await);
        }
    }

    /// Begins a subscription, unless it is there. True if it was not.
    pub(super) async fn begin(&self, key: &Key, claim: Claim, entry: Entry) -> Result<bool, Error> {
        let _turn = self.changes.lock().await;
        self.begin_in_turn(key, claim, entry).await
    }

    async fn begin_in_turn(&self, key: &Key, claim: Claim, entry: Entry) -> Result<bool, Error> {
        let ending = self.open.lock().await.get_mut(key).map(|subscription| {
            if !subscription.ending && matches!(entry, Entry::Open) {
                subscription.claim(claim);
            }
            subscription.ending
        });
        match ending {
            Some(false) => return Ok(false),
            Some(true) => self.end_in_turn(key).await?,
            None => {}
        }
        self.subscribe_in_turn(key, claim, entry)
            .await
            .map(|()| true)
    }

    async fn subscribe_in_turn(&self, key: &Key, claim: Claim, entry: Entry) -> Result<(), Error> {
        let mut open = self.open.lock().await;
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::Unavailable("the guest is being stopped".into()));
        }
        if open.len() >= MOST_SUBSCRIPTIONS {
            return Err(too_many());
        }
        let (subject, queue) = key.clone();
        if is_reserved(&subject) {
            return Err(Error::Invalid(format!(
                "{subject:?} is never a guest's, whatever is put before it"
            )));
        }
        let inbound = self
            .source
            .connection
            .subscribe(subject.into(), queue)
            .await?;
        let stopper = inbound.stopper();
        let mover = Mover {
            queue: Arc::clone(&self.queue),
            prefix_bytes: Arc::new(claim.prefix_bytes.into()),
            source: Arc::clone(&self.source),
        };
        let prefix_bytes = Arc::clone(&mover.prefix_bytes);
        let (gate, in_service) = match entry {
            Entry::Behind(gate) => (Some(gate), None),
            Entry::Open => (None, Some(claim)),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "`Subscription` keeps it, `Source::moved` awaits it"
        )]
        let mover = self
            .source
            .connection
            .runtime()
            .spawn(mover.run(inbound, gate));
        let (version, ending) = (claim.version, false);
        let subscription = Subscription {
            stopper,
            mover,
            prefix_bytes,
            version,
            in_service,
            ending,
        };
        open.insert(key.clone(), subscription);
        Ok(())
    }

    /// Ends a subscription, unless this version, or one after it, has come to want it.
    pub(super) async fn end_unless(&self, key: &Key, version: u32) -> Result<(), Error> {
        let _turn = self.changes.lock().await;
        let wanted_by = self
            .open
            .lock()
            .await
            .get(key)
            .map(|subscription| subscription.version);
        if wanted_by.is_some_and(|newest| newest >= version) {
            Ok(())
        } else {
            self.end_in_turn(key).await
        }
    }

    async fn end_in_turn(&self, key: &Key) -> Result<(), Error> {
        let stopper = {
            let mut open = self.open.lock().await;
            let Some(subscription) = open.get_mut(key) else {
                return Ok(());
            };
            subscription.ending = true;
            subscription.stopper.clone()
        };
        let stopped = self
            .source
            .connection
            .quiesce(&[stopper], UNSUBSCRIBE_TIMEOUT)
            .await;
        let mut open = self.open.lock().await;
        // A stop may have been quicker.
        if let Some(subscription) = open.get_mut(key) {
            self.source
                .moved(&mut subscription.mover, Instant::now() + MOVE_TIMEOUT)
                .await;
            open.remove(key);
        }
        stopped
    }

    /// Begins no more subscriptions. The way to stop those that there are.
    pub(crate) async fn stoppers(&self) -> Vec<Stopper> {
        // First of all: whoever waits to begin one then gives up at once.
        self.stopping.store(true, Ordering::Release);
        self.open
            .lock()
            .await
            .values()
            .map(|subscription| subscription.stopper.clone())
            .collect()
    }

    /// Once they are stopped: waits until all that had arrived is in the queue, and closes it.
    pub(crate) async fn finish(&self) {
        let deadline = Instant::now() + MOVE_TIMEOUT;
        let mut open = self.open.lock().await;
        for (_, mut subscription) in std::mem::take(&mut *open) {
            self.source.moved(&mut subscription.mover, deadline).await;
        }
        self.queue.close();
    }
}

impl Subscription {
    /// A version in service wants it. One that was replaced may still say so for a moment.
    fn claim(&mut self, claim: Claim) {
        self.in_service = Some(claim);
        if claim.version >= self.version {
            self.version = claim.version;
            self.prefix_bytes
                .store(claim.prefix_bytes, Ordering::Relaxed);
        }
    }
}

impl Source {
    /// Waits until what had arrived on a stopped subscription is in the queue.
    async fn moved(&self, mover: &mut JoinHandle<()>, deadline: Instant) {
        let guest = &self.guest;
        let ended = match timeout_at(deadline, &mut *mover).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                // While there is no server the client may take no orders: then a subscription has no end.
                tracing::warn!(%guest, "a subscription could not be ended: it is cut off");
                mover.abort();
                mover.await
            }
        };
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%guest, "the task of a subscription has panicked: {error}");
        }
    }
}

/// Moves what arrives on a subscription into the queue.
struct Mover {
    queue: Arc<Queue<Arrival>>,
    prefix_bytes: Arc<AtomicUsize>,
    source: Arc<Source>,
}

impl Mover {
    /// Until the subscription ends. Behind a gate that is never opened nothing moves: the messages are nobody's.
    async fn run(self, mut inbound: Inbound, gate: Option<watch::Receiver<bool>>) {
        if let Some(mut gate) = gate
            && gate.wait_for(|is_open| *is_open).await.is_err()
        {
            return;
        }
        while let Some(message) = inbound.next().await {
            self.take(message);
        }
    }

    fn take(&self, mut message: async_nats::Message) {
        // A subscription to `>` hears the server's own subjects, too: they are not the guest's.
        if is_reserved(&message.subject) {
            return;
        }
        let counters = &self.source.counters;
        counters.received.add_one();
        if self.queue.len() >= COPY_BEHIND {
            message.payload = Bytes::copy_from_slice(&message.payload);
        }
        let bytes = message.length + MESSAGE_OVERHEAD_BYTES;
        let prefix_bytes = self.prefix_bytes.load(Ordering::Relaxed);
        let arrival = Arrival {
            message,
            prefix_bytes,
            source: Arc::clone(&self.source),
        };
        if self.queue.push(arrival, bytes).is_err() {
            counters.dropped.add_one();
            let dropped = counters.dropped.get();
            // One line at 1, 2, 4, 8 …: a flood of messages must not become one of log lines.
            if dropped.is_power_of_two() {
                let guest = &self.source.guest;
                tracing::warn!(%guest, dropped, "the guest does not keep up: its queue is full, messages are dropped");
            }
        }
    }
}
