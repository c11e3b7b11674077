//! `wharf inspect`: imports and exports of a component, and whether it is a guest.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use wharf::{Inspection, Interface};

use super::args::InspectArgs;
use super::exit::{Exit, Failure};
use super::output;

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

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
        let (style, purpose) = match import.offered {
            true => (GOOD, describe(&import.name)),
            false => (BAD, "not offered by this host".to_owned()),
        };
        line(&mut text, &import.name, width, style, &purpose);
    }
    section(&mut text, "exports");
    for export in &inspection.exports {
        line(&mut text, export, width, GOOD, &describe(export));
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

/// The purpose of an interface, and the settings that grant or fill it.
fn describe(name: &str) -> String {
    let Some(interface) = Interface::named(name) else {
        return String::new();
    };
    let keys: Vec<String> = interface
        .keys
        .iter()
        .map(|key| format!("`{key}`"))
        .collect();
    match keys.is_empty() {
        true => interface.words.to_owned(),
        false => format!("{}; settings: {}", interface.words, keys.join(", ")),
    }
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
