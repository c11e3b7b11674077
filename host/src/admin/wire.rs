//! Questions, orders and answers as they travel: JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::listed::listed;

pub use crate::protocol::service_error::{SERVICE_ERROR, SERVICE_ERROR_CODE};

/// The name of the micro service that every host is.
pub const SERVICE: &str = "wharf";

/// The root of the subjects of all hosts' administration.
pub const ROOT: &str = crate::protocol::reserved::ADMIN_ROOT;

listed! {
    /// An order or a question to one host.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Verb {
        /// Lists the guests.
        List,
        /// Shows one guest.
        Show,
        /// Loads a guest.
        Load,
        /// Replaces a guest.
        Replace,
        /// Unloads a guest.
        Unload,
        /// Puts a guest's canary into service.
        Promote,
        /// Ends a guest's canary.
        Abort,
        /// Drains and stops the host.
        Drain,
    }
}

impl Verb {
    /// The verb as the last token of a subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Show => "show",
            Self::Load => "load",
            Self::Replace => "replace",
            Self::Unload => "unload",
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Drain => "drain",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The subject of an order to a host.
#[must_use]
pub fn subject(host: &str, verb: Verb) -> String {
    orders_subject(host, verb.as_str())
}

/// The subject of all orders to a host: `*` in place of the verb.
pub(super) fn orders_subject(host: &str, verb: &str) -> String {
    format!("{ROOT}.{host}.{verb}")
}

/// A guest, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestRef {
    /// The guest's name.
    pub guest: String,
}

/// A guest, and the settings that it is to run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// The guest's name.
    pub guest: String,
    /// TOML: what could stand under `[guests.NAME]` in `wharf.toml`, without that line. Files, the component among them,
    /// are the host's; where their paths are relative, to its working directory.
    pub settings: String,
}

/// The guests of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestList {
    /// The host's name.
    pub host: String,
    /// The host's guests, by name.
    pub guests: Vec<GuestSummary>,
}

/// A guest in service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestSummary {
    /// The guest's name.
    pub name: String,
    /// The component's source.
    pub component: String,
    /// The number of the version in service: 1 for the one that was loaded, one more for each after it, canaries included.
    pub version: u32,
    /// Messages that wait for an instance, the canary's included.
    pub queued: usize,
    /// Messages that are being handled, by all versions together.
    pub in_flight: u64,
    /// Counts since the guest was loaded, by name: they only grow.
    pub stats: BTreeMap<String, u64>,
    /// The version that is tried beside it.
    pub canary: Option<CanarySummary>,
    /// The reason for which its last canary was rolled back, if it was.
    pub canary_rolled_back: Option<String>,
}

/// A canary of a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanarySummary {
    /// The component's source.
    pub component: String,
    /// The canary's number among the guest's versions.
    pub version: u32,
    /// The part of the guest's messages that the canary gets, from 0 to 1.
    pub share: f64,
    /// The part of its last `window` messages that may fail, from 0 to 1.
    pub max_failure: f64,
    /// The number of last messages among which failures count.
    pub window: u32,
    /// Messages that the canary handled without a failure.
    pub handled: u64,
    /// Messages that failed.
    pub failed: u64,
    /// Failures among the last `window` messages.
    pub recently_failed: usize,
    /// Messages that wait for the canary.
    pub queued: usize,
    /// Messages that the canary is handling.
    pub in_flight: u64,
}

/// A guest in service, and its rights. Settings that may hold secrets, `config` and `env`, are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestDetails {
    /// The host's name.
    pub host: String,
    /// The guest.
    #[serde(flatten)]
    pub guest: GuestSummary,
    /// Subjects of its configured subscriptions, as they travel.
    pub subscribe: Vec<String>,
    /// Subjects that it may subscribe itself to, as they travel.
    #[serde(default)]
    pub may_subscribe: Vec<String>,
    /// Subjects that it may publish on, as they travel.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Subjects that it may send requests to, as they travel.
    #[serde(default)]
    pub request: Vec<String>,
    /// The buckets that it may use, each `read` or `read-write`.
    #[serde(default)]
    pub buckets: BTreeMap<String, String>,
    /// Messages that it handles at once, at most.
    pub instances: u32,
    /// Memory that one instance may use, in bytes.
    pub memory_bytes: u64,
    /// Time that one message may take, in milliseconds.
    pub time_ms: u64,
    /// Files: what it uses, and the most that it may. Older hosts do not say.
    #[serde(default)]
    pub files: FileUse,
}

/// What a guest uses of files, in all of its instances, and the most that it may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileUse {
    /// Descriptors that it has open.
    pub descriptors: u64,
    /// The most descriptors.
    pub max_descriptors: u64,
    /// Calls that are under way.
    pub calls: u64,
    /// The most calls at once.
    pub max_calls: u64,
    /// Bytes by which it has made its directories grow since it was loaded.
    pub disk_bytes: u64,
    /// The most such bytes.
    pub max_disk_bytes: u64,
}

/// The end of a guest, a version or a canary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainSummary {
    /// Messages that were handled after the end began.
    pub finished: u64,
    /// Messages that had arrived and were not handled in time.
    pub abandoned: u64,
    /// Problems beside abandoned messages.
    pub problems: Vec<String>,
}

/// The reason for which a host did not carry out an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct ErrorReply {
    /// The kind of error: see the table of codes.
    pub code: u16,
    /// The error in words; may have several lines.
    pub error: String,
}
