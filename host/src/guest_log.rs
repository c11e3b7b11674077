//! The log of one version of a guest: lines by the guest and on it, bounded in lines and bytes a second. What is above is
//! dropped and counted: nobody waits for it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lock::locked;
use crate::metrics::GuestCounters;

/// The time over which lines and bytes are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The bytes of a log line beside its text: the time, the level, the guest's name.
const LINE_OVERHEAD_BYTES: u64 = 64;

/// The log of one version of a guest.
#[derive(Debug)]
pub(crate) struct GuestLog {
    /// The guest's name.
    pub(crate) guest: Arc<str>,
    /// The version's number.
    pub(crate) version: u32,
    /// The guest's counters, where lines that are dropped are counted.
    counters: Arc<GuestCounters>,
    /// The lines and bytes of the current second, and their bounds.
    budget: Mutex<Budget>,
}

/// The lines and bytes that may still be logged in the current window.
#[derive(Debug)]
struct Budget {
    /// The most lines in a window.
    max_lines: u64,
    /// The most bytes in a window.
    max_bytes: u64,
    /// The begin of the current window. `None` before the first line.
    began: Option<Instant>,
    /// Lines of the current window.
    lines: u64,
    /// Bytes of the current window.
    bytes: u64,
    /// Lines that were dropped since the last one that was not.
    dropped: u64,
}

/// The budget's word on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may be logged, after so many that were dropped.
    Log {
        dropped_before: u64,
    },
    Drop,
}

impl GuestLog {
    /// The log of a version that may write so many lines and bytes a second.
    pub(crate) fn new(
        guest: Arc<str>,
        version: u32,
        counters: Arc<GuestCounters>,
        max_lines: u64,
        max_bytes: u64,
    ) -> Self {
        Self {
            guest,
            version,
            counters,
            budget: Mutex::new(Budget::new(max_lines, max_bytes)),
        }
    }

    /// True if a line of so many bytes may be logged. One that may not is counted; the next that may is preceded by a line
    /// that says how many were dropped.
    pub(crate) fn admits(&self, bytes: usize) -> bool {
        match locked(&self.budget).take(Instant::now(), bytes as u64) {
            Verdict::Drop => {
                self.counters.log_lines_dropped.add_one();
                false
            }
            Verdict::Log { dropped_before } => {
                if dropped_before > 0 {
                    tracing::warn!(
                        target: "wharf::guest", guest = %self.guest, version = self.version, dropped = dropped_before,
                        "log lines were dropped: they are more than the guest's `limits.log_lines` or `log_bytes`"
                    );
                }
                true
            }
        }
    }
}

impl Budget {
    fn new(max_lines: u64, max_bytes: u64) -> Self {
        Self {
            max_lines,
            max_bytes,
            began: None,
            lines: 0,
            bytes: 0,
            dropped: 0,
        }
    }

    fn take(&mut self, now: Instant, bytes: u64) -> Verdict {
        let is_over = |began: Instant| now.duration_since(began) >= WINDOW;
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            (self.lines, self.bytes) = (0, 0);
        }
        let bytes = bytes.saturating_add(LINE_OVERHEAD_BYTES);
        let fits =
            self.lines < self.max_lines && self.bytes.saturating_add(bytes) <= self.max_bytes;
        if !fits {
            self.dropped += 1;
            return Verdict::Drop;
        }
        self.lines += 1;
        self.bytes += bytes;
        Verdict::Log {
            dropped_before: std::mem::take(&mut self.dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Verdict = Verdict::Log { dropped_before: 0 };

    #[test]
    fn so_many_lines_are_logged_in_a_second_and_the_next_says_how_many_were_dropped() {
        let (mut budget, begin) = (Budget::new(2, 1 << 20), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(budget.take(at(0), 10), LOG);
        assert_eq!(budget.take(at(500), 10), LOG);
        assert_eq!(budget.take(at(600), 10), Verdict::Drop);
        assert_eq!(budget.take(at(999), 10), Verdict::Drop);
        let after = Verdict::Log { dropped_before: 2 };
        assert_eq!(budget.take(at(1000), 10), after);
        assert_eq!(budget.take(at(1001), 10), LOG);
        assert_eq!(budget.take(at(1002), 10), Verdict::Drop);
    }

    #[test]
    fn a_line_that_does_not_fit_into_the_bytes_of_a_second_is_dropped() {
        let (mut budget, now) = (Budget::new(100, 300), Instant::now());
        assert_eq!(budget.take(now, 100), LOG);
        assert_eq!(budget.take(now, 100), Verdict::Drop, "328 bytes in all");
        assert_eq!(budget.take(now, 50), Verdict::Log { dropped_before: 1 });
        assert_eq!(budget.take(now, u64::MAX), Verdict::Drop);
    }
}
