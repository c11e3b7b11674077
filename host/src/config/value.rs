//! Values of a TOML document, read one by one; what is wrong with one is noted with its location.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::expand::expand;
use super::parse;
use super::problem::{Location, Problems, unknown_key};
use super::ratio::Ratio;
use crate::component::ComponentSource;

/// A file that is being read.
pub(super) struct Document<'a> {
    /// The file's path, for messages. Relative paths in the file are relative to its directory.
    pub(super) path: &'a Path,
    /// The whole text, in which lines and columns are counted.
    pub(super) text: &'a str,
    /// The variables that the text may name in its strings.
    pub(super) environment: Environment<'a>,
    /// The list to which problems of the document are added, shared with the other sources of settings.
    pub(super) problems: &'a Problems,
    /// The beginnings of the text's lines.
    pub(super) lines: LineStarts,
    /// Lines that are no TOML: what was made of them says nothing about what was meant.
    pub(super) broken_lines: BTreeSet<usize>,
}

impl Document<'_> {
    /// Notes a problem.
    pub(super) fn refuse(&self, at: &Range<usize>, message: impl Into<String>) {
        if self.problems.is_full() {
            return;
        }
        let line = self.lines.line(at.start);
        let made_up = at.is_empty() && !self.broken_lines.is_empty();
        if !made_up && !self.broken_lines.contains(&line) {
            self.problems.push(self.location(at), message);
        }
    }

    /// Notes that something is missing, unless it may have been lost in a broken line.
    fn missing(&self, at: &Range<usize>, message: String) {
        if self.broken_lines.is_empty() {
            self.refuse(at, message);
        }
    }

    pub(super) fn location(&self, at: &Range<usize>) -> Location {
        let (line, column) = self.lines.position(self.text, at.start);
        Location::InFile {
            path: self.path.to_owned(),
            line,
            column,
        }
    }

    /// A path as it is meant: relative to the file.
    pub(super) fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// The beginnings of a text's lines, as bytes.
pub(super) struct LineStarts(Vec<usize>);

impl LineStarts {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(
            std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        )
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, byte: usize) -> usize {
        self.0.partition_point(|start| *start <= byte)
    }

    /// The line and the column of a byte, both from 1. Columns are characters.
    fn position(&self, text: &str, byte: usize) -> (usize, usize) {
        let byte = byte.min(text.len());
        let line = self.line(byte);
        let before = &text.as_bytes()[self.0[line - 1]..byte];
        (line, String::from_utf8_lossy(before).chars().count() + 1)
    }
}

