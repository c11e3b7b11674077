//! What is counted, and how two counts differ.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::events::Event;

/// An event of this magnitude or more is an alert.
const ALERT: f64 = 4.5;

/// What became of the events: the same figures whether a guest or this program counted them.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// By network.
    pub networks: BTreeMap<String, Network>,
    /// The alerts, by the event's id: messages may arrive in any order.
    pub alerts: BTreeMap<String, Quake>,
}

/// What one network reported.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// How many events.
    pub events: u64,
    /// The strongest of them.
    pub largest: Option<Quake>,
}

/// One earthquake, or blast.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Quake {
    /// The event's id.
    pub id: String,
    /// The magnitude. Zero and less are real values.
    pub mag: f64,
    /// Where it was.
    pub place: String,
}

impl Figures {
    /// Counts events.
    #[must_use]
    pub fn expected(events: &[Event]) -> Self {
        let mut figures = Self::default();
        for Event { network, quake, .. } in events {
            let network = figures.networks.entry(network.clone()).or_default();
            network.events += 1;
            if network.largest.as_ref().is_none_or(|largest| quake.mag > largest.mag) {
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
    pub fn events(&self) -> u64 {
        self.networks.values().map(|network| network.events).sum()
    }

    /// The strongest event of all.
    #[must_use]
    pub fn largest(&self) -> Option<&Quake> {
        let largest = self.networks.values().filter_map(|network| network.largest.as_ref());
        largest.max_by(|one, other| one.mag.total_cmp(&other.mag))
    }

    /// Says for each figure in which `self` differs from what was expected what it is and what it should be.
    #[must_use]
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let none = Network::default();
        for name in self
            .networks
            .keys()
            .chain(expected.networks.keys().filter(|name| !self.networks.contains_key(*name)))
        {
            let is = self.networks.get(name).unwrap_or(&none);
            let should = expected.networks.get(name).unwrap_or(&none);
            if is.events != should.events {
                all.push(format!("network {name}: {} events instead of {}", is.events, should.events));
            }
            // Two events may be equally strong: which of them the guest keeps depends on their order of arrival.
            let magnitude = |network: &Network| network.largest.as_ref().map(|quake| quake.mag);
            if magnitude(is) != magnitude(should) {
                all.push(format!(
                    "network {name}: the largest is {:?} instead of {:?}",
                    is.largest, should.largest
                ));
            }
        }
        let missing = expected.alerts.iter().filter(|(id, quake)| self.alerts.get(*id) != Some(quake));
        all.extend(missing.map(|(id, quake)| format!("no alert, or another one, for {id}: {quake:?}")));
        let surplus = self.alerts.iter().filter(|(id, _)| !expected.alerts.contains_key(*id));
        all.extend(surplus.map(|(id, quake)| format!("an alert too many for {id}: {quake:?}")));
        all
    }
}
