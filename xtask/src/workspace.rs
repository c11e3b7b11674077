//! Where things are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// The folders of this workspace.
pub(crate) struct Workspace {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this program was built from, and the target directory that it was built in: that
    /// is the right one whether an option, the environment or a configuration file named it.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("xtask is not in a workspace")?;
        let program = env::current_exe()
            .map_err(|error| format!("cannot tell where this program is: {error}"))?;
        let target = program
            .ancestors()
            .nth(2)
            .ok_or("this program is not in a target directory")?;
        Ok(Self {
            root: root.to_owned(),
            target: target.to_owned(),
        })
    }

    /// Where tools from package registries go.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where a native program of this workspace is, once it was built.
    pub(crate) fn program(&self, profile: &str, name: &str) -> PathBuf {
        self.target
            .join(profile)
            .join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// A path as people see it: relative to the workspace where it is inside of it.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// The folders in a folder, in the order of their names. None where there is no such folder.
pub(crate) fn folders(of: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(of)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

/// What is in a folder, in the order of its names. Nothing where there is no such folder.
pub(crate) fn entries(of: &Path) -> Result<Vec<PathBuf>> {
    if !of.exists() {
        return Ok(Vec::new());
    }
    let cannot = |error| format!("cannot list {}: {error}", of.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(of).map_err(cannot)? {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    Ok(paths)
}
