//! What the connection's thread and its callers share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_nats::Statistics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;

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
    /// Tells the thread to end.
    pub(super) stop: CancellationToken,
    statistics: OnceLock<Arc<Statistics>>,
    disconnects: AtomicU64,
    pub(super) slow_consumers: AtomicU64,
    pub(super) server_errors: AtomicU64,
    pub(super) lame_ducks: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(ConnectionState::Disconnected),
            over: AtomicBool::new(false),
            inbox: Inbox::new(),
            stop: CancellationToken::new(),
            statistics: OnceLock::new(),
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

    /// The client is connected for the first time.
    pub(super) fn established(&self, statistics: Arc<Statistics>) {
        // Once a connection: there is nothing to replace.
        let _ = self.statistics.set(statistics);
        self.connected();
    }

    pub(super) fn is_established(&self) -> bool {
        self.statistics.get().is_some()
    }

    /// There is no server any more.
    pub(super) fn disconnected(&self) {
        self.disconnects.fetch_add(1, Ordering::AcqRel);
        self.transition(ConnectionState::Disconnected);
        tracing::warn!(target: "wharf::connection", "the connection to NATS broke");
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
    }

    /// Lost for good, or closed. The client may take commands a moment longer, and drops them.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Connects that succeeded. 0 until the first one is complete.
    pub(super) fn connects(&self) -> u64 {
        self.statistics
            .get()
            .map_or(0, |statistics| statistics.connects.load(Ordering::Relaxed))
    }

    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Acquire)
    }

    pub(super) fn counters(&self) -> ConnectionCounters {
        let of = |pick: fn(&Statistics) -> u64| self.statistics.get().map_or(0, |all| pick(all));
        ConnectionCounters {
            connects: self.connects(),
            disconnects: self.disconnects(),
            slow_consumers: self.slow_consumers.load(Ordering::Relaxed),
            server_errors: self.server_errors.load(Ordering::Relaxed),
            lame_ducks: self.lame_ducks.load(Ordering::Relaxed),
            messages_in: of(|all| all.in_messages.load(Ordering::Relaxed)),
            bytes_in: of(|all| all.in_bytes.load(Ordering::Relaxed)),
            messages_out: of(|all| all.out_messages.load(Ordering::Relaxed)),
            bytes_out: of(|all| all.out_bytes.load(Ordering::Relaxed)),
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
