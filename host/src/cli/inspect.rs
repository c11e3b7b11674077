//! `wharf inspect`: imports and exports of a component, and whether it is a guest.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use wharf::Inspection;

use super::args::InspectArgs;
use super::exit::{Exit, Failure};
use super::output;

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// Interfaces by the beginning of their name, each with its purpose and the setting that it needs. The first match
/// counts.
const INTERFACES: [(&str, &str); 18] = [
    (
        "wharf:nats/pubsub",
        "publishes, requests, subscribes; granted by `publish`, `request`, `may_subscribe`",
    ),
    (
        "wharf:nats/jetstream",
        "stores messages in streams; granted by `publish`",
    ),
    (
        "wharf:nats/keyvalue",
        "keeps values in buckets; granted by `buckets`",
    ),
    ("wharf:nats/types", "the types of the others"),
    ("wharf:nats/handler", "handles messages"),
    (
        "wharf:nats/lifecycle",
        "is called when it goes into and out of service",
    ),
    ("wasi:config/", "reads its settings; set by `config`"),
    (
        "wasi:cli/environment",
        "reads its environment; set by `env`",
    ),
    ("wasi:cli/stdin", "there, and empty"),
    ("wasi:cli/std", "its output becomes log lines"),
    ("wasi:cli/", "a program's arguments, exit and terminal"),
    (
        "wasi:filesystem/",
        "files, in the directories granted by `dirs`",
    ),
    ("wasi:clocks/", "clocks"),
    ("wasi:random/", "random numbers"),
    ("wasi:io/", "streams, for the other interfaces"),
    ("wasi:sockets/", "there, and always refused"),
    ("wasi:http/", "there, and a trap when called"),
    ("", ""),
];

/// Inspects a component, and prints the result.
pub(super) fn inspect(args: &InspectArgs) -> Result<Exit, Failure> {
    let inspection = wharf::inspect(&args.component, None).map_err(anyhow::Error::from)?;
    if args.json {
        output::json(&inspection)?;
    } else {
        let file = args.component.display().to_string();
        output::text(&render(&file, &inspection))?;
    }
    Ok(Exit::Done)
}

fn render(file: &str, inspection: &Inspection) -> String {
    let mut text = format!(
        "{TITLE}{file}{TITLE:#}: a component of {}\n",
        size(inspection.size_bytes)
    );
    let width = inspection
        .imports
        .iter()
        .map(|import| &import.name)
        .chain(&inspection.exports)
        .map(String::len)
        .max();
    let width = width.unwrap_or_default();
    section(&mut text, "imports");
    for import in &inspection.imports {
        let purpose = if import.offered {
            describe(&import.name)
        } else {
            "not offered by this host"
        };
        line(
            &mut text,
            &import.name,
            width,
            if import.offered { GOOD } else { BAD },
            purpose,
        );
    }
    section(&mut text, "exports");
    for export in &inspection.exports {
        line(&mut text, export, width, GOOD, describe(export));
    }
    text.push('\n');
    verdict(&mut text, inspection);
    text
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n{TITLE}{title}{TITLE:#}");
}

fn line(text: &mut String, name: &str, width: usize, style: Style, purpose: &str) {
    let line = format!("  {style}{name:width$}{style:#}  {purpose}");
    let _ = writeln!(text, "{}", line.trim_end());
}

fn describe(name: &str) -> &'static str {
    INTERFACES
        .iter()
        .find(|(start, _)| name.starts_with(start))
        .map_or("", |(_, purpose)| purpose)
}

fn verdict(text: &mut String, inspection: &Inspection) {
    let _ = match inspection.world {
        Some(world) => writeln!(
            text,
            "{GOOD}It fits the world `{world}`{GOOD:#}: `wharf run` can run it."
        ),
        None => writeln!(text, "{BAD}It is no guest of this host:{BAD:#}"),
    };
    for problem in &inspection.problems {
        let _ = writeln!(text, "  {problem}");
    }
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}
