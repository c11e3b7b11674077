//! A nats-server of a test's own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

/// Ends with the test.
pub(crate) struct TestServer {
    child: Child,
    url: String,
    _data: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(&["--jetstream"]).await
    }

    pub(crate) async fn start_with(arguments: &[&str]) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let program = std::env::var_os("WHARF_NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let child = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(data.path())
            .arg("--store_dir")
            .arg(data.path())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("no nats-server starts: name one in WHARF_NATS_SERVER")?;
        let ports = data.path().join(format!("nats-server_{}.ports", child.id()));
        let mut server = Self { child, url: String::new(), _data: data };
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.url.is_empty() {
            let text = std::fs::read(&ports).unwrap_or_default();
            if let Ok(ports) = serde_json::from_slice::<serde_json::Value>(&text) {
                server.url = ports["nats"][0].as_str().context("the server names no port")?.to_owned();
            } else if Instant::now() > deadline {
                bail!("nats-server does not say its port");
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(server)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it keep its connections and do nothing.
    pub(crate) fn freeze(&self) -> Result<()> {
        let server = Pid::from_child(&self.child);
        kill_process(server, Signal::STOP)?;
        waitpid(Some(server), WaitOptions::UNTRACED)?;
        Ok(())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.kill();
    }
}