/// One value. A reader returns `None` after it has noted what is wrong.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// The document that the value is in, to which its problems are told.
    pub(super) document: &'a Document<'a>,
    /// The value as the parser gives it, with its range of bytes in the text.
    spanned: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn location(&self) -> Location {
        self.document.location(&self.spanned.span())
    }

    /// Notes a problem.
    pub(super) fn note(&self, message: impl Into<String>) {
        self.document.refuse(&self.spanned.span(), message);
    }

    /// Notes a problem because of which there is no value.
    pub(super) fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        self.note(message);
        None
    }

    pub(super) fn expected<T>(&self, what: &str) -> Option<T> {
        self.refuse(format!(
            "expected {what}, found {}",
            kind(self.spanned.get_ref())
        ))
    }

    /// The text as it is written: what a message may repeat, for variables are not yet put in.
    pub(super) fn written(&self) -> &'a str {
        self.spanned.get_ref().as_str().unwrap_or_default()
    }

    /// A string.
    pub(super) fn string(self) -> Option<String> {
        self.text("a string").map(Cow::into_owned)
    }

    fn text(&self, what: &str) -> Option<Cow<'a, str>> {
        let DeValue::String(written) = self.spanned.get_ref() else {
            return match self.spanned.get_ref() {
                scalar @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => self
                    .refuse(format!(
                        "expected {what}, found {}; put it in quotes",
                        kind(scalar)
                    )),
                _ => self.expected(what),
            };
        };
        // It may be a secret in part: a message repeats nothing of it.
        expand(written, self.document.environment)
            .or_else(|reason| self.refuse(format!("the value {reason}")).ok_or(()))
            .ok()
    }

    fn refuse_text(&self, reason: &str) {
        self.document.refuse(
            &self.spanned.span(),
            format!("{:?} {reason}", self.written()),
        );
    }

    /// A string that is read as something.
    pub(super) fn parsed<T>(self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text("a string")?;
        read(&text).map_err(|reason| self.refuse_text(&reason)).ok()
    }

    /// A string of which a message may not repeat anything.
    pub(super) fn parsed_unquoted<T>(
        self,
        what: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text("a string")?;
        read(&text)
            .or_else(|reason| self.refuse(format!("{what} {reason}")).ok_or(()))
            .ok()
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(self, words: &[(&str, T)]) -> Option<T> {
        let all = words
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect::<Vec<_>>()
            .join(" or ");
        let text = self.text(&all)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, meaning)| *meaning);
        found.or_else(|| self.refuse(format!("expected {all}, found {:?}", self.written())))
    }

    /// A path, relative to the file.
    pub(super) fn path(self) -> Option<PathBuf> {
        let text = self.text("a path")?;
        if text.is_empty() {
            return self.refuse("expected a path, found an empty string");
        }
        Some(self.document.resolve(&*text))
    }

    /// A component: a path, relative to the file, or an object.
    pub(super) fn component(self) -> Option<ComponentSource> {
        match self.parsed(str::parse)? {
            ComponentSource::File(path) => Some(self.document.resolve(path).into()),
            object @ ComponentSource::Object { .. } => Some(object),
        }
    }

    pub(super) fn duration(self) -> Option<std::time::Duration> {
        if !self.spanned.get_ref().is_str() {
            return self.expected("a duration such as \"2s\"");
        }
        self.parsed(parse::duration)
    }

    pub(super) fn boolean(self) -> Option<bool> {
        match self.spanned.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number of this range.
    pub(super) fn number<T: TryFrom<i64>>(self, least: i64, most: i64) -> Option<T> {
        let DeValue::Integer(written) = self.spanned.get_ref() else {
            return self.expected("a whole number");
        };
        let found = i64::from_str_radix(written.as_str(), written.radix()).ok();
        let in_range = found.filter(|number| (least..=most).contains(number));
        in_range
            .and_then(|number| T::try_from(number).ok())
            .or_else(|| match most {
                i64::MAX => self.refuse(format!(
                    "expected a whole number of at least {least}, found {written}"
                )),
                _ => self.refuse(format!(
                    "expected a whole number from {least} to {most}, found {written}"
                )),
            })
    }

    /// A part of a whole, from 0 to 1.
    pub(super) fn ratio(self, what: &str) -> Option<Ratio> {
        let part = match self.spanned.get_ref() {
            DeValue::Float(written) => written.as_str().parse().ok(),
            DeValue::Integer(written) => written.as_str().parse().ok(),
            _ => return self.expected(what),
        };
        part.and_then(Ratio::new)
            .or_else(|| self.refuse(format!("expected {what}")))
    }

    /// A number of bytes, in words such as "64MiB" or as an integer.
    pub(super) fn bytes(self, most: u64) -> Option<u64> {
        let most_signed = i64::try_from(most).unwrap_or(i64::MAX);
        let found = match self.spanned.get_ref() {
            DeValue::Integer(_) => self.number(1, most_signed)?,
            DeValue::String(_) => self.parsed(parse::bytes)?,
            _ => return self.expected("a number of bytes such as 65536 or \"64MiB\""),
        };
        if found > most {
            return self.refuse(format!(
                "{:?} is more than the {most} bytes that are possible",
                self.written()
            ));
        }
        Some(found)
    }

    /// A list, whatever is in it.
    pub(super) fn list(self) -> Option<impl Iterator<Item = Value<'a>>> {
        let document = self.document;
        match self.spanned.get_ref() {
            DeValue::Array(items) => {
                Some(items.iter().map(move |spanned| Value { document, spanned }))
            }
            DeValue::String(text) => {
                self.refuse(format!("expected a list, found a string; write [{text:?}]"))
            }
            _ => self.expected("a list"),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        self.spanned.get_ref().is_array()
    }

    pub(super) fn is_string(&self) -> bool {
        self.spanned.get_ref().is_str()
    }

    pub(super) fn is_table(&self) -> bool {
        self.spanned.get_ref().is_table()
    }

    /// A table whose keys are known.
    pub(super) fn table(self) -> Option<Table<'a>> {
        let at = self.spanned.span();
        match self.spanned.get_ref() {
            DeValue::Table(entries) => Some(Table::new(self.document, entries, at)),
            _ => self.expected("a table"),
        }
    }

    /// A table whose keys are names.
    pub(super) fn entries(self) -> Option<impl Iterator<Item = (Name<'a>, Value<'a>)>> {
        let document = self.document;
        let DeValue::Table(entries) = self.spanned.get_ref() else {
            return self.expected("a table");
        };
        Some(entries.iter().map(move |(name, spanned)| {
            (
                Name {
                    document,
                    spanned: name,
                },
                Value { document, spanned },
            )
        }))
    }
}

