//! Running other programs.

use std::process::{Command, Output, Stdio};

use crate::Result;

/// Cargo, the one that runs this program.
///
/// What it told us of ourselves is not passed on: build scripts that look at it would run again, and what depends on
/// them would be compiled again, whenever Cargo is run by hand and by us in turn.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Says what is about to run, runs it with our own input and output, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result {
    eprintln!("$ {}", shown(command));
    let status = command
        .status()
        .map_err(|error| format!("cannot run `{}`: {error}", shown(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` failed: {status}", shown(command)))
    }
}

/// Runs a program silently and returns what it wrote, or what it complained about.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let ended = command.stdin(Stdio::null()).output();
    let Output {
        status,
        stdout,
        stderr,
    } = ended.map_err(|error| format!("cannot run `{}`: {error}", shown(command)))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(format!(
        "`{}` failed: {status}\n{}",
        shown(command),
        String::from_utf8_lossy(&stderr).trim()
    ))
}

/// A command line as people see it: the program by its name alone.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut line = program
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
