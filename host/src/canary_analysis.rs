//! The analysis of a canary: counts its outcomes, and says when it fails too often. Knows nothing of messages or guests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::lock::locked;

/// The analysis of one canary, from its first message to its end.
#[derive(Debug)]
pub(crate) struct CanaryAnalysis {
    /// The number of last messages that are looked at.
    window: usize,
    /// The number of them that may fail.
    max_failures: usize,
    /// The phase and the counts so far, locked for single steps.
    state: Mutex<AnalysisState>,
    /// Woken when the canary has failed.
    failure: Arc<Notify>,
}

/// The counts of an analysis, and how far it has come.
#[derive(Debug, Default)]
struct AnalysisState {
    /// The phase: only a canary that is being judged can fail.
    phase: AnalysisPhase,
    /// Counts of all messages so far, and of failures among the last.
    counts: AnalysisCounts,
    /// The last messages, oldest first: true for one that failed.
    recent: VecDeque<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum AnalysisPhase {
    #[default]
    Judging,
    /// Paused while a promotion is tried.
    Held,
    Failed,
    /// Promoted, aborted or replaced.
    Ended,
}

/// Counts of what became of a canary's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AnalysisCounts {
    /// Messages that the canary handled without a failure, since its begin.
    pub(crate) handled: u64,
    /// Messages that the canary failed to handle, since its begin.
    pub(crate) failed: u64,
    /// Failures among the last messages, as many as the window has.
    pub(crate) recently_failed: usize,
}

impl CanaryAnalysis {
    /// Lets so many of the last messages fail, as many as the window has; with one more, `failure` is woken.
    pub(crate) fn new(window: u32, max_failures: u32, failure: Arc<Notify>) -> Self {
        Self {
            window: window as usize,
            max_failures: max_failures as usize,
            state: Mutex::default(),
            failure,
        }
    }

    /// Counts what became of a message. True if with this one too many have failed: that is told once.
    pub(crate) fn count(&self, failed: bool) -> bool {
        let mut state = self.state();
        let counts = &mut state.counts;
        *(if failed {
            &mut counts.failed
        } else {
            &mut counts.handled
        }) += 1;
        state.recent.push_back(failed);
        let left = if state.recent.len() > self.window {
            state.recent.pop_front()
        } else {
            None
        };
        let recently = &mut state.counts.recently_failed;
        *recently = *recently + usize::from(failed) - usize::from(left == Some(true));
        let too_many = state.counts.recently_failed > self.max_failures;
        let fails_now = too_many && state.phase == AnalysisPhase::Judging;
        if fails_now {
            state.phase = AnalysisPhase::Failed;
            self.failure.notify_one();
        }
        fails_now
    }

    /// Pauses the analysis. False if it is over.
    pub(crate) fn hold(&self) -> bool {
        let mut state = self.state();
        let goes_on = state.phase == AnalysisPhase::Judging;
        if goes_on {
            state.phase = AnalysisPhase::Held;
        }
        goes_on
    }

    /// Goes on after a pause, from the next message on.
    pub(crate) fn resume(&self) {
        let mut state = self.state();
        if state.phase == AnalysisPhase::Held {
            state.phase = AnalysisPhase::Judging;
        }
    }

    /// Ends the analysis, whatever comes.
    pub(crate) fn end(&self) {
        self.state().phase = AnalysisPhase::Ended;
    }

    /// Whether too many messages have failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().phase == AnalysisPhase::Failed
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> AnalysisCounts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, AnalysisState> {
        locked(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(window: u32, max_failures: u32) -> CanaryAnalysis {
        CanaryAnalysis::new(window, max_failures, Arc::default())
    }

    #[test]
    fn it_fails_once_with_one_failure_more_than_may_be() {
        let trial = of(10, 2);
        assert!(!trial.count(true) && !trial.count(true) && !trial.count(false));
        assert!(trial.count(true));
        assert!(!trial.count(true), "that is told once");
        assert_eq!(
            trial.counts(),
            AnalysisCounts {
                handled: 1,
                failed: 4,
                recently_failed: 4
            }
        );
    }

    #[test]
    fn failures_that_have_left_the_window_are_forgiven() {
        let trial = of(4, 1);
        for _ in 0..100 {
            assert!(!trial.count(true));
            assert!((0..3).all(|_| !trial.count(false)));
        }
        assert_eq!(
            trial.counts(),
            AnalysisCounts {
                handled: 300,
                failed: 100,
                recently_failed: 1
            }
        );
    }

    #[test]
    fn where_none_may_fail_the_first_failure_is_one_too_many_and_where_all_may_none_is() {
        assert!(of(1, 0).count(true));
        let trial = of(3, 3);
        assert!((0..100).all(|_| !trial.count(true)));
    }

    #[test]
    fn an_analysis_that_is_held_does_not_fail_until_it_is_resumed() {
        let trial = of(10, 0);
        assert!(trial.hold() && !trial.count(true));
        assert!(!trial.hold(), "somebody holds it");
        trial.resume();
        assert!(trial.count(false), "what failed meanwhile counts");
        assert!(trial.has_failed() && !trial.hold(), "it is over");
        let trial = of(10, 0);
        trial.end();
        assert!(!trial.count(true) && !trial.hold() && !trial.has_failed());
    }
}
