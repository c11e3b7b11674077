//! Problems of settings, and their locations.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The location at which a setting was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A file as a whole: it cannot be read.
    WholeFile(PathBuf),
    /// A location in a file. Lines and columns count from 1, columns in characters.
    InFile {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WholeFile(path) => write!(f, "{}", path.display()),
            Self::InFile { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// The locations of settings that are looked into further than reading can: for messages about them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Locations {
    /// The locations of components' names, by guest.
    pub components: BTreeMap<String, Location>,
    /// The locations of canaries' components' names, by guest.
    pub canaries: BTreeMap<String, Location>,
    /// The locations of the directories of guests, in the order of [`GuestSettings::dirs`](super::GuestSettings::dirs).
    pub dirs: BTreeMap<String, Vec<Location>>,
}

/// One problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The problem's location.
    pub location: Location,
    /// The problem in words, and what to do about it. Holds no secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// Everything that is wrong with the settings, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects problems while settings are read, so that one bad setting does not hide the next.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn push(&self, location: Location, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem {
            location,
            message: message.into(),
        });
    }

    /// All problems, as they are written.
    pub(super) fn in_order(self) -> Vec<Problem> {
        let mut found = self.0.into_inner();
        found.sort();
        found.dedup();
        found
    }
}

/// Says that a key is unknown, and which one may have been meant.
pub(super) fn unknown_key<'k>(key: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .min_by_key(|candidate| distance(key, candidate));
    match nearest {
        // More than a third of the word wrong is no typo any more.
        Some(nearest) if distance(key, nearest) <= key.chars().count().max(3) / 3 => {
            format!("unknown key {key:?}; did you mean {nearest:?}?")
        }
        Some(nearest) => {
            format!(
                "unknown key {key:?}; the nearest is {nearest:?}, and all are: {}",
                known.join(", ")
            )
        }
        None => format!("unknown key {key:?}"),
    }
}

fn distance(written: &str, known: &str) -> usize {
    // `max-reconnect`, `maxReconnect` and `MAX_RECONNECT` are one letter off at most.
    strsim::damerau_levenshtein(&plain(written), &plain(known))
}

fn plain(key: &str) -> String {
    key.chars()
        .filter(|letter| !matches!(letter, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}
