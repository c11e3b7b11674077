//! Reports and errors of changes: what became of messages, and what kept a guest out of service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::version::VersionEnd;
use crate::component::ComponentSource;
use crate::config::MAX_INSTANCES;
use crate::error::Error;
use crate::guest::{GuestStartError, LoadError};
use crate::imports::GrantError;
use crate::metrics::GuestStats;
use crate::trigger::SubscribeRefused;

/// Report of a drain: counts of the messages that had arrived when a host, or a guest, was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct DrainReport {
    /// Messages that were handled after the stop began.
    pub finished: u64,
    /// Messages that had arrived and were not handled in time.
    pub abandoned: u64,
    /// Counts of each guest, from its start to its end.
    pub guests: BTreeMap<String, GuestStats>,
    /// Problems besides: a server that could not be reached for the last round trip, a guest whose `stop` failed.
    pub problems: Vec<String>,
}

impl DrainReport {
    /// Adds how one guest, or one version of it, ended.
    pub(super) fn add(&mut self, name: &str, ended: VersionEnd, stats: GuestStats) {
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
    pub(crate) fn merge(&mut self, other: Self) {
        let Self {
            finished,
            abandoned,
            guests,
            problems,
        } = other;
        self.finished += finished;
        self.abandoned += abandoned;
        for (name, stats) in guests {
            // Counts only grow: the larger ones were read later.
            let later = self.guests.entry(name).or_default();
            *later = stats.max(*later);
        }
        self.problems.extend(problems);
    }

    /// The problems in words, with what was abandoned.
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

/// Errors of a guest that did not come into service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The component is missing, or is no guest: correct it, and load again.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The guest trapped, took too long or failed while it started.
    #[error(transparent)]
    Start(#[from] GuestStartError),
    /// One of the guest's directories cannot be opened, or is none that a guest may have.
    #[error(transparent)]
    Directory(#[from] GrantError),
    /// The component lies in a directory of a guest, which could read it, or put another there.
    #[error("its component {component} lies in {}, a directory of guest {guest:?}", directory.display())]
    ComponentInDirectory {
        /// The component's file.
        component: ComponentSource,
        /// The directory.
        directory: PathBuf,
        /// The guest that has it.
        guest: String,
    },
    /// A subscription was refused.
    #[error("cannot subscribe to {subject:?}")]
    Subscribe {
        /// The subject, as it travels.
        subject: String,
        /// The reason.
        source: Error,
    },
    /// The guest's canary did not come up.
    #[error("its canary does not come up")]
    Canary(#[source] Box<GuestError>),
}

impl GuestError {
    /// The same, of the guest's canary.
    pub(super) fn of_canary(self) -> Self {
        Self::Canary(Box::new(self))
    }
}

/// Errors of a change of guests. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A guest of that name is loaded: replace it.
    #[error("guest {name:?} is loaded already; it can be replaced")]
    AlreadyLoaded {
        /// The guest's name.
        name: String,
    },
    /// No guest of that name is loaded.
    #[error("there is no guest {name:?}")]
    NotLoaded {
        /// The name.
        name: String,
    },
    /// The guest asks for more instances than are free. While one version replaces another, both need theirs.
    #[error(
        "guest {name:?} asks for {asked} instances, and {free} of the host's {MAX_INSTANCES} are free: lower `instances.max`"
    )]
    TooManyInstances {
        /// The guest's name.
        name: String,
        /// The guest's `instances.max`.
        asked: u32,
        /// The instances that are free.
        free: usize,
    },
    /// The guest did not come into service.
    #[error("cannot start guest {name:?}")]
    Guest {
        /// The guest's name.
        name: String,
        /// The reason.
        source: GuestError,
    },
    /// The guest has no canary.
    #[error("guest {name:?} has no canary{}", rolled_back.as_ref().map_or(String::new(), |why| format!(": the last one was rolled back: {why}")))]
    NoCanary {
        /// The guest's name.
        name: String,
        /// The reason for which the last one was rolled back, if it was.
        rolled_back: Option<String>,
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

/// The changes that [`Host::apply`](crate::Host::apply) made: guests by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// Guests that were loaded.
    pub loaded: Vec<String>,
    /// Guests that were replaced: their settings or their component are others.
    pub replaced: Vec<String>,
    /// Guests of which only the canary came, changed or went.
    pub canaries: Vec<String>,
    /// Guests that were unloaded.
    pub unloaded: Vec<String>,
    /// Problems while old versions and unloaded guests were drained.
    pub problems: Vec<String>,
}
