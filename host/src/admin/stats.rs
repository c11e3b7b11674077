//! Counts of what a host was asked, as micro services tell them.
//! <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::wire::{ErrorReply, Verb};
use crate::lock::locked;

/// Counts of orders, by verb.
#[derive(Default)]
pub(super) struct EndpointStats(Mutex<BTreeMap<Verb, EndpointCounts>>);

/// Counts of one verb's orders, as ADR-32 has them.
#[derive(Default)]
struct EndpointCounts {
    /// Orders that were answered, with a result or an error.
    requests: u64,
    /// Orders that were answered with an error.
    errors: u64,
    /// The code and the words of the last error, in one line. Empty if there was none.
    last_error: String,
    /// The time that all orders took together, from their arrival to their results.
    time: Duration,
}

impl EndpointStats {
    /// Counts an order, and its error if it had one.
    pub(super) fn count(&self, verb: Verb, time: Duration, error: Option<&ErrorReply>) {
        let mut stats = locked(&self.0);
        let counts = stats.entry(verb).or_default();
        counts.requests += 1;
        counts.time += time;
        if let Some(ErrorReply { code, error }) = error {
            counts.errors += 1;
            counts.last_error = format!("{code}:{}", one_line(error));
        }
    }

    /// Adds a verb's counts to its description.
    pub(super) fn add_to(&self, verb: Verb, mut endpoint: Value) -> Value {
        let stats = locked(&self.0);
        let none = EndpointCounts::default();
        let counts = stats.get(&verb).unwrap_or(&none);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let time = nanos(counts.time);
        endpoint["num_requests"] = counts.requests.into();
        endpoint["num_errors"] = counts.errors.into();
        endpoint["last_error"] = counts.last_error.clone().into();
        endpoint["processing_time"] = time.into();
        endpoint["average_processing_time"] = (time / counts.requests.max(1)).into();
        endpoint
    }
}

/// Joins the lines of a text: a header, and a line of figures, has no line breaks.
pub(super) fn one_line(words: &str) -> String {
    words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}
