//! Watches earthquakes: keeps the largest of each network, raises an alert for the strong ones, and counts them all.

use serde::{Deserialize, Serialize};
use wharf_guest::prelude::*;

/// The least magnitude for an alert, unless the host's `config` sets another `threshold`.
const THRESHOLD: f64 = 4.5;

#[derive(Deserialize)]
struct Event {
    id: String,
    net: String,
    #[serde(rename = "type")]
    kind: String,
    /// Zero and less are real magnitudes; an event that nobody has measured yet has none.
    mag: Option<f64>,
    place: String,
}

/// What is kept of the largest event, and what an alert says.
#[derive(Deserialize, Serialize)]
struct Quake {
    id: String,
    mag: f64,
    place: String,
}

impl Quake {
    /// Of two of the same magnitude, the one whose id comes first: instances take turns in no order.
    fn is_larger_than(&self, other: &Self) -> bool {
        self.mag > other.mag || (self.mag == other.mag && self.id < other.id)
    }
}

#[wharf_guest::handler]
fn on_event(event: Event) -> Result<()> {
    let Event {
        id,
        net,
        kind,
        mag,
        place,
    } = event;
    let quakes = kv::bucket("quakes")?;

    if let Some(mag) = mag {
        let quake = Quake { id, mag, place };
        quakes.modify(&format!("largest.{net}"), |largest: Option<Quake>| {
            largest
                .is_none_or(|largest| quake.is_larger_than(&largest))
                .then_some(&quake)
        })?;
        if quake.mag >= config::parse("threshold")?.unwrap_or(THRESHOLD) {
            publish(&format!("alerts.{net}"), &quake)?;
        }
    }

    // Counted last: should the event come again because something above failed, only this would be wrong if done twice.
    quakes.increment(&format!("events.{net}"), 1)?;
    quakes.increment(&format!("types.{kind}"), 1)?;
    Ok(())
}
