//! State that the connection's thread and its callers share: the connection's state, counters, inbox and subscriptions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::Statistics;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::cause;
use super::filter_switch::FilterSwitch;
use super::inbox::Inbox;
use super::log_throttle::LogThrottle;
use super::open_subscriptions::OpenSubscriptions;
use super::relay::malformed::{Malformed, MalformedCounts};
use crate::config::FilterMode;
use crate::error::Error;
use crate::lock::locked;

/// The state of the connection to NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Connected to a server.
    Connected,
    /// Not connected now; the client looks for a server.
    Disconnected,
    /// Not connected, and given up: the client does not look for a server any more. The text says why.
    Lost(String),
    /// Closed by the program itself.
    Closed,
}

impl ConnectionState {
    /// Whether there cannot be a server again.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Closed)
    }
}

/// Counts of a connection's events and traffic, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConnectionCounters {
    /// Connects that succeeded, the first one included.
    pub connects: u64,
    /// Times that the connection was lost.
    pub disconnects: u64,
    /// Messages dropped because a subscription's queue was full. In a flood there may be more than are counted.
    pub slow_consumers: u64,
    /// Errors that the server reported, such as violated permissions.
    pub server_errors: u64,
    /// Servers that announced their end.
    pub lame_ducks: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Bytes of the payloads of messages received.
    pub bytes_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes of the payloads of messages sent.
    pub bytes_out: u64,
    /// Messages that no client could read, which the filter has mended or dropped.
    pub malformed: MalformedCounts,
    /// Times that the filter was switched on because of a message.
    pub filter_activations: u64,
    /// The filter is on.
    pub filter_is_on: bool,
}

/// State of one connection, shared by its thread and its callers.
#[derive(Debug)]
pub(super) struct ConnectionShared {
    /// The connection's state, which can be watched.
    state: watch::Sender<ConnectionState>,
    /// The state is final. Kept apart from the state, so that reading it takes no lock.
    over: AtomicBool,
    /// The requests that wait for a reply.
    pub(super) inbox: Inbox,
    /// The subscriptions, the inbox's among them.
    pub(super) subscriptions: Arc<OpenSubscriptions>,
    /// Tells the thread to end.
    pub(super) stop: CancellationToken,
    /// The counters that clients keep.
    traffic: Mutex<ClientTraffic>,
    /// Times that the connection was lost.
    disconnects: AtomicU64,
    /// Messages dropped because a subscription's queue was full, as far as the client tells.
    pub(super) slow_consumers: AtomicU64,
    /// Errors that the server reported.
    pub(super) server_errors: AtomicU64,
    /// Servers that announced their end.
    pub(super) lame_ducks: AtomicU64,
    /// The decision whether messages pass the filter.
    pub(super) filter: FilterSwitch,
    /// Times that the filter was switched on because of a message.
    filter_activations: AtomicU64,
    /// Messages that the filter has mended or dropped.
    malformed: Mutex<MalformedCounts>,
    /// The throttle of the log line for such a message.
    malformed_log: LogThrottle,
    /// Tells that the client's servers may have to be completed.
    pub(super) pool_news: Notify,
}

/// The counters that clients keep, summed over all clients.
#[derive(Debug, Default)]
struct ClientTraffic {
    /// The sum over clients that have ended.
    earlier: ConnectionCounters,
    /// The current client's own counters.
    current: Arc<Statistics>,
}

impl ClientTraffic {
    /// The sum over all clients. Counters that clients do not keep are left at 0.
    fn sum(&self) -> ConnectionCounters {
        let Self { earlier, current } = self;
        ConnectionCounters {
            connects: earlier.connects + current.connects.load(Ordering::Relaxed),
            messages_in: earlier.messages_in + current.in_messages.load(Ordering::Relaxed),
            bytes_in: earlier.bytes_in + current.in_bytes.load(Ordering::Relaxed),
            messages_out: earlier.messages_out + current.out_messages.load(Ordering::Relaxed),
            bytes_out: earlier.bytes_out + current.out_bytes.load(Ordering::Relaxed),
            ..ConnectionCounters::default()
        }
    }
}

impl ConnectionShared {
    pub(super) fn new(filter: FilterMode) -> Self {
        Self {
            state: watch::Sender::new(ConnectionState::Disconnected),
            over: AtomicBool::new(false),
            inbox: Inbox::new(),
            subscriptions: Arc::default(),
            stop: CancellationToken::new(),
            traffic: Mutex::default(),
            disconnects: AtomicU64::new(0),
            slow_consumers: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            lame_ducks: AtomicU64::new(0),
            filter: FilterSwitch::new(filter),
            filter_activations: AtomicU64::new(0),
            malformed: Mutex::default(),
            malformed_log: LogThrottle::default(),
            pool_news: Notify::new(),
        }
    }

