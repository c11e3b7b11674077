//! What is known of the data, counted once by other means. It holds the program's own count to account.

use anyhow::{Result, bail};

use crate::figures::Figures;

const EVENTS_BY_NETWORK: [(&str, u64); 12] = [
    ("ci", 386),
    ("nc", 370),
    ("ak", 297),
    ("nn", 260),
    ("us", 168),
    ("pr", 62),
    ("uw", 51),
    ("hv", 46),
    ("uu", 33),
    ("mb", 28),
    ("nm", 5),
    ("se", 1),
];
const EVENTS_BY_TYPE: [(&str, u64); 3] = [
    ("earthquake", 1679),
    ("explosion", 15),
    ("quarry blast", 13),
];
const EVENTS: u64 = 1707;
const ALERTS: usize = 85;
const LARGEST: (&str, f64, &str) = ("us1000chhc", 6.4, "22km NNE of Hualian, Taiwan");

/// Checks figures of the whole file.
///
/// # Errors
/// If one of them is wrong: which, and what it should be.
pub(crate) fn check(figures: &Figures) -> Result<()> {
    let networks = figures
        .networks
        .iter()
        .map(|(name, network)| (name.as_str(), network.events));
    let mut known = EVENTS_BY_NETWORK;
    known.sort_unstable();
    if !networks.clone().eq(known) {
        bail!(
            "events by network: {:?} instead of {known:?}",
            networks.collect::<Vec<_>>()
        );
    }
    let kinds = figures
        .kinds
        .iter()
        .map(|(kind, count)| (kind.as_str(), *count));
    if !kinds.clone().eq(EVENTS_BY_TYPE) {
        bail!(
            "events by type: {:?} instead of {EVENTS_BY_TYPE:?}",
            kinds.collect::<Vec<_>>()
        );
    }
    if figures.events() != EVENTS {
        bail!("{} events instead of {EVENTS}", figures.events());
    }
    if figures.alerts.len() != ALERTS {
        bail!("{} alerts instead of {ALERTS}", figures.alerts.len());
    }
    let largest = figures
        .largest()
        .map(|quake| (quake.id.as_str(), quake.mag, quake.place.as_str()));
    if largest != Some(LARGEST) {
        bail!("the largest is {largest:?} instead of {LARGEST:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::events::{data, read};
    use crate::figures::Figures;

    #[test]
    fn our_own_count_of_the_file_is_what_is_known_of_it() {
        let events = read(&data()).expect("the example's data can be read");
        super::check(&Figures::expected(&events)).expect("the counts agree");
    }
}
