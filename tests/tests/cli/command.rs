//! The command in a directory of its own.

use std::path::Path;

use tempfile::TempDir;
use tokio::process::Command;
use wharf_tests::wharf::{self, Ended};

/// An empty directory to run the command in, with no settings in the environment.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        wharf::command(self.path(), arguments).unwrap()
    }

    /// Runs the command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with_stdin(arguments, b"").await
    }

    pub(crate) async fn run_with_stdin(&self, arguments: &[&str], stdin: &[u8]) -> Ended {
        wharf::run(self.command(arguments), stdin).await.unwrap()
    }
}

/// Where the component of a guest is, for arguments and files.
pub(crate) fn guest(name: &str) -> String {
    let component = wharf_tests::component(name).unwrap();
    component.into_os_string().into_string().unwrap()
}
