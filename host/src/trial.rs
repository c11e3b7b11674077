//! Whether a version on trial fails too often. Counts, and knows nothing of messages or guests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::lock::locked;

/// A trial, from its first message to its end.
#[derive(Debug)]
pub(crate) struct Trial {
    window: usize,
    most_failures: usize,
    state: Mutex<State>,
    /// Woken when it has failed.
    failure: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    figures: Figures,
    /// Which of the last messages have failed.
    recent: VecDeque<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Judging,
    /// It is being decided otherwise.
    Held,
    Failed,
    /// It was decided otherwise.
    Ended,
}

/// What has become of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    pub(crate) handled: u64,
    pub(crate) failed: u64,
    /// How many of the window have failed.
    pub(crate) recently_failed: usize,
}

impl Trial {
    /// Of the last messages, as many as the window has, so many may fail. Who waits for a failure is woken then.
    pub(crate) fn new(window: u32, most_failures: u32, failure: Arc<Notify>) -> Self {
        let state = Mutex::default();
        Self {
            window: window as usize,
            most_failures: most_failures as usize,
            state,
            failure,
        }
    }

    /// Counts what became of a message. True if with this one too many have failed: that is told once.
    pub(crate) fn count(&self, failed: bool) -> bool {
        let mut state = self.state();
        let figures = &mut state.figures;
        *(if failed {
            &mut figures.failed
        } else {
            &mut figures.handled
        }) += 1;
        state.recent.push_back(failed);
        let left = if state.recent.len() > self.window {
            state.recent.pop_front()
        } else {
            None
        };
        let recently = &mut state.figures.recently_failed;
        *recently = *recently + usize::from(failed) - usize::from(left == Some(true));
        let too_many = state.figures.recently_failed > self.most_failures;
        let fails_now = too_many && state.phase == Phase::Judging;
        if fails_now {
            state.phase = Phase::Failed;
            self.failure.notify_one();
        }
        fails_now
    }

    /// Nothing is judged for a while. False if it is over.
    pub(crate) fn hold(&self) -> bool {
        let mut state = self.state();
        let goes_on = state.phase == Phase::Judging;
        if goes_on {
            state.phase = Phase::Held;
        }
        goes_on
    }

    /// It is judged again, from the next message on.
    pub(crate) fn resume(&self) {
        let mut state = self.state();
        if state.phase == Phase::Held {
            state.phase = Phase::Judging;
        }
    }

    /// It is over, whatever comes.
    pub(crate) fn end(&self) {
        self.state().phase = Phase::Ended;
    }

    /// Whether too many have failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().phase == Phase::Failed
    }

    /// What has become of its messages so far.
    pub(crate) fn figures(&self) -> Figures {
        self.state().figures
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole at any time.
        locked(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(window: u32, most_failures: u32) -> Trial {
        Trial::new(window, most_failures, Arc::default())
    }

    #[test]
    fn it_fails_once_with_one_failure_more_than_may_be() {
        let trial = of(10, 2);
        assert!(!trial.count(true) && !trial.count(true) && !trial.count(false));
        assert!(trial.count(true));
        assert!(!trial.count(true), "that is told once");
        assert_eq!(
            trial.figures(),
            Figures {
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
            trial.figures(),
            Figures {
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
    fn a_trial_that_is_held_does_not_fail_until_it_is_resumed() {
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
