//! How a host, or a change to one, ended: reports and errors.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use crate::component::ComponentSource;
use crate::config::{MOST_INSTANCES, Ratio};
use crate::connection::ConnectError;
use crate::dispatch::Drained;
use crate::error::Error;
use crate::guest::LoadError;
use crate::metrics::GuestStats;
use crate::server::ServerError;
use crate::trigger::SubscribeRefused;

/// What became of the messages that had arrived when a host, or a guest, was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct DrainReport {
    /// Messages that were handled after the stop began.
    pub finished: u64,
    /// Messages that had arrived and were not handled in time.
    pub abandoned: u64,
    /// Messages that were handed back to their stream, for another host.
    pub returned: u64,
    /// What has happened to each guest, from its start to its end.
    pub guests: BTreeMap<String, GuestStats>,
    /// What else went wrong: a server that could not be reached for the last round trip, a guest whose `stop` failed.
    pub problems: Vec<String>,
}

impl DrainReport {
    /// Adds how one guest, or one version of it, ended.
    pub(super) fn add(
        &mut self,
        name: &str,
        ended: (Drained, Result<(), String>),
        stats: GuestStats,
    ) {
        let (drained, stopped) = ended;
        self.finished += drained.finished;
        self.abandoned += drained.abandoned;
        if let Err(why) = stopped {
            self.problems
                .push(format!("guest {name:?} did not stop in order: {why}"));
        }
        self.guests.insert(name.to_owned(), stats);
    }

    /// Adds what ended beside it.
    pub(super) fn merge(&mut self, other: Self) {
        let Self {
            finished,
            abandoned,
            returned,
            guests,
            problems,
        } = other;
        self.finished += finished;
        self.abandoned += abandoned;
        self.returned += returned;
        for (name, stats) in guests {
            // Counts only grow: the larger ones were read later.
            let later = self.guests.entry(name).or_default();
            *later = stats.max(*later);
        }
        self.problems.extend(problems);
    }

    /// What went wrong, in words, with what was abandoned.
    pub(super) fn into_problems(self) -> Vec<String> {
        let mut problems = self.problems;
        if self.abandoned > 0 {
            problems.push(format!(
                "{} messages were not handled in time and were abandoned",
                self.abandoned
            ));
        }
        problems
    }

    /// Whether nothing was abandoned and nothing went wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.abandoned == 0 && self.problems.is_empty()
    }
}

/// Why a host did not start. What had been started has been stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address for HTTP cannot be listened on.
    #[error("cannot listen on {listen}, which `[http] listen` names")]
    Http {
        /// The address.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A nats-server of our own did not start.
    #[error("cannot start a nats-server of our own")]
    Server(#[source] ServerError),
    /// No server could be reached, or none let us in.
    #[error(transparent)]
    Connect(ConnectError),
    /// A guest did not come into service.
    #[error("cannot start guest {name:?}")]
    Guest {
        /// Its name.
        name: String,
        /// Why.
        source: GuestError,
    },
    /// The guests together ask for more instances than there can be.
    #[error(
        "the guests together ask for {asked} instances, and a host has {MOST_INSTANCES}: lower `instances.max` of some"
    )]
    TooManyInstances {
        /// The sum of their `instances.max`.
        asked: u64,
    },
    /// Traces cannot be sent as the settings say.
    #[error("cannot export traces: {0}")]
    Traces(String),
    /// The machine refused what it takes to run guests: threads or memory.
    #[error("cannot set up what runs guests: {0}")]
    Machine(String),
}

/// Why a guest did not come into service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// Its component is missing, or is no guest.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It trapped, took too long or failed while it started. Says which.
    #[error("{0}")]
    Start(String),
    /// A subscription was refused.
    #[error("cannot subscribe to {subject:?}")]
    Subscribe {
        /// The subject, as it travels.
        subject: String,
        /// Why.
        source: Error,
    },
    /// Its canary did not come on trial.
    #[error("its canary does not come up")]
    Canary(#[source] Box<GuestError>),
}

impl GuestError {
    /// The same, of the guest's canary.
    pub(super) fn of_canary(self) -> Self {
        Self::Canary(Box::new(self))
    }
}

/// Why a guest was not loaded, replaced or unloaded. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is a guest of that name.
    #[error("guest {name:?} is loaded already; it can be replaced")]
    AlreadyLoaded {
        /// Its name.
        name: String,
    },
    /// There is no guest of that name.
    #[error("there is no guest {name:?}")]
    NotLoaded {
        /// The name.
        name: String,
    },
    /// The guest asks for more instances than are free. While one version replaces another, both need theirs.
    #[error(
        "guest {name:?} asks for {asked} instances, and {free} of the host's {MOST_INSTANCES} are free: lower `instances.max`"
    )]
    TooManyInstances {
        /// Its name.
        name: String,
        /// Its `instances.max`.
        asked: u32,
        /// How many are free.
        free: usize,
    },
    /// The guest did not come into service.
    #[error("cannot start guest {name:?}")]
    Guest {
        /// Its name.
        name: String,
        /// Why.
        source: GuestError,
    },
    /// The guest has no version on trial.
    #[error("guest {name:?} has no canary{}", taken_out.as_ref().map_or(String::new(), |why| format!(": the last one was taken out: {why}")))]
    NoCanary {
        /// Its name.
        name: String,
        /// Why the last one was taken out, if it was.
        taken_out: Option<String>,
    },
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

impl ChangeError {
    pub(super) fn guest(name: &str, source: GuestError) -> Self {
        Self::Guest {
            name: name.to_owned(),
            source,
        }
    }

    /// The same, of the guest's canary.
    pub(super) fn of_canary(self) -> Self {
        match self {
            Self::Guest { name, source } => Self::Guest {
                name,
                source: source.of_canary(),
            },
            other => other,
        }
    }

    pub(super) fn subscribe(name: &str, refused: SubscribeRefused) -> Self {
        let SubscribeRefused { subject, source } = refused;
        Self::guest(name, GuestError::Subscribe { subject, source })
    }
}

impl From<ChangeError> for StartError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Guest { name, source } => Self::Guest { name, source },
            other => Self::Machine(other.to_string()),
        }
    }
}

/// What [`super::Host::apply`] has changed: guests by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// Those that are new.
    pub loaded: Vec<String>,
    /// Those whose settings or component are others.
    pub replaced: Vec<String>,
    /// Those of which only the canary has come, has changed or is gone.
    pub canaries: Vec<String>,
    /// Those that are gone.
    pub unloaded: Vec<String>,
    /// What went wrong while old versions and guests that are gone were drained.
    pub problems: Vec<String>,
}

/// A guest in service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct GuestInfo {
    /// Its name.
    pub name: String,
    /// Where its component comes from.
    pub component: ComponentSource,
    /// The number of the version in service: 1 for the one that was loaded, one more for each after it, canaries included.
    pub version: u32,
    /// Messages that wait for an instance, its canary's included.
    pub queued: usize,
    /// Messages that are being handled, its canary's included.
    pub in_hand: usize,
    /// What has happened to it since it was loaded, over all versions.
    pub stats: GuestStats,
    /// The version that is on trial beside it.
    pub canary: Option<CanaryInfo>,
    /// Why its last canary was taken out, if it was, in words.
    pub canary_taken_out: Option<String>,
}

/// A version of a guest that is on trial.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CanaryInfo {
    /// Where its component comes from.
    pub component: ComponentSource,
    /// Its number among the guest's versions.
    pub version: u32,
    /// How much of the guest's messages it gets.
    pub share: Ratio,
    /// How much of its last `window` messages may fail.
    pub max_failure: Ratio,
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
