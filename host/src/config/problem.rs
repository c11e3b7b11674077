//! Problems of settings, and their locations.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::protocol::subject::quoted;

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

/// The most problems that are told at once. Nobody reads more, and settings also come as orders, from others.
const MAX_PROBLEMS: usize = 100;

/// The most bytes of a problem's words, which may quote what is written.
const MAX_WORDS_BYTES: usize = 2000;

/// The longest key that is compared with those that are known.
const MAX_COMPARED_BYTES: usize = 64;

/// Collects problems while settings are read, so that one bad setting does not hide the next.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Notes a problem. The first one of too many only says that there are more.
    pub(super) fn push(&self, location: Location, message: impl Into<String>) {
        let mut found = self.0.borrow_mut();
        if found.len() > MAX_PROBLEMS {
            return;
        }
        let mut message = message.into();
        if found.len() == MAX_PROBLEMS {
            "there are more problems, from here on or elsewhere: mend these first"
                .clone_into(&mut message);
        } else if message.len() > MAX_WORDS_BYTES {
            message.truncate(message.floor_char_boundary(MAX_WORDS_BYTES));
            message.push('…');
        }
        found.push(Problem { location, message });
    }

    /// Whether a further problem would not be noted.
    pub(super) fn is_full(&self) -> bool {
        self.0.borrow().len() > MAX_PROBLEMS
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
    if key.len() > MAX_COMPARED_BYTES {
        return format!("unknown key {}", quoted(key));
    }
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::GuestSettings;
    use super::*;

    /// What is wrong with the settings of a guest, read in a moment.
    fn refused(text: &str) -> ConfigErrors {
        let begun = Instant::now();
        let refused = GuestSettings::parse("guest", text, &|_| None).expect_err("it is wrong");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        refused
    }

    #[test]
    fn settings_with_very_many_mistakes_are_read_in_a_moment_and_told_in_a_short_text() {
        const BYTES: usize = 1 << 19;
        let unknown: String = (0..BYTES / 12)
            .map(|number| format!("k{number} = 1\n"))
            .collect();
        let in_one_line: String = (0..BYTES / 12)
            .map(|number| format!("k{number} = 1, "))
            .collect();
        for text in [
            "x\n".repeat(BYTES / 2),
            unknown,
            format!("limits = {{ {in_one_line} }}"),
            format!("subscribe = [{}]", "1, ".repeat(BYTES / 3)),
            format!("subscribe = [\"{}\"]", "\\u0001".repeat(BYTES / 6)),
            format!("{} = 1", "k".repeat(BYTES)),
            format!("{}k = 1", "k.".repeat(BYTES / 2)),
        ] {
            let ConfigErrors(problems) = refused(&text);
            assert!(problems.len() <= MAX_PROBLEMS + 1);
            let words = ConfigErrors(problems).to_string();
            let most = (MAX_PROBLEMS + 1) * (MAX_WORDS_BYTES + 100);
            assert!(words.len() < most, "{} bytes", words.len());
        }
    }

    #[test]
    fn too_many_problems_are_said_to_be_more() {
        let ConfigErrors(problems) = refused(&"x\n".repeat(MAX_PROBLEMS + 2));
        assert_eq!(problems.len(), MAX_PROBLEMS + 1);
        assert!(problems[MAX_PROBLEMS].message.contains("more problems"));
        let ConfigErrors(problems) = refused(&"x\n".repeat(MAX_PROBLEMS));
        assert!(
            !problems
                .iter()
                .any(|one| one.message.contains("more problems"))
        );
    }
}
