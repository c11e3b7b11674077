//! Subscriptions that a version of a guest makes by itself: how many, how often, and none that overlaps another. Pure.
//!
//! Each is told to every server of a cluster, and where two overlap each message reaches the guest twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::interests::SubscriptionKey;
use crate::config::Limits;
use crate::error::Error;
use crate::protocol::subject::{overlap, quoted};

/// The time over which changes are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The subscriptions of one version, and what it may still change.
#[derive(Debug)]
pub(super) struct SelfMade {
    /// Those of its settings, but for those that it has ended.
    configured: BTreeSet<SubscriptionKey>,
    /// Those that it has made by itself.
    own: BTreeSet<SubscriptionKey>,
    /// The most that it may make by itself.
    max_own: usize,
    /// The most changes in a window.
    max_changes: u32,
    /// The begin of the current window. `None` before the first change.
    began: Option<Instant>,
    /// Changes of the current window.
    changes: u32,
}

impl SelfMade {
    pub(super) fn new(configured: BTreeSet<SubscriptionKey>, limits: &Limits) -> Self {
        Self {
            configured,
            own: BTreeSet::new(),
            max_own: limits.subscriptions,
            max_changes: limits.subscription_changes,
            began: None,
            changes: 0,
        }
    }

    /// Adds a subscription that the version makes by itself. False if the version has it.
    ///
    /// # Errors
    /// `Invalid` for one that overlaps another, `Unavailable` for one more than it may make.
    pub(super) fn add(&mut self, key: &SubscriptionKey) -> Result<bool, Error> {
        if self.configured.contains(key) || self.own.contains(key) {
            return Ok(false);
        }
        let overlaps = |other: &&SubscriptionKey| overlap(&other.subject, &key.subject);
        if let Some(other) = self.configured.iter().chain(&self.own).find(overlaps) {
            return Err(Error::Invalid(format!(
                "{} overlaps the guest's subscription to {}: each message that both hear would reach it twice",
                quoted(&key.subject),
                quoted(&other.subject)
            )));
        }
        let max = self.max_own;
        if self.own.len() >= max {
            return Err(Error::Unavailable(format!(
                "a guest makes at most {max} subscriptions by itself (`limits.subscriptions`): end some, or subscribe with a \
                 wildcard"
            )));
        }
        Ok(self.own.insert(key.clone()))
    }

    /// Removes a subscription, which the version has ended or could not make.
    pub(super) fn remove(&mut self, key: &SubscriptionKey) {
        self.own.remove(key);
        self.configured.remove(key);
    }

    /// Counts a change that is told to the server.
    ///
    /// # Errors
    /// `Unavailable` for one more than there may be in a second.
    pub(super) fn count_change(&mut self, now: Instant) -> Result<(), Error> {
        let is_over = |began: Instant| now.duration_since(began) >= WINDOW;
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            self.changes = 0;
        }
        let max = self.max_changes;
        if self.changes >= max {
            return Err(Error::Unavailable(format!(
                "a guest makes and ends at most {max} subscriptions a second (`limits.subscription_changes`): try again later"
            )));
        }
        self.changes += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(subject: &str, queue: Option<&str>) -> SubscriptionKey {
        SubscriptionKey {
            subject: subject.to_owned(),
            queue: queue.map(str::to_owned),
        }
    }

    fn self_made(max_own: usize) -> SelfMade {
        let limits = Limits {
            subscriptions: max_own,
            subscription_changes: 2,
            ..Limits::default()
        };
        SelfMade::new([key("configured.*", None)].into(), &limits)
    }

    #[test]
    fn none_overlaps_another_whatever_its_queue_group() {
        let mut made = self_made(10);
        made.add(&key("a.b", None)).expect("it is the first");
        for (subject, queue) in [
            ("a.b", Some("q")),
            ("a.*", None),
            (">", Some("q")),
            ("configured.x", Some("q")),
        ] {
            let refused = made.add(&key(subject, queue));
            assert!(matches!(refused, Err(Error::Invalid(_))), "{subject}");
        }
        made.add(&key("a.c", Some("q"))).expect("it is another");
        made.remove(&key("a.b", None));
        made.add(&key("a.b", Some("r"))).expect("the first is gone");
        assert_eq!(made.add(&key("configured.*", None)), Ok(false));
        assert_eq!(made.add(&key("a.b", Some("r"))), Ok(false));
    }

    #[test]
    fn there_are_no_more_than_so_many_and_those_that_are_configured_do_not_count() {
        let mut made = self_made(2);
        made.add(&key("a", None)).expect("room");
        made.add(&key("b", None)).expect("room");
        let refused = made.add(&key("c", None));
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        made.remove(&key("a", None));
        made.add(&key("c", None)).expect("room again");
    }

    #[test]
    fn so_many_changes_are_made_in_a_second() {
        let (mut made, begin) = (self_made(10), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(made.count_change(at(0)), Ok(()));
        assert_eq!(made.count_change(at(900)), Ok(()));
        let refused = made.count_change(at(999));
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        assert_eq!(made.count_change(at(1000)), Ok(()));
    }
}
