//! Fuzz targets, run longer than `cargo test` runs them.

use crate::workspace::Workspace;
use crate::{Result, process};

/// The path of the tests that are targets.
const TARGETS: &str = "fuzz::targets::run::";

const USAGE: &str = "\
`cargo xtask fuzz [TARGET] [--executions N | --seconds N] [--seed N] [--release]`: without N each target runs for 60 \
seconds, all side by side, from a seed of chance, which is printed";

/// What to run, and for how long.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// The target. Empty for all.
    target: String,
    /// Settings for the targets, as environment variables.
    variables: Vec<(&'static str, String)>,
    /// Runs what was compiled with optimisations.
    release: bool,
}

/// Runs fuzz targets.
pub(crate) fn fuzz(workspace: &Workspace, arguments: &[String]) -> Result {
    let options = parse(arguments)?;
    let mut cargo = process::cargo();
    // The tests' own build, so that nothing is compiled twice.
    cargo
        .current_dir(&workspace.root)
        .args(["test", "--workspace", "--lib"]);
    if options.release {
        cargo.arg("--release");
    }
    cargo
        .arg(format!("{TARGETS}{}", options.target))
        .args(["--", "--ignored", "--nocapture", "--test-threads", "16"])
        .envs(options.variables);
    process::run(&mut cargo)
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let variable = match argument.as_str() {
            "--executions" => "WHARF_FUZZ_EXECUTIONS",
            "--seconds" => "WHARF_FUZZ_SECONDS",
            "--seed" => "WHARF_FUZZ_SEED",
            "--release" => {
                options.release = true;
                continue;
            }
            target if !target.starts_with('-') && options.target.is_empty() => {
                target.clone_into(&mut options.target);
                continue;
            }
            other => return Err(format!("`{other}` is not known here: {USAGE}")),
        };
        let number = arguments.next().filter(|text| text.parse::<u64>().is_ok());
        let number = number.ok_or_else(|| format!("{argument} takes a number: {USAGE}"))?;
        options.variables.push((variable, number.clone()));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments)
    }

    #[test]
    fn a_target_and_its_limits_are_read_and_mistakes_are_told() {
        let expected = Options {
            target: "key".to_owned(),
            variables: vec![
                ("WHARF_FUZZ_EXECUTIONS", "7".to_owned()),
                ("WHARF_FUZZ_SEED", "1".to_owned()),
            ],
            release: true,
        };
        assert_eq!(
            parsed("key --executions 7 --seed 1 --release"),
            Ok(expected)
        );
        assert_eq!(parsed(""), Ok(Options::default()));
        for wrong in ["--seconds", "--seconds x", "--what", "key policy"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
