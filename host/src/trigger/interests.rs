//! Interests: which versions of a guest want which subscriptions. Pure.
//!
//! A subscription belongs to the guest and outlives its versions. It ends once no version in service wants it any more.

use std::collections::BTreeMap;

use crate::error::Error;

/// The most subscriptions of one guest. Each costs the host and the server memory, and a guest may make them by itself.
pub(super) const MAX_SUBSCRIPTIONS: usize = 1000;

/// The key of a subscription among those of a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubscriptionKey {
    /// The subject as it travels, with wildcards.
    pub(super) subject: String,
    /// The queue group.
    pub(super) queue: Option<String>,
}

/// One version's interest in one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interest {
    /// The version's number.
    pub(super) version: u32,
    /// The bytes of prefix that the version does not see of the subjects.
    pub(super) prefix_bytes: usize,
}

/// The subscriptions that one version wants, each with the bytes of prefix that it does not see of the subjects.
pub(super) type Wanted = BTreeMap<SubscriptionKey, usize>;

/// Notes a subscription that is to begin later.
///
/// # Errors
/// `Unavailable` for one more than [`MAX_SUBSCRIPTIONS`].
pub(super) fn add_wanted(
    wanted: &mut Wanted,
    key: &SubscriptionKey,
    prefix_bytes: usize,
) -> Result<(), Error> {
    if wanted.len() >= MAX_SUBSCRIPTIONS && !wanted.contains_key(key) {
        return Err(too_many());
    }
    wanted.entry(key.clone()).or_insert(prefix_bytes);
    Ok(())
}

fn too_many() -> Error {
    Error::Unavailable(format!(
        "a guest has at most {MAX_SUBSCRIPTIONS} subscriptions: end some, or subscribe with a wildcard"
    ))
}

/// The subscriptions of one guest, and who wants them. `S` is what it takes to hold one.
#[derive(Debug)]
pub(super) struct Interests<S>(BTreeMap<SubscriptionKey, HeldSubscription<S>>);

/// A subscription of a guest, and the versions that have an interest in it.
#[derive(Debug)]
struct HeldSubscription<S> {
    /// The means by which the subscription is ended, given by whoever has begun it.
    subscription: S,
    /// The newest version that wants it.
    newest: u32,
    /// The interest of the version in service, as it last said.
    in_service: Option<Interest>,
    /// True if its end has begun. It is kept until it has ended: a guest that is interrupted meanwhile leaves it here.
    ending: bool,
}

/// The presence of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Begun,
    Ending,
}

impl<S> Default for Interests<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S> Interests<S> {
    pub(super) fn presence(&self, key: &SubscriptionKey) -> Presence {
        match self.0.get(key) {
            None => Presence::Absent,
            Some(held) if held.ending => Presence::Ending,
            Some(_) => Presence::Begun,
        }
    }

    /// Notes that a version in service wants a subscription that is there. Returns it if that version now decides what the
    /// guest sees of the subjects: one that was replaced may still speak for a moment, and does not.
    pub(super) fn add(&mut self, key: &SubscriptionKey, interest: Interest) -> Option<&S> {
        let held = self.0.get_mut(key)?;
        held.in_service = Some(interest);
        if interest.version < held.newest {
            return None;
        }
        held.newest = interest.version;
        Some(&held.subscription)
    }

