//! The command `wharf`, as a child process. It is ended by its handle, never by its name, and killed when dropped.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{nats_server, program, soon};

/// The command, to be run in a directory that is its home, too, with no settings in its environment.
///
/// # Errors
/// When it has not been built.
pub fn command(directory: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("wharf")?);
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .env_clear()
        .env("HOME", directory)
        .env("WHARF_NATS_SERVER", nats_server());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    Ok(command)
}

/// Runs a command to its end, with this on its stdin.
///
/// # Errors
/// When it cannot be run, or does not end in time.
pub async fn run(mut command: Command, stdin: &[u8]) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut pipe = child.stdin.take().context("no stdin")?;
    // Commands that do not read it may be gone by now.
    let _ = pipe.write_all(stdin).await;
    drop(pipe);
    let output = soon("the command ends", child.wait_with_output()).await??;
    Ok(Ended {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).context("stderr is text")?,
    })
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All of stdout; empty for a [`Wharf`], whose stdout is the test's.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: String,
}

impl Ended {
    /// What it wrote to stderr, if it ended with exit code 0.
    ///
    /// # Errors
    /// When it ended in another way: with what it wrote.
    pub fn well(self) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.stderr),
            Some(code) => bail!("it ended with exit code {code}. It wrote:\n{}", self.stderr),
            None => bail!("a signal ended it. It wrote:\n{}", self.stderr),
        }
    }

    /// Its stdout as text.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.stdout)?)
    }

    /// Its stdout as JSON.
    ///
    /// # Errors
    /// When it is none: with all that it wrote.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// A command that keeps running, such as `wharf run`.
#[derive(Debug)]
pub struct Wharf {
    child: Child,
    /// The lines of its stderr so far, which end when it does.
    lines: watch::Receiver<Vec<String>>,
    /// How many of the lines [`Wharf::says`] has passed.
    passed: usize,
    /// Reads its stderr, so that it never waits for us.
    reading: AbortOnDropHandle<Result<()>>,
}

impl Wharf {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be run, ends, or is not ready in time: with what it wrote.
    pub async fn start(command: Command) -> Result<Self> {
        let mut wharf = Self::spawn(command)?;
        wharf.says("ready: ").await?;
        Ok(wharf)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {:?}", command.as_std()))?;
        let stderr = child.stderr.take().context("no stderr")?;
        let (sender, lines) = watch::channel(Vec::new());
        Ok(Self {
            child,
            lines,
            passed: 0,
            reading: AbortOnDropHandle::new(tokio::spawn(read(stderr, sender))),
        })
    }

    /// Waits for a line with this in it, after the one that was waited for before, and returns it.
    ///
    /// # Errors
    /// When it ends or the time is over before there is one: with what it wrote.
    pub async fn says(&mut self, part: &str) -> Result<String> {
        let passed = self.passed;
        let find = |lines: &[String]| {
            let found = lines[passed..].iter().position(|line| line.contains(part));
            found.map(|position| passed + position)
        };
        let waited = self.lines.wait_for(|lines| find(lines).is_some());
        let ended = soon(part, waited).await.map(|lines| lines.is_err());
        // Not the value that was waited for: that would lock what the reader writes to.
        let lines = self.lines.borrow();
        let Some(position) = find(&lines) else {
            let why = match ended {
                Ok(_) => "it ended",
                Err(_) => "the time was over",
            };
            bail!(
                "{why} before it wrote a line with {part:?}. It wrote:\n{}",
                lines.join("\n")
            )
        };
        self.passed = position + 1;
        Ok(lines[position].clone())
    }

    /// The process, to be measured.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("it has ended")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid()?.try_into()?).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Tells it to stop, and waits for its end.
    ///
    /// # Errors
    /// When it had ended already, or does not end in time: with what it wrote.
    pub async fn stop(self) -> Result<Ended> {
        if let Err(error) = self.signal(Signal::TERM) {
            let log = self.lines.borrow().join("\n");
            return Err(error.context(format!("it was not there to be stopped. It wrote:\n{log}")));
        }
        self.ends().await
    }

    /// Waits for its end. What [`Wharf::says`] has passed is in what it wrote, too.
    ///
    /// # Errors
    /// When it does not end in time, or its stderr is no text: with what it wrote.
    pub async fn ends(mut self) -> Result<Ended> {
        let ended = soon("it ends", async {
            let status = self.child.wait().await?;
            // Its stderr ends with it; or with its last child, whose lines are its own, too.
            (&mut self.reading).await??;
            anyhow::Ok(status)
        });
        let ended = ended.await.and_then(|ended| ended);
        let stderr = self.lines.borrow().join("\n");
        let status = ended.with_context(|| format!("it wrote:\n{stderr}"))?;
        Ok(Ended {
            code: status.code(),
            stdout: Vec::new(),
            stderr,
        })
    }
}

async fn read(stderr: ChildStderr, lines: watch::Sender<Vec<String>>) -> Result<()> {
    let mut read = BufReader::new(stderr).lines();
    while let Some(line) = read.next_line().await? {
        lines.send_modify(|lines| lines.push(line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that does what a host might do.
    fn shell(script: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.args(["-c", script]);
        shell
    }

    #[tokio::test]
    async fn one_that_ends_before_it_is_ready_is_an_error_with_what_it_wrote() -> Result<()> {
        let script = "echo 'error: no such file' >&2; exit 2";
        let error = Wharf::start(shell(script)).await.err();
        let error = error.context("it started")?.to_string();
        assert!(error.starts_with("it ended before"), "{error}");
        assert!(error.contains("error: no such file"), "{error}");
        Ok(())
    }

    #[tokio::test]
    async fn what_it_says_is_waited_for_in_its_order_and_kept_to_its_end() -> Result<()> {
        let script = "for line in one two one; do echo $line >&2; done; read -r || exit 3";
        let mut wharf = Wharf::spawn(shell(script))?;
        assert_eq!(wharf.says("one").await?, "one");
        assert_eq!(wharf.says("o").await?, "two");
        assert_eq!(wharf.says("one").await?, "one");
        let ended = wharf.ends().await?;
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(3), "one\ntwo\none")
        );
        let error = ended.well().err().context("it went well")?.to_string();
        assert!(error.contains("exit code 3"), "{error}");
        Ok(())
    }

    #[tokio::test]
    async fn one_that_is_told_to_stop_is_waited_for() -> Result<()> {
        let script =
            "trap 'echo bye >&2; exit 0' TERM; echo 'ready: it' >&2; while :; do sleep 0.01; done";
        let wharf = Wharf::start(shell(script)).await?;
        assert_eq!(wharf.stop().await?.well()?, "ready: it\nbye");
        Ok(())
    }
}