/// A key that is a name.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    /// The document that the name is in, to which its problems are told.
    document: &'a Document<'a>,
    /// The key as the parser gives it, with its range of bytes in the text.
    spanned: &'a Spanned<Cow<'a, str>>,
}

impl<'a> Name<'a> {
    pub(super) fn as_str(self) -> &'a str {
        self.spanned.get_ref()
    }

    pub(super) fn refuse(&self, message: impl Into<String>) {
        self.document.refuse(&self.spanned.span(), message);
    }

    /// Notes that something is missing under this name.
    pub(super) fn missing(&self, message: String) {
        self.document.missing(&self.spanned.span(), message);
    }

    /// The name if it passes a check whose error continues the sentence that the name begins.
    pub(super) fn checked(self, check: impl FnOnce(&str) -> Result<(), String>) -> Option<String> {
        match check(self.as_str()) {
            Ok(()) => Some(self.as_str().to_owned()),
            Err(reason) => {
                self.refuse(format!("{:?} {reason}", self.as_str()));
                None
            }
        }
    }
}

/// A table whose keys are known: each key that is asked for. [`Table::end`] notes all others.
pub(super) struct Table<'a> {
    /// The document that the table is in, to which its problems are told.
    document: &'a Document<'a>,
    /// The keys and values as the parser gives them, known ones and others.
    entries: &'a DeTable<'a>,
    /// The table's range of bytes in the text, for keys that are missing. Empty for the whole document.
    at: Range<usize>,
    /// Keys that have been asked for so far, whether they are there or not.
    known: RefCell<Vec<&'static str>>,
    /// Keys that have been refused with a reason of their own, so that they are not noted twice.
    refused: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        document: &'a Document<'a>,
        entries: &'a DeTable<'a>,
        at: Range<usize>,
    ) -> Self {
        Self {
            document,
            entries,
            at,
            known: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        self.entries.get(key).map(|spanned| Value {
            document: self.document,
            spanned,
        })
    }

    /// Like [`Self::get`]; notes if there is none.
    pub(super) fn required(&self, key: &'static str) -> Option<Value<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.document
                .missing(&self.at, format!("the key {key:?} is missing"));
        }
        found
    }

    /// Refuses a key that a reader may look for here, with its reason.
    pub(super) fn refuse_key(&self, key: &'static str, reason: &str) {
        self.refused.borrow_mut().push(key);
        if let Some((name, _)) = self.entries.get_key_value(key) {
            self.document
                .refuse(&name.span(), format!("unknown key {key:?}: {reason}"));
        }
    }

    /// Notes every key that was not asked for.
    pub(super) fn end(self) {
        let (known, refused) = (self.known.borrow(), self.refused.borrow());
        for name in self.entries.keys() {
            let key: &str = name.get_ref();
            if !known.contains(&key) && !refused.contains(&key) {
                self.document
                    .refuse(&name.span(), unknown_key(key, known.iter().copied()));
            }
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty string",
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
