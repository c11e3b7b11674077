//! The one place that prints: data to stdout, messages for people to stderr. Colours only on a terminal.

use std::io::{self, Write};
use std::sync::OnceLock;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use anyhow::Context;
use serde::Serialize;
use tracing_appender::non_blocking::NonBlocking;

use super::args::LogFormat;
use super::exit::Failure;

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();

/// The thread that writes to stderr for a running host.
static STDERR: OnceLock<NonBlocking> = OnceLock::new();

/// Has all lines for people written by the thread that writes log lines, after what was logged before.
pub(super) fn write_by(stderr: NonBlocking) {
    // It is set once, before anything is printed.
    let _ = STDERR.set(stderr);
}

/// Prints a line for people.
pub(super) fn status(line: &str) {
    let colours = AutoStream::choice(&io::stderr());
    let mut bytes = AutoStream::new(Vec::new(), colours);
    // A closed stderr is no reason to fail, and there is nowhere else to report it.
    drop(writeln!(bytes, "{line}"));
    let bytes = bytes.into_inner();
    drop(match STDERR.get() {
        Some(stderr) => stderr.clone().write_all(&bytes),
        None => io::stderr().lock().write_all(&bytes),
    });
}

/// Says how many lines were dropped because stderr was not read, if any were.
pub(super) fn report_dropped_lines() {
    let dropped = STDERR
        .get()
        .map_or(0, |stderr| stderr.error_counter().dropped_lines());
    if dropped > 0 {
        status(&format!(
            "{dropped} log lines were dropped: stderr was not read in time"
        ));
    }
}

/// Prints a success, its first word in colour.
pub(super) fn success(word: &str, rest: &str) {
    status(&format!("{GOOD}{word}{GOOD:#} {rest}"));
}

/// Prints a problem, its first word in colour.
pub(super) fn problem(word: &str, rest: &str) {
    status(&format!("{BAD}{word}{BAD:#} {rest}"));
}

/// Prints why the command failed, with every cause.
pub(super) fn report(failure: &Failure) {
    match failure {
        Failure::Config(errors) => errors
            .0
            .iter()
            .for_each(|one| problem("error:", &one.to_string())),
        Failure::Usage(error) | Failure::Runtime(error) => problem("error:", &format!("{error:#}")),
    }
}

/// The output of a running host: lines for people, or log lines where a machine reads stderr.
#[derive(Debug, Clone, Copy)]
pub(super) struct Console(pub(super) LogFormat);

impl Console {
    /// Prints a line.
    pub(super) fn status(self, line: &str) {
        match self.0 {
            LogFormat::Text => status(line),
            LogFormat::Json => tracing::info!("{line}"),
        }
    }

    /// Prints why something failed, with every cause.
    pub(super) fn report(self, failure: &Failure) {
        match (self.0, failure) {
            (LogFormat::Text, _) => report(failure),
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
pub(super) fn data(bytes: &[u8]) -> anyhow::Result<()> {
    print(&mut io::stdout().lock(), bytes)
}

/// Prints text, in colours where it has some and stdout is a terminal.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    print(&mut anstream::stdout().lock(), text.as_bytes())
}

/// Prints JSON, on one line.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value).context("cannot print")?;
    line.push(b'\n');
    data(&line)
}

/// Prints a table: columns as wide as their widest cell, two spaces between them.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn table<const N: usize>(
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> anyhow::Result<()> {
    text(&render_table(heads, rows))
}

fn render_table<const N: usize>(
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned))
        .chain(rows)
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    });
    let mut table = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn print(to: &mut impl Write, bytes: &[u8]) -> anyhow::Result<()> {
    to.write_all(bytes)
        .and_then(|()| to.flush())
        .context("cannot print")
}

/// A text of somebody else's, fit for a terminal: control characters, with which it could move the cursor, hide what is there or
/// begin a line of its own, become spaces.
pub(super) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
        let rows = [["prod-1", "é", ""], ["b", "orders", "x"]];
        let table = render_table(
            ["HOST", "GUEST", "ID"],
            rows.into_iter().map(|row| row.map(str::to_owned)),
        );
        assert_eq!(table, "HOST    GUEST   ID\nprod-1  é\nb       orders  x\n");
    }
}