    /// Checks that there is room for one more.
    ///
    /// # Errors
    /// `Unavailable` where there is none.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        if self.0.len() >= MAX_SUBSCRIPTIONS {
            return Err(too_many());
        }
        Ok(())
    }

    /// Adds a subscription that has begun, for a version in service or for one that is still to come.
    pub(super) fn insert(
        &mut self,
        key: SubscriptionKey,
        interest: Interest,
        is_in_service: bool,
        subscription: S,
    ) {
        let held = HeldSubscription {
            subscription,
            newest: interest.version,
            in_service: is_in_service.then_some(interest),
            ending: false,
        };
        self.0.insert(key, held);
    }

    /// The interest of the version in service in a subscription.
    pub(super) fn in_service(&self, key: &SubscriptionKey) -> Option<Interest> {
        self.0.get(key).and_then(|held| held.in_service)
    }

    /// Whether this version, or one after it, wants a subscription.
    pub(super) fn is_wanted_since(&self, key: &SubscriptionKey, version: u32) -> bool {
        self.0.get(key).is_some_and(|held| held.newest >= version)
    }

    /// The subscriptions that only versions before this one want.
    pub(super) fn older_than(&self, version: u32) -> Vec<SubscriptionKey> {
        let old = self.0.iter().filter(|(_, held)| held.newest < version);
        old.map(|(key, _)| key.clone()).collect()
    }

    /// Marks a subscription as ending. `None` if it is not there.
    pub(super) fn begin_end(&mut self, key: &SubscriptionKey) -> Option<&S> {
        let held = self.0.get_mut(key)?;
        held.ending = true;
        Some(&held.subscription)
    }

    pub(super) fn get_mut(&mut self, key: &SubscriptionKey) -> Option<&mut S> {
        self.0.get_mut(key).map(|held| &mut held.subscription)
    }

    pub(super) fn remove(&mut self, key: &SubscriptionKey) {
        self.0.remove(key);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &S> {
        self.0.values().map(|held| &held.subscription)
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = S> + use<S> {
        std::mem::take(&mut self.0)
            .into_values()
            .map(|held| held.subscription)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(subject: &str) -> SubscriptionKey {
        SubscriptionKey {
            subject: subject.to_owned(),
            queue: None,
        }
    }

    const fn of(version: u32, prefix_bytes: usize) -> Interest {
        Interest {
            version,
            prefix_bytes,
        }
    }

    fn interests(all: &[(&str, u32)]) -> Interests<&'static str> {
        let mut interests = Interests::default();
        for (subject, version) in all {
            interests.insert(key(subject), of(*version, 0), true, "held");
        }
        interests
    }

    #[test]
    fn what_a_successor_has_come_to_want_is_not_ended_as_its_predecessors() {
        let mut interests = interests(&[("a", 1), ("b", 1)]);
        assert!(interests.add(&key("a"), of(2, 0)).is_some());
        assert_eq!(interests.older_than(2), [key("b")]);
        assert!(interests.is_wanted_since(&key("a"), 2));
        assert!(!interests.is_wanted_since(&key("b"), 2));
    }

    #[test]
    fn a_version_that_was_replaced_no_longer_decides_what_the_guest_sees() {
        let mut interests = interests(&[("a", 2)]);
        assert!(interests.add(&key("a"), of(1, 7)).is_none());
        assert!(interests.is_wanted_since(&key("a"), 2));
        assert_eq!(interests.in_service(&key("a")), Some(of(1, 7)));
    }

    #[test]
    fn one_that_was_begun_for_a_version_to_come_is_not_yet_anyones_in_service() {
        let mut interests = interests(&[]);
        interests.insert(key("a"), of(2, 0), false, "held");
        assert_eq!(interests.in_service(&key("a")), None);
        assert_eq!(interests.presence(&key("a")), Presence::Begun);
    }

    #[test]
    fn one_that_is_ending_is_there_until_it_has_ended() {
        let mut interests = interests(&[("a", 1)]);
        assert_eq!(interests.begin_end(&key("a")), Some(&"held"));
        assert_eq!(interests.presence(&key("a")), Presence::Ending);
        interests.remove(&key("a"));
        assert_eq!(interests.presence(&key("a")), Presence::Absent);
        assert_eq!(interests.begin_end(&key("a")), None);
    }

    #[test]
    fn the_same_subject_in_another_queue_group_is_another_subscription() {
        let mut interests = interests(&[("a", 1)]);
        let in_group = SubscriptionKey {
            queue: Some("q".to_owned()),
            ..key("a")
        };
        assert_eq!(interests.presence(&in_group), Presence::Absent);
        interests.insert(in_group.clone(), of(1, 0), true, "held");
        assert_eq!(interests.all().count(), 2);
        assert_eq!(interests.take().count(), 2);
        assert_eq!(interests.presence(&in_group), Presence::Absent);
    }

    #[test]
    fn a_guest_has_no_more_than_so_many_begun_or_wanted() {
        let (mut interests, mut wanted) = (interests(&[]), Wanted::new());
        for number in 0..MAX_SUBSCRIPTIONS {
            interests.check_room().expect("room");
            interests.insert(key(&number.to_string()), of(1, 0), true, "held");
            add_wanted(&mut wanted, &key(&number.to_string()), 0).expect("room");
        }
        assert!(interests.check_room().is_err());
        assert!(add_wanted(&mut wanted, &key("one more"), 0).is_err());
        add_wanted(&mut wanted, &key("0"), 0).expect("it is there already");
    }
}
