//! The events, one JSON object a line.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::figures::Quake;

/// One event, as it is played.
#[derive(Debug, Clone)]
pub struct Event {
    /// The network that reported it.
    pub network: String,
    /// What it was: most were earthquakes.
    pub kind: String,
    /// What is kept of it, if it is the largest.
    pub quake: Quake,
    /// Its line of the file: the message's payload.
    pub line: String,
}

#[derive(Deserialize)]
struct Line {
    net: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    quake: Quake,
}

/// Reads a file of events.
///
/// # Errors
/// If it cannot be read, or a line is no event.
pub fn read(file: &Path) -> Result<Vec<Event>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut events = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Line { net, kind, quake } = serde_json::from_str(line)
            .with_context(|| format!("{}:{} is no event", file.display(), number + 1))?;
        events.push(Event {
            network: net,
            kind,
            quake,
            line: line.to_owned(),
        });
    }
    Ok(events)
}
