//! The events, one JSON object a line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::figures::Quake;

/// One event, as it is played.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The network that reported it.
    pub(crate) network: String,
    /// What it was: most were earthquakes.
    pub(crate) kind: String,
    /// What is kept of it, if it is the largest.
    pub(crate) quake: Quake,
    /// Its line of the file: the message's payload.
    pub(crate) line: String,
}

#[derive(Deserialize)]
struct Line {
    net: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    quake: Quake,
}

/// Where the events are, in the example that they belong to.
pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .with_file_name("quakes-rust")
        .join("data/earthquakes.jsonl")
}

/// Reads a file of events.
///
/// # Errors
/// If it cannot be read, or a line is no event.
pub(crate) fn read(file: &Path) -> Result<Vec<Event>> {
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
