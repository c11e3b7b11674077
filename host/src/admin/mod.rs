//! What hosts can be asked and told over NATS, and in which form.
//!
//! # Who is there
//!
//! Every running host is a [micro service](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md)
//! named [`SERVICE`]: it answers on `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, and on these followed by `.wharf` and
//! `.wharf.<id>`. Its metadata are `host` (its name), `guests` (how many) and `admin` (whether it does what follows).
//!
//! # What it can be told
//!
//! With `[admin] enabled = true` a host answers requests on `wharf.admin.<host>.<verb>`. Whoever may publish there may run
//! any code on the host, and read any of its files: NATS permissions decide who that is. Guests never may.
//!
//! | verb | request | reply |
//! |---|---|---|
//! | `list` | nothing | [`Guests`] |
//! | `show` | [`Named`] | [`Details`] |
//! | `load` | [`Change`] | [`Ended`], with nothing in it |
//! | `replace` | [`Change`] | [`Ended`]: how the old version ended |
//! | `unload` | [`Named`] | [`Ended`] |
//! | `promote` | [`Named`] | [`Ended`]: how the version that the canary replaced ended |
//! | `abandon` | [`Named`] | [`Ended`]: how the canary ended |
//! | `drain` | nothing | [`Ended`], with nothing in it; then the host stops, as after a signal |
//!
//! Requests and replies are JSON. A request with an unknown key is refused; a reply may get new keys. An error has the
//! headers `Nats-Service-Error-Code` and `Nats-Service-Error` (one line), and [`Refused`] as its payload.
//!
//! | code | |
//! |---|---|
//! | 400 | the request, or the settings in it, cannot be used |
//! | 404 | there is no such guest, canary, or verb |
//! | 409 | there is a guest of that name already |
//! | 422 | the guest did not come into service; nothing has changed |
//! | 429 | too many changes are waiting for their turn |
//! | 500 | the reply cannot be sent: it is larger than the server allows |
//! | 503 | the host is stopping |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::protocol::service_error::{SERVICE_ERROR, SERVICE_ERROR_CODE};

/// The name of the micro service that every host is.
pub const SERVICE: &str = "wharf";

/// What the subjects of all hosts' administration begin with.
pub const ROOT: &str = crate::protocol::reserved::ADMIN_ROOT;

/// What a host can be told.
pub const VERBS: [&str; 8] = [
    "list", "show", "load", "replace", "unload", "promote", "abandon", "drain",
];

/// Where a host is told something.
#[must_use]
pub fn subject(host: &str, verb: &str) -> String {
    format!("{ROOT}.{host}.{verb}")
}

/// The guest that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name.
    pub guest: String,
}

/// A guest, and the settings that it is to run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its name.
    pub guest: String,
    /// TOML: what could stand under `[guests.NAME]` in `wharf.toml`, without that line. Files, the component among them,
    /// are the host's; where their paths are relative, to its working directory.
    pub settings: String,
}

/// The guests of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guests {
    /// The host's name.
    pub host: String,
    /// Its guests, by name.
    pub guests: Vec<Guest>,
}

/// A guest in service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its component.
    pub component: String,
    /// The number of the version in service: 1 for the one that was loaded, one more for each after it, canaries included.
    pub version: u32,
    /// Messages that wait for an instance, its canary's included.
    pub queued: usize,
    /// Messages that are being handled, its canary's included.
    pub in_hand: usize,
    /// What has happened to it since it was loaded: counts that only grow.
    pub stats: BTreeMap<String, u64>,
    /// The version that is on trial beside it.
    pub canary: Option<Canary>,
    /// Why its last canary was taken out, if it was, in words.
    pub canary_taken_out: Option<String>,
}

/// A version of a guest that is on trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// Its component.
    pub component: String,
    /// Its number among the guest's versions.
    pub version: u32,
    /// How much of the guest's messages it gets, from 0 to 1.
    pub share: f64,
    /// How much of its last `window` messages may fail, from 0 to 1.
    pub max_failure: f64,
    /// Of how many messages the failures are counted.
    pub window: u32,
    /// Messages that it has handled without a failure.
    pub handled: u64,
    /// Messages that failed.
    pub failed: u64,
    /// Of the last `window` messages, those that failed.
    pub recently_failed: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Messages that it is handling.
    pub in_hand: usize,
}

/// A guest in service, and what it may do. What its settings may hold of secrets, `config` and `env`, is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// The host's name.
    pub host: String,
    /// The guest.
    #[serde(flatten)]
    pub guest: Guest,
    /// What it is subscribed to by its settings, as that travels.
    pub subscribe: Vec<String>,
    /// What it may subscribe itself to, as that travels.
    pub may_subscribe: Vec<String>,
    /// What it may publish on, as that travels.
    pub publish: Vec<String>,
    /// What it may send requests to, as that travels.
    pub request: Vec<String>,
    /// The buckets that it may use, each `read` or `read-write`.
    pub buckets: BTreeMap<String, String>,
    /// How many messages it handles at once.
    pub instances: u32,
    /// What one instance may use of memory, in bytes.
    pub memory_bytes: u64,
    /// What one message may take of time, in milliseconds.
    pub time_ms: u64,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// Messages that were handled after the end began.
    pub finished: u64,
    /// Messages that had arrived and were not handled in time.
    pub abandoned: u64,
    /// What else went wrong.
    pub problems: Vec<String>,
}

/// Why a host did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// What kind of error it is.
    pub code: u16,
    /// In words; may have several lines.
    pub error: String,
}
