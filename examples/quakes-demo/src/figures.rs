//! What is counted, and how two counts differ.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::events::Event;

/// An event of this magnitude or more is an alert.
const ALERT: f64 = 4.5;

/// What became of the events: the same figures whether a guest or this program counted them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// By network.
    pub(crate) networks: BTreeMap<String, Network>,
    /// How many events of each type there were.
    pub(crate) kinds: BTreeMap<String, u64>,
    /// The alerts, by the event's id: messages may arrive in any order.
    pub(crate) alerts: BTreeMap<String, Quake>,
}

/// What one network reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Network {
    /// How many events.
    pub(crate) events: u64,
    /// The strongest of them.
    pub(crate) largest: Option<Quake>,
}

/// One earthquake, or blast.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Quake {
    /// The event's id.
    pub(crate) id: String,
    /// The magnitude. Zero and less are real values.
    pub(crate) mag: f64,
    /// Where it was.
    pub(crate) place: String,
}

impl Quake {
    /// Of two that are equally strong the one with the lesser id counts, whichever came first.
    fn is_larger_than(&self, other: &Self) -> bool {
        self.mag > other.mag || (self.mag == other.mag && self.id < other.id)
    }
}

impl Figures {
    /// Counts events.
    #[must_use]
    pub(crate) fn expected(events: &[Event]) -> Self {
        let mut figures = Self::default();
        for Event {
            network,
            kind,
            quake,
            ..
        } in events
        {
            *figures.kinds.entry(kind.clone()).or_default() += 1;
            let network = figures.networks.entry(network.clone()).or_default();
            network.events += 1;
            if network
                .largest
                .as_ref()
                .is_none_or(|largest| quake.is_larger_than(largest))
            {
                network.largest = Some(quake.clone());
            }
            if quake.mag >= ALERT {
                figures.alerts.insert(quake.id.clone(), quake.clone());
            }
        }
        figures
    }

    /// How many events there were.
    #[must_use]
    pub(crate) fn events(&self) -> u64 {
        self.networks.values().map(|network| network.events).sum()
    }

    /// The strongest event of all.
    #[must_use]
    pub(crate) fn largest(&self) -> Option<&Quake> {
        let largest = self
            .networks
            .values()
            .filter_map(|network| network.largest.as_ref());
        largest.reduce(|one, other| {
            if other.is_larger_than(one) {
                other
            } else {
                one
            }
        })
    }

    /// Says for each figure in which `self` differs from what was expected what it is and what it should be.
    #[must_use]
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let mut all = Vec::new();
        differ("network", &self.networks, &expected.networks, &mut all);
        differ("type", &self.kinds, &expected.kinds, &mut all);
        differ("alert", &self.alerts, &expected.alerts, &mut all);
        all
    }
}

fn differ<T: fmt::Debug + PartialEq>(
    what: &str,
    are: &BTreeMap<String, T>,
    should: &BTreeMap<String, T>,
    all: &mut Vec<String>,
) {
    let wrong = should
        .iter()
        .filter(|(name, value)| are.get(*name) != Some(value));
    all.extend(
        wrong.map(|(name, value)| {
            format!("{what} {name}: {:?} instead of {value:?}", are.get(name))
        }),
    );
    let surplus = are.iter().filter(|(name, _)| !should.contains_key(*name));
    all.extend(surplus.map(|(name, value)| format!("{what} {name}: {value:?} instead of nothing")));
}
