//! Messages from subjects: core NATS, at most once.
//!
//! One task for each subscription moves what arrives into the guest's queue at once, on the connection's own thread: the
//! client would drop messages of a slow reader without saying whose they were. What does not fit into the queue is
//! dropped here, and counted for the guest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::SubscriptionSettings;
use crate::connection::{Connection, Inbound, Stopper};
use crate::error::Error;
use crate::headers::{from_wire, to_wire};
use crate::imports;
use crate::message::{Failure, FailureKind, Message, Outcome, Reply};
use crate::metrics::GuestCounters;
use crate::policy::is_reserved;
use crate::queue::Queue;

/// What a waiting message takes beside its bytes: the structures that hold it.
const MESSAGE_OVERHEAD_BYTES: usize = size_of::<Arrival>();

/// A payload is a slice of the buffer that it was read into, which it keeps alive, 64 KiB at a time. While a few messages
/// wait that is cheap; behind so many a payload is copied out, or a queue would hold more than its bytes.
const COPY_BEHIND: usize = 64;

/// How long ending one subscription may take.
const UNSUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what has arrived may take on its way into the queue. It is there at once, unless the subscription could not be
/// ended.
const MOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Subscriptions of one guest. Each costs the host and the server memory, and a guest may begin them by itself.
const MOST_SUBSCRIPTIONS: usize = 1000;

/// A message that has arrived for a guest.
pub(crate) struct Arrival {
    message: async_nats::Message,
    prefix_bytes: usize,
    source: Arc<Source>,
}

/// What is left of a message while the guest handles it.
pub(crate) struct Ticket {
    pub(crate) subject: Subject,
    reply_to: Option<Subject>,
    source: Arc<Source>,
}

/// What all subscriptions of one guest share.
struct Source {
    guest: Arc<str>,
    connection: Connection,
    counters: Arc<GuestCounters>,
}

impl Arrival {
    /// The message as the guest sees it, and what it takes to carry out what becomes of it.
    pub(crate) fn open(self) -> (Message, Ticket) {
        let Self { message, prefix_bytes, source } = self;
        let opened = Message {
            subject: message.subject.get(prefix_bytes..).unwrap_or(&message.subject).to_owned(),
            reply_to: message.reply.as_ref().map(|reply| reply.as_str().to_owned()),
            headers: from_wire(message.headers.as_ref()),
            payload: message.payload,
        };
        (opened, Ticket { subject: message.subject, reply_to: message.reply, source })
    }
}

impl Ticket {
    /// Carries out what became of the message: whoever waits for a reply gets it, or an error.
    pub(crate) async fn settle(self, outcome: Outcome) {
        let answer = match outcome {
            Outcome::Handled(None) => return,
            Outcome::Handled(Some(reply)) => Ok(reply),
            Outcome::Failed(failure) => Err(failure),
        };
        let Some(reply_to) = &self.reply_to else { return };
        let counters = &self.source.counters;
        match self.answer(reply_to.clone(), answer).await {
            Ok(()) => counters.replied.add_one(),
            Err(error) => {
                counters.replies_failed.add_one();
                let guest = &self.source.guest;
                tracing::error!(%guest, subject = %self.subject, "the reply could not be sent: {error}");
            }
        }
    }

    async fn answer(&self, reply_to: Subject, answer: Result<Reply, Failure>) -> Result<(), Error> {
        // The sender chose where the answer goes, but it goes with the host's rights: not to where the server takes orders.
        if reply_to.starts_with('$') {
            return Err(Error::Invalid(format!(
                "{reply_to:?} is the server's own subject, not one to wait on"
            )));
        }
        let reply = answer.unwrap_or_else(|failure| service_error(&failure));
        let sent = self.send(&reply_to, reply).await;
        if let Err(Error::Invalid(_) | Error::TooLarge(_)) = sent {
            // Whoever waits learns at least that nothing will come.
            let reason = "the handler's reply is not allowed".into();
            let failure = Failure { kind: FailureKind::Trap, reason, backtrace: None };
            self.send(&reply_to, service_error(&failure)).await?;
        }
        sent
    }

    async fn send(&self, reply_to: &Subject, reply: Reply) -> Result<(), Error> {
        let headers = to_wire(reply.headers)?;
        self.source.connection.publish(reply_to.clone(), None, headers, reply.payload).await
    }
}

/// The answer of a service that failed.
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>
fn service_error(failure: &Failure) -> Reply {
    let words = match failure.kind {
        // What a guest says of itself is for its senders; what is wrong inside it is for its operator.
        FailureKind::Retry(_) | FailureKind::Reject => failure.reason.clone(),
        FailureKind::Trap => "the handler failed".to_owned(),
        FailureKind::Timeout => "the handler took too long".to_owned(),
        FailureKind::NotStarted => "the handler cannot run now".to_owned(),
    };
    let headers = vec![
        ("Nats-Service-Error".to_owned(), words),
        ("Nats-Service-Error-Code".to_owned(), failure.kind.service_code().to_string()),
    ];
    Reply { headers, payload: Bytes::new() }
}

