//! The one place that prints: data to stdout, talk to stderr. Colours only on a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::args::LogFormat;
use super::exit::Failure;

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();

/// Says something to a person.
pub(super) fn say(line: &str) {
    // Where nobody listens any more there is nobody to tell.
    drop(writeln!(anstream::stderr().lock(), "{line}"));
}

/// Says what went well.
pub(super) fn say_good(word: &str, rest: &str) {
    say(&format!("{GOOD}{word}{GOOD:#} {rest}"));
}

/// Says what is wrong.
pub(super) fn say_bad(word: &str, rest: &str) {
    say(&format!("{BAD}{word}{BAD:#} {rest}"));
}

/// Says why the command failed, with every cause.
pub(super) fn error(failure: &Failure) {
    match failure {
        Failure::Config(errors) => errors
            .0
            .iter()
            .for_each(|problem| say_bad("error:", &problem.to_string())),
        Failure::Usage(error) | Failure::Runtime(error) => say_bad("error:", &format!("{error:#}")),
    }
}

/// How a running host speaks: to people, or in log lines where a machine reads stderr.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice(pub(super) LogFormat);

impl Voice {
    /// Says something.
    pub(super) fn say(self, line: &str) {
        match self.0 {
            LogFormat::Text => say(line),
            LogFormat::Json => tracing::info!("{line}"),
        }
    }

    /// Says why something failed, with every cause.
    pub(super) fn error(self, failure: &Failure) {
        match (self.0, failure) {
            (LogFormat::Text, _) => error(failure),
            (LogFormat::Json, Failure::Config(errors)) => {
                errors
                    .0
                    .iter()
                    .for_each(|problem| tracing::error!("{problem}"));
            }
            (LogFormat::Json, Failure::Usage(error) | Failure::Runtime(error)) => {
                tracing::error!("{error:#}")
            }
        }
    }
}

/// Prints data, as it is.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn data(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Prints text, in colours where it has some and stdout is a terminal.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints JSON, on one line.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    data(&line)
}
