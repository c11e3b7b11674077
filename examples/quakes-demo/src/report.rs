//! What people see of the figures.

use std::cmp::Reverse;
use std::fmt::Write as _;

use crate::figures::{Figures, Quake};

/// A table of the networks, the busiest first.
#[must_use]
pub(crate) fn table(figures: &Figures) -> String {
    let mut networks: Vec<_> = figures.networks.iter().collect();
    networks.sort_by_key(|(name, network)| (Reverse(network.events), (*name).clone()));
    let mut text = "network  events  largest  where\n".to_owned();
    for (name, network) in networks {
        let (mag, place) = match &network.largest {
            Some(quake) => (format!("{:.2}", quake.mag), quake.place.as_str()),
            None => (String::new(), ""),
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name:<7} {:>7} {mag:>8}  {place}", network.events);
    }
    let _infallible = writeln!(text, "{:<7} {:>7}", "all", figures.events());
    let kinds: Vec<_> = figures
        .kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let _infallible = writeln!(text, "\nby type: {}", kinds.join(", "));
    text
}

/// The strongest alerts, and how many there were.
#[must_use]
pub(crate) fn alerts(figures: &Figures, shown: usize) -> String {
    let mut alerts: Vec<&Quake> = figures.alerts.values().collect();
    alerts.sort_by(|one, other| {
        other
            .mag
            .total_cmp(&one.mag)
            .then_with(|| one.id.cmp(&other.id))
    });
    let mut text = format!(
        "{} alerts of magnitude 4.5 and above, the strongest:\n",
        alerts.len()
    );
    for quake in alerts.iter().take(shown) {
        let _infallible = writeln!(text, "  {:.1}  {}", quake.mag, quake.place);
    }
    text
}