/// All subscriptions of one guest.
pub(crate) struct Subjects {
    source: Arc<Source>,
    queue: Arc<Queue<Arrival>>,
    prefix: String,
    /// A guest's changes take turns. A stop does not wait for its turn.
    changes: Mutex<()>,
    open: Mutex<BTreeMap<Key, Subscription>>,
    stopping: AtomicBool,
}

/// The subject as it travels, and the queue group.
type Key = (String, Option<String>);

struct Subscription {
    stopper: Stopper,
    mover: JoinHandle<()>,
    /// Somebody has begun to end it. It is kept until it has ended: a guest that is interrupted meanwhile leaves it here.
    ending: bool,
}

impl Subjects {
    /// No subscription yet. What arrives goes into the queue.
    pub(crate) fn new(
        guest: &str,
        prefix: &str,
        connection: Connection,
        counters: Arc<GuestCounters>,
        queue: Arc<Queue<Arrival>>,
    ) -> Self {
        let source = Arc::new(Source { guest: guest.into(), connection, counters });
        let (changes, open, stopping) = Default::default();
        Self { source, queue, prefix: prefix.to_owned(), changes, open, stopping }
    }

    /// Begins a subscription that the host is configured to make.
    pub(crate) async fn add(&self, settings: &SubscriptionSettings) -> Result<(), Error> {
        let prefix = if settings.ignore_prefix { "" } else { &self.prefix };
        let subject = format!("{prefix}{}", settings.subject);
        self.begin(subject.into(), settings.queue.clone(), settings.ignore_prefix).await
    }

    async fn begin(&self, subject: Subject, queue: Option<String>, ignore_prefix: bool) -> Result<(), Error> {
        let _turn = self.changes.lock().await;
        let key = (subject.to_string(), queue.clone());
        let ending = self.open.lock().await.get(&key).map(|subscription| subscription.ending);
        match ending {
            Some(false) => return Ok(()),
            Some(true) => self.end_in_turn(&key).await?,
            None => {}
        }
        let mut open = self.open.lock().await;
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::Unavailable("the host is stopping".into()));
        }
        if open.len() >= MOST_SUBSCRIPTIONS {
            return Err(Error::Unavailable(format!(
                "a guest has at most {MOST_SUBSCRIPTIONS} subscriptions: end some, or subscribe with a wildcard"
            )));
        }
        let inbound = self.source.connection.subscribe(subject, queue).await?;
        let stopper = inbound.stopper();
        let prefix_bytes = if ignore_prefix { 0 } else { self.prefix.len() };
        let moving = move_into(Arc::clone(&self.queue), inbound, prefix_bytes, Arc::clone(&self.source));
        let mover = self.source.connection.runtime().spawn(moving);
        open.insert(key, Subscription { stopper, mover, ending: false });
        Ok(())
    }

    async fn end(&self, key: &Key) -> Result<(), Error> {
        let _turn = self.changes.lock().await;
        self.end_in_turn(key).await
    }

    async fn end_in_turn(&self, key: &Key) -> Result<(), Error> {
        let stopper = {
            let mut open = self.open.lock().await;
            let Some(subscription) = open.get_mut(key) else { return Ok(()) };
            subscription.ending = true;
            subscription.stopper.clone()
        };
        let stopped = self.source.connection.quiesce(&[stopper], UNSUBSCRIBE_TIMEOUT).await;
        let mut open = self.open.lock().await;
        // A stop may have been quicker.
        if let Some(subscription) = open.get_mut(key) {
            self.source.moved(&mut subscription.mover, Instant::now() + MOVE_TIMEOUT).await;
            open.remove(key);
        }
        stopped
    }

    /// Begins no more subscriptions. The way to stop those that there are.
    pub(crate) async fn stoppers(&self) -> Vec<Stopper> {
        // First of all: whoever waits to begin one then gives up at once.
        self.stopping.store(true, Ordering::Release);
        self.open.lock().await.values().map(|subscription| subscription.stopper.clone()).collect()
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

/// Moves what arrives on a subscription into the queue, until the subscription ends.
async fn move_into(
    queue: Arc<Queue<Arrival>>,
    mut inbound: Inbound,
    prefix_bytes: usize,
    source: Arc<Source>,
) {
    while let Some(mut message) = inbound.next().await {
        // A subscription to `>` hears the server's own subjects, too: they are not the guest's.
        if is_reserved(&message.subject) {
            continue;
        }
        source.counters.received.add_one();
        if queue.len() >= COPY_BEHIND {
            message.payload = Bytes::copy_from_slice(&message.payload);
        }
        let bytes = message.length + MESSAGE_OVERHEAD_BYTES;
        let arrival = Arrival { message, prefix_bytes, source: Arc::clone(&source) };
        if queue.push(arrival, bytes).is_err() {
            source.counters.dropped.add_one();
            let dropped = source.counters.dropped.get();
            // One line at 1, 2, 4, 8 …: a flood of messages must not become one of log lines.
            if dropped.is_power_of_two() {
                let guest = &source.guest;
                tracing::warn!(%guest, dropped, "the guest does not keep up: its queue is full, messages are dropped");
            }
        }
    }
}

impl imports::Subscriptions for Subjects {
    fn subscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
        ignore_prefix: bool,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(self.begin(subject, queue, ignore_prefix))
    }

    fn unsubscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(async move { self.end(&(subject.to_string(), queue)).await })
    }
}
