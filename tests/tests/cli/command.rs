//! The command as a child process.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// How long anything may take; compiling a component in a test build included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An empty directory to run the command in, with a home of its own and no settings in the environment.
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
        let program = target().join("debug/wharf");
        assert!(
            program.exists(),
            "{} is not built: run `cargo build` first",
            program.display()
        );
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .kill_on_drop(true);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("WHARF_NATS_SERVER", wharf_tests::nats_server());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with_stdin(arguments, b"").await
    }

    pub(crate) async fn run_with_stdin(&self, arguments: &[&str], stdin: &[u8]) -> Ended {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // Commands that do not read it may be gone by now.
        let _ = pipe.write_all(stdin).await;
        drop(pipe);
        let output = timeout(PATIENCE, child.wait_with_output())
            .await
            .expect("the command ends")
            .unwrap();
        output.into()
    }
}

/// The directory that everything is built into.
pub(crate) fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors()
        .find(|path| path.file_name().is_some_and(|name| name == "debug"))
        .unwrap()
        .with_file_name("")
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr,
        }
    }
}

/// A command that keeps running.
pub(crate) struct Running {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            child,
            stderr,
            seen: Vec::new(),
        }
    }

    /// Waits for a line with this in it.
    pub(crate) async fn says(&mut self, part: &str) -> String {
        let found = timeout(PATIENCE, async {
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                self.seen.push(line.clone());
                if line.contains(part) {
                    return Some(line);
                }
            }
            None
        })
        .await;
        found
            .ok()
            .flatten()
            .unwrap_or_else(|| panic!("no line with {part:?} in:\n{}", self.seen.join("\n")))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end: the exit code, and everything that it said.
    pub(crate) async fn ends(mut self) -> (Option<i32>, String) {
        let status = timeout(PATIENCE, async {
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                self.seen.push(line);
            }
            self.child.wait().await.unwrap()
        });
        let status = status.await.expect("the command ends");
        (status.code(), self.seen.join("\n"))
    }
}
