//! The settings file of the Go connector: lines of `NATS.SERVER=nats://…`.
//!
//! Blank lines and lines that begin with `#` say nothing. Keys that do not begin with `NATS.` belong to other parts of
//! the deployment.

use std::collections::BTreeMap;
use std::path::Path;

use super::layer::{Layer, TEXT_KEYS};
use super::problem::{Location, Problems, unknown_key};

/// Reads such a file.
pub(super) fn read(path: &Path, problems: &Problems) -> Layer {
    match std::fs::read_to_string(path) {
        Ok(text) => layer(path, &text, problems),
        Err(error) => {
            problems.push(
                Location::WholeFile(path.to_owned()),
                format!("cannot be read: {error}"),
            );
            Layer::default()
        }
    }
}

/// Reads such a text.
pub(super) fn layer(path: &Path, text: &str, problems: &Problems) -> Layer {
    let mut found: BTreeMap<&str, (String, Location)> = BTreeMap::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let location = |column| Location::InFile {
            path: path.to_owned(),
            line: index + 1,
            column,
        };
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let Some((key, value)) = trimmed.split_once('=') else {
            problems.push(
                location(indent + 1),
                "expected KEY=VALUE, found a line without `=`",
            );
            continue;
        };
        let Some(key) = key.trim_end().strip_prefix("NATS.") else {
            continue;
        };
        let value_column = line.chars().take_while(|c| *c != '=').count() + 2;
        if !TEXT_KEYS.contains(&key) {
            problems.push(
                location(indent + "NATS.".len() + 1),
                unknown_key(key, TEXT_KEYS),
            );
        } else if found
            .insert(key, (value.trim().to_owned(), location(value_column)))
            .is_some()
        {
            problems.push(
                location(indent + 1),
                format!("NATS.{key} is set a second time"),
            );
        }
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    Layer::from_text(|key| found.get(key).cloned(), directory, problems)
}
