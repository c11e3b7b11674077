//! Log lines of a kind that every message can cause: at most one a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::locked;

/// The least time between two log lines of a kind.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps a log line from being written more than once per [`LOG_INTERVAL`].
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<ThrottleState>);

/// The log lines of one throttle, written and left out.
#[derive(Debug, Default)]
struct ThrottleState {
    /// The time of the last line.
    last: Option<Instant>,
    /// The number of lines left out since then.
    left_out: u64,
}

impl LogThrottle {
    /// The number of lines that were left out since the last one. `None` while this one has to be left out, too.
    pub(super) fn pass(&self) -> Option<u64> {
        let mut state = locked(&self.0);
        if state.last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.left_out))
    }
}
