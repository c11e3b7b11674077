//! The status of a host and its guests: one model, which the library gives, `/metrics` renders and operators' answers are
//! made from.

use crate::component::ComponentSource;
use crate::config::Ratio;
use crate::connection::{ConnectionCounters, ConnectionState};
use crate::metrics::{Distribution, GuestStats};

/// A host at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostStatus {
    /// The guests in service. Those that are gone have no status.
    pub(crate) guests: Vec<GuestStatus>,
    /// `None` before there is a connection.
    pub(crate) connection: Option<(ConnectionState, ConnectionCounters)>,
}

/// A guest in service, at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct GuestStatus {
    /// The guest's name.
    pub name: String,
    /// The source of its component.
    pub component: ComponentSource,
    /// The number of the version in service: 1 for the one that was loaded, one more for each after it, canaries included.
    pub version: u32,
    /// Messages that wait for an instance, the canary's included.
    pub queued: usize,
    /// Bytes that the waiting messages hold.
    pub queued_bytes: usize,
    /// Messages that are being handled, by all versions together.
    pub in_flight: u64,
    /// Instances that there are.
    pub instances: u64,
    /// Bytes that the memories and tables of all instances take together.
    pub memory_bytes: u64,
    /// Descriptors that all instances have open together.
    pub descriptors: u64,
    /// Calls on files that are under way.
    pub file_calls: u64,
    /// Bytes by which the guest has made its directories grow since it was loaded.
    pub disk_bytes: u64,
    /// Counts since the guest was loaded, over all versions.
    pub stats: GuestStats,
    /// Times from taking a message to its outcome.
    #[serde(skip)]
    pub(crate) handling: Distribution,
    /// The version that is tried beside it.
    pub canary: Option<CanaryStatus>,
    /// The reason for which its last canary was rolled back, if it was.
    pub canary_rolled_back: Option<String>,
}

/// A canary, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CanaryStatus {
    /// The source of the canary's component.
    pub component: ComponentSource,
    /// The canary's number among the guest's versions.
    pub version: u32,
    /// The part of the guest's messages that the canary gets.
    pub share: Ratio,
    /// The part of its last `window` messages that may fail.
    pub max_failure: Ratio,
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
    pub in_flight: usize,
}
