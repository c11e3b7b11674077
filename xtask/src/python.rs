//! Programs that come as Python packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::Workspace;
use crate::{Result, process};

/// The oldest Python that all packages used here take.
const OLDEST: &str = "import sys; sys.exit(sys.version_info < (3, 10))";

/// Installs one version of a package into a folder of its own in `target/tools`, unless it is there, and returns
/// the folder. Its programs are in `bin`, its modules in the folder itself.
pub(crate) fn package(workspace: &Workspace, name: &str, version: &str) -> Result<PathBuf> {
    let folder = workspace.tools().join(format!("{name}-{version}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    // Installed elsewhere and moved: what was interrupted is never taken for what is complete.
    let unfinished = workspace
        .tools()
        .join(format!("{name}-{version}.{}.part", std::process::id()));
    let installed = install(workspace, &format!("{name}=={version}"), &unfinished);
    let moved = installed.and_then(|()| {
        fs::rename(&unfinished, &folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))
    });
    if moved.is_err() && unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .map_err(|error| format!("cannot remove {}: {error}", unfinished.display()))?;
    }
    // Another run may have been faster.
    if folder.is_dir() {
        Ok(folder)
    } else {
        moved.map(|()| folder)
    }
}

/// Python 3.
pub(crate) fn python() -> Result<Command> {
    let python = || Command::new("python3");
    process::output(python().args(["-c", OLDEST])).map_err(|_| {
        "there is no Python 3.10 or newer (`python3`) to install it with.\n\
         On Debian and Ubuntu: `apt-get install python3 python3-pip`. Elsewhere: https://www.python.org/downloads"
    })?;
    Ok(python())
}

fn install(workspace: &Workspace, package: &str, folder: &Path) -> Result {
    let mut pip = pip(workspace)?;
    // As a variable: an older pip ignores what it does not know.
    pip.env("PIP_ROOT_USER_ACTION", "ignore").args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    pip.args(["--no-compile", "--target"])
        .arg(folder)
        .arg(package);
    process::run(&mut pip).map_err(|error| {
        format!("{package} could not be installed from PyPI. It takes the network, once. {error}")
    })
}

/// pip, or pip in a virtual environment: some systems have one, some the other.
fn pip(workspace: &Workspace) -> Result<Command> {
    let mut pip = python()?;
    pip.args(["-m", "pip"]);
    if process::output(python()?.args(["-m", "pip", "--version"])).is_ok() {
        return Ok(pip);
    }
    let environment = workspace.tools().join("venv");
    let program = environment.join("bin/python3");
    if process::output(Command::new(&program).args(["-m", "pip", "--version"])).is_err() {
        process::output(python()?.args(["-m", "venv", "--clear"]).arg(&environment)).map_err(|error| {
            format!("Python has neither pip nor venv.\nOn Debian and Ubuntu: `apt-get install python3-pip`.\n{error}")
        })?;
    }
    let mut pip = Command::new(program);
    pip.args(["-m", "pip"]);
    Ok(pip)
}