    /// The connection's state, to be read or watched.
    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// Notes that a server is connected. False if that was the state already.
    pub(super) fn connected(&self) -> bool {
        self.transition(ConnectionState::Connected)
    }

    /// Counts with a new client's statistics from now on, in addition to those of earlier clients.
    pub(super) fn count_with(&self, statistics: Arc<Statistics>) {
        let traffic = &mut *locked(&self.traffic);
        traffic.earlier = traffic.sum();
        traffic.current = statistics;
    }

    /// Notes that the connection was lost, and logs the cause.
    pub(super) fn disconnected(&self) {
        self.disconnects.fetch_add(1, Ordering::AcqRel);
        self.transition(ConnectionState::Disconnected);
        let cause = cause::take();
        tracing::warn!(target: "wharf::connection", cause = cause.words, "the connection to NATS broke");
        if self.filter.note_loss(cause.by_message) {
            self.filter_switched_on();
        }
    }

    fn filter_switched_on(&self) {
        self.filter_activations.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            target: "wharf::connection",
            "messages pass a filter from now on: what cannot be read of them is left out"
        );
    }

    /// Notes that a message has exceeded the limits of headers, which have been left out.
    pub(super) fn note_too_many_headers(&self, malformed: &Malformed<'_>) {
        self.note_malformed(malformed);
        if self.filter.note_too_many_headers() {
            self.filter_switched_on();
        }
    }

    /// Counts and logs a message that was mended or dropped.
    pub(super) fn note_malformed(&self, malformed: &Malformed<'_>) {
        self.filter.note_malformed();
        locked(&self.malformed).add_one(malformed.cause);
        if let Some(left_out) = self.malformed_log.pass() {
            let outcome = if malformed.cause.is_dropped() {
                "dropped"
            } else {
                "delivered without what cannot be read"
            };
            let subject = malformed.shown_subject();
            tracing::warn!(
                target: "wharf::connection", cause = malformed.cause.label(), subject, left_out,
                "a malformed message was {outcome}"
            );
        }
    }

    /// Gives the connection up, for this reason: the thread ends.
    pub(super) fn give_up(&self, reason: String) {
        if self.transition(ConnectionState::Lost(reason.clone())) {
            tracing::error!(target: "wharf::connection", reason, "the connection to NATS is lost for good");
        }
        self.stop.cancel();
    }

    /// Notes that the thread has ended: no reply and no message comes any more.
    pub(super) fn ended(&self) {
        self.transition(ConnectionState::Closed);
        self.inbox.abandon();
        self.subscriptions.close();
    }

    /// Whether the connection is lost for good, or closed. The client may take commands a moment longer, and drops them.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The error of a connection that takes no command now, with the reason in its state.
    pub(super) fn unavailable(&self) -> Error {
        Error::Unavailable(match &*self.state.borrow() {
            ConnectionState::Connected => {
                "the server does not keep up: the connection's queue is full".to_owned()
            }
            ConnectionState::Disconnected => {
                "there is no connection to NATS, and nothing more can be queued".to_owned()
            }
            ConnectionState::Lost(why) => format!("the connection to NATS is lost: {why}"),
            ConnectionState::Closed => "the connection to NATS is closed".to_owned(),
        })
    }

    /// The number of connects that succeeded. 0 until the first one is complete.
    pub(super) fn connects(&self) -> u64 {
        locked(&self.traffic).sum().connects
    }

    /// The number of times that the connection was lost.
    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Acquire)
    }

    /// All counters, as they are now.
    pub(super) fn counters(&self) -> ConnectionCounters {
        ConnectionCounters {
            disconnects: self.disconnects(),
            slow_consumers: self.slow_consumers.load(Ordering::Relaxed),
            server_errors: self.server_errors.load(Ordering::Relaxed),
            lame_ducks: self.lame_ducks.load(Ordering::Relaxed),
            malformed: *locked(&self.malformed),
            filter_activations: self.filter_activations.load(Ordering::Relaxed),
            filter_is_on: self.filter.is_on(),
            ..locked(&self.traffic).sum()
        }
    }

    /// Changes the state, unless it is final. True if the state is another one now.
    fn transition(&self, state: ConnectionState) -> bool {
        self.state.send_if_modified(|now| {
            let is_news = !now.is_final() && *now != state;
            if is_news {
                self.over.store(state.is_final(), Ordering::Release);
                *now = state;
            }
            is_news
        })
    }
}
