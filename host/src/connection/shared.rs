//! What the connection's thread and its callers share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::Statistics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cause;
use super::inbox::Inbox;
use super::lines::Lines;
use super::locked;

/// Whether there is a server, and whether there can be one again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// There is a server.
    Connected,
    /// There is none now; the client looks for one.
    Disconnected,
    /// There is none, and the client does not look for one any more. Says why.
    Lost(String),
    /// Closed by us.
    Closed,
}

impl ConnectionState {
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Closed)
    }
}

/// What has happened on a connection so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConnectionCounters {
    /// Connects that succeeded, the first one included.
    pub connects: u64,
    /// Times that the connection was lost.
    pub disconnects: u64,
    /// Messages dropped because a subscription's queue was full. At least: in a flood some go uncounted.
    pub slow_consumers: u64,
    /// Errors that the server reported, such as violated permissions.
    pub server_errors: u64,
    /// Servers that announced their end.
    pub lame_ducks: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Their payloads' bytes.
    pub bytes_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Their payloads' bytes.
    pub bytes_out: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: watch::Sender<ConnectionState>,
    /// The state is final. Apart from it, for a look that costs nothing.
    over: AtomicBool,
    pub(super) inbox: Inbox,
    pub(super) lines: Arc<Lines>,
    /// Tells the thread to end.
    pub(super) stop: CancellationToken,
    traffic: Mutex<Traffic>,
    disconnects: AtomicU64,
    pub(super) slow_consumers: AtomicU64,
    pub(super) server_errors: AtomicU64,
    pub(super) lame_ducks: AtomicU64,
}

/// What clients count.
#[derive(Debug, Default)]
struct Traffic {
    /// Of those that have ended.
    earlier: ConnectionCounters,
    /// Of the client of now.
    current: Arc<Statistics>,
}

impl Traffic {
    /// Of all clients. What clients do not count is left at 0.
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

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(ConnectionState::Disconnected),
            over: AtomicBool::new(false),
            inbox: Inbox::new(),
            lines: Arc::default(),
            stop: CancellationToken::new(),
            traffic: Mutex::default(),
            disconnects: AtomicU64::new(0),
            slow_consumers: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            lame_ducks: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// There is a server. False if that was known.
    pub(super) fn connected(&self) -> bool {
        self.transition(ConnectionState::Connected)
    }

    /// There is a client, which counts here from now on.
    pub(super) fn counted_by(&self, statistics: Arc<Statistics>) {
        let traffic = &mut *locked(&self.traffic);
        traffic.earlier = traffic.sum();
        traffic.current = statistics;
    }

    /// There is no server any more.
    pub(super) fn disconnected(&self) {
        self.disconnects.fetch_add(1, Ordering::AcqRel);
        self.transition(ConnectionState::Disconnected);
        let cause = cause::take();
        tracing::warn!(target: "wharf::connection", cause, "the connection to NATS broke");
    }

    /// There will not be a server again: the thread ends.
    pub(super) fn give_up(&self, reason: String) {
        if self.transition(ConnectionState::Lost(reason.clone())) {
            tracing::error!(target: "wharf::connection", reason, "the connection to NATS is lost for good");
        }
        self.stop.cancel();
    }

    /// The thread has ended.
    pub(super) fn ended(&self) {
        self.transition(ConnectionState::Closed);
        self.inbox.abandon();
        self.lines.close();
    }

    /// Lost for good, or closed. The client may take commands a moment longer, and drops them.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Connects that succeeded. 0 until the first one is complete.
    pub(super) fn connects(&self) -> u64 {
        locked(&self.traffic).sum().connects
    }

    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Acquire)
    }

    pub(super) fn counters(&self) -> ConnectionCounters {
        ConnectionCounters {
            disconnects: self.disconnects(),
            slow_consumers: self.slow_consumers.load(Ordering::Relaxed),
            server_errors: self.server_errors.load(Ordering::Relaxed),
            lame_ducks: self.lame_ducks.load(Ordering::Relaxed),
            ..locked(&self.traffic).sum()
        }
    }

    /// True if that is news. What is final stays.
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
