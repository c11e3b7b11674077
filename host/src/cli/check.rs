//! `wharf check`: all problems of the settings and the components, at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wharf::config::{ComponentSource, Config, Location, Locations, Problem};

use super::args::CheckArgs;
use super::exit::{Exit, Failure};
use super::{output, sources};

/// One problem, as JSON.
#[derive(Serialize)]
struct ProblemRow {
    /// The file that it is in, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// The environment variable that it is in, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    /// The problem, as text.
    message: String,
}

impl From<Problem> for ProblemRow {
    fn from(problem: Problem) -> Self {
        let (file, line, column, variable) = match problem.location {
            Location::WholeFile(path) => (Some(path), None, None, None),
            Location::InFile { path, line, column } => (Some(path), Some(line), Some(column), None),
            Location::Variable(name) => (None, None, None, Some(name)),
        };
        Self {
            file,
            line,
            column,
            variable,
            message: problem.message,
        }
    }
}

/// The result, as JSON.
#[derive(Serialize)]
struct CheckReport {
    /// True without problems.
    ok: bool,
    /// The names of all guests.
    guests: Vec<String>,
    /// The names of guests with a component on a server, which is not asked.
    not_looked_into: Vec<String>,
    /// All problems, in the order of their places.
    problems: Vec<ProblemRow>,
}

/// Checks the settings and the components, and prints every problem.
pub(super) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let file = sources::config_file(&args.sources);
    if file.is_none() && args.sources.settings.is_none() {
        return Err(Failure::usage(
            "nothing to check: there is no wharf.toml here; name a file with --config",
        ));
    }
    let (config, locations, mut problems) = sources::read(file, &args.sources)?;
    problems.extend(component_problems(&config, &locations));
    problems.sort();
    let exit = if problems.is_empty() {
        Exit::Done
    } else {
        Exit::Usage
    };
    let guests: Vec<String> = config.guests.keys().cloned().collect();
    let mut not_looked_into: Vec<String> =
        on_servers(&config).map(|(name, _)| name.clone()).collect();
    not_looked_into.dedup();
    if args.json {
        let ok = problems.is_empty();
        let problems = problems.into_iter().map(ProblemRow::from).collect();
        output::json(&CheckReport {
            ok,
            guests,
            not_looked_into,
            problems,
        })?;
    } else {
        on_servers(&config).for_each(|(name, component)| {
            output::status(&format!(
                "note: guest {name:?}: {component} is on a server, and was not checked"
            ));
        });
        report(&guests, &problems);
    }
    Ok(exit)
}

fn report(guests: &[String], problems: &[Problem]) {
    for problem in problems {
        output::problem("error:", &problem.to_string());
    }
    let of = match guests {
        [] => "no guests".to_owned(),
        [one] => format!("1 guest: {one}"),
        several => format!("{} guests: {}", several.len(), several.join(", ")),
    };
    match problems.len() {
        0 => output::success("ok:", &of),
        1 => output::status(&format!("1 problem; {of}")),
        count => output::status(&format!("{count} problems; {of}")),
    }
}

/// The components that are objects, each with its guest's name.
fn on_servers(config: &Config) -> impl Iterator<Item = (&String, &ComponentSource)> {
    let components = config
        .guests
        .iter()
        .flat_map(|(name, guest)| guest.components().map(move |one| (name, one)));
    components.filter(|(_, component)| matches!(component, ComponentSource::Object { .. }))
}

/// Problems of the components, each where its component is named. A component that several guests run is read once.
pub(super) fn component_problems(config: &Config, locations: &Locations) -> Vec<Problem> {
    let cache = config.host.cache.as_deref();
    let mut seen: BTreeMap<&Path, Vec<String>> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, guest) in &config.guests {
        let canary = guest.canary.as_ref().map(|canary| &canary.component);
        let named = [
            (Some(&guest.component), locations.components.get(name), ""),
            (canary, locations.canaries.get(name), "its canary: "),
        ];
        for (component, location, what) in named {
            // An object is the server's, which is not asked.
            let (Some(ComponentSource::File(file)), Some(location)) = (component, location) else {
                continue;
            };
            // The name is wrong, which is a problem of the settings already.
            if file.as_os_str().is_empty() {
                continue;
            }
            let found = seen.entry(file).or_insert_with(|| inspect(file, cache));
            let problem = |message: &String| Problem {
                location: location.clone(),
                message: format!("guest {name:?}: {what}{message}"),
            };
            problems.extend(found.iter().map(problem));
        }
    }
    problems
}

fn inspect(component: &Path, cache: Option<&Path>) -> Vec<String> {
    match wharf::inspect(component, cache) {
        Ok(inspection) => inspection.problems,
        Err(error) => vec![format!("{:#}", anyhow::Error::from(error))],
    }
}
