//! The `wharf` command, as a child process.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How many of the host's last lines are kept, for the case that it fails.
const KEPT_LINES: usize = 50;

/// A running host with a server of its own. Dropping it kills it: [`Wharf::stop`] it instead.
pub(crate) struct Wharf {
    child: Child,
    url: String,
    log: JoinHandle<VecDeque<String>>,
}

impl Wharf {
    /// Starts `wharf run` with a configuration file and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start within a time: with what it wrote.
    pub(crate) async fn start(program: &Path, config: &Path, within: Duration) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        // Out of our process group: an interrupt from the terminal is ours to pass on, once.
        command.process_group(0).kill_on_drop(true);
        // These would win over the configuration file.
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|name| name.to_string_lossy().starts_with("NATS_")) {
            command.env_remove(name);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stderr = child
            .stderr
            .take()
            .context("the host's stderr is not ours to read")?;
        let (ready, is_ready) = oneshot::channel();
        let log = tokio::spawn(follow(BufReader::new(stderr).lines(), ready));
        let url = tokio::time::timeout(within, is_ready).await;
        match url {
            Ok(Ok(url)) => Ok(Self { child, url, log }),
            // Its stderr ended: it ended, or will now.
            Ok(Err(_)) => {
                let (status, log) = (child.wait().await?, log.await?);
                bail!(
                    "the host did not start ({status}). It wrote:\n{}",
                    joined(log)
                )
            }
            Err(_) => {
                child.kill().await?;
                bail!(
                    "the host was not ready after {within:?}. It wrote:\n{}",
                    joined(log.await?)
                )
            }
        }
    }

    /// The URL of the host's own server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks the host to stop, and waits until it has drained. Returns how it ended, and the last lines it wrote.
    ///
    /// # Errors
    /// If it does not end within a time; it is killed then.
    pub(crate) async fn stop(mut self, within: Duration) -> Result<(ExitStatus, String)> {
        if let Some(pid) = self.child.id() {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .context("the host has no process id")?;
            kill_process(pid, Signal::TERM).context("cannot tell the host to stop")?;
        }
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let Ok(status) = ended else {
            self.child.kill().await?;
            bail!(
                "the host had not stopped after {within:?}. It wrote:\n{}",
                joined(self.log.await?)
            )
        };
        Ok((
            status.context("cannot wait for the host")?,
            joined(self.log.await?),
        ))
    }
}

/// Reads all that the host writes, so that it never waits for us; says when it is ready; keeps the last lines.
async fn follow(
    mut lines: Lines<BufReader<ChildStderr>>,
    ready: oneshot::Sender<String>,
) -> VecDeque<String> {
    let mut ready = Some(ready);
    let mut kept = VecDeque::with_capacity(KEPT_LINES);
    // An unreadable line ends it like the end of the file does: what is kept is for people, in a failure.
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(url) = ready_url(&line)
            && let Some(ready) = ready.take()
        {
            // Nobody waits any more if it came too late.
            drop(ready.send(url.to_owned()));
        }
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    kept
}

/// The server in `ready: 1 guest, nats://127.0.0.1:4222`.
fn ready_url(line: &str) -> Option<&str> {
    line.strip_prefix("ready: ")?
        .rsplit_once(", ")
        .map(|(_, url)| url.trim())
}

fn joined(lines: VecDeque<String>) -> String {
    Vec::from(lines).join("\n")
}
