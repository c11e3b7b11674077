//! A real nats-server for one test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use wharf::config::{ConnectionSettings, FilterMode};

use crate::wait::{PATIENCE, soon};

/// The server's program: `$WHARF_NATS_SERVER`, or else the one on PATH.
#[must_use]
pub fn nats_server() -> PathBuf {
    std::env::var_os("WHARF_NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from)
}

/// The use of the filter in this program's tests: those of the connection are built twice, to be run without it and with it.
/// All others leave it to the host.
#[must_use]
pub fn filter() -> FilterMode {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_stem().unwrap_or_default().to_string_lossy();
    if name.starts_with("connection_filtered-") {
        FilterMode::Always
    } else if name.starts_with("connection-") {
        FilterMode::Never
    } else {
        FilterMode::Auto
    }
}

/// A nats-server on a port of its own, with its data in a directory that goes with it. Killed when dropped.
///
/// Stopped and started again, it keeps its port and its data.
#[derive(Debug)]
pub struct TestServer {
    port: u16,
    monitoring: u16,
    directory: TempDir,
    child: Option<Child>,
}

impl TestServer {
    /// Starts a server with `JetStream` and this configuration; empty for none. `DIR` in it becomes the server's
    /// directory, where [`TestServer::start_in`] may have put files for it.
    ///
    /// # Errors
    /// When there is no nats-server, or it does not start: with what it printed.
    pub async fn start(config: &str) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, config).await
    }

    /// The same, in this directory.
    ///
    /// # Errors
    /// As [`TestServer::start`].
    pub async fn start_in(directory: TempDir, config: &str) -> Result<Self> {
        let mut server = Self {
            port: 0,
            monitoring: 0,
            directory,
            child: None,
        };
        server.configure(config)?;
        server.spawn().await?;
        Ok(server)
    }

    /// Where clients connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The server's directory: configuration, log, data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Settings of a connection to this server: impatient, but it tries for ever.
    #[must_use]
    pub fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            servers: self.url().into(),
            max_reconnect: None,
            reconnect_wait: Duration::from_millis(50),
            drain_timeout: Duration::from_secs(10),
            filter: filter(),
            ..ConnectionSettings::default()
        }
    }

    /// What the server tells of itself, such as `/connz?state=closed`.
    ///
    /// # Errors
    /// When it does not answer in JSON.
    pub async fn monitor(&self, path: &str) -> Result<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitoring)).await?;
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("the answer has no body")?;
        Ok(serde_json::from_str(body)?)
    }

    /// A client without a name or password, besides the one under test.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub async fn client(&self) -> Result<async_nats::Client> {
        async_nats::connect(self.url())
            .await
            .with_context(|| format!("no client of {}", self.url()))
    }

    /// Stops the server in good order.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.reap().await
    }

    /// Ends the server at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.reap().await
    }

    /// Replaces the configuration; it counts from the next start on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, config: &str) -> Result<()> {
        let dir = self.directory.path().display().to_string();
        // A server that trusts an operator, or one of a cluster, wants more of a configuration to have JetStream.
        let jetstream = if config.contains("operator:") || config.contains("cluster {") {
            String::new()
        } else {
            format!("jetstream {{ store_dir: \"{dir}/jetstream\" }}")
        };
        let config = format!("{jetstream}\n{}", config.replace("DIR", &dir));
        Ok(std::fs::write(
            self.directory.path().join("nats.conf"),
            config,
        )?)
    }

    /// Starts it again after [`TestServer::stop`] or [`TestServer::kill`], on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server is running");
        self.spawn().await
    }

    /// Stops it and starts it again.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// Replaces the configuration and has the server read it.
    ///
    /// # Errors
    /// When the server is not running.
    pub fn reload(&self, config: &str) -> Result<()> {
        self.configure(config)?;
        self.signal(Signal::HUP)
    }

    /// Announces the server's end to its clients, and ends it.
    ///
    /// # Errors
    /// When the server is not running.
    pub fn lame_duck(&self) -> Result<()> {
        self.signal(Signal::USR2)
    }

    /// Lets it keep its connections and do nothing.
    ///
    /// # Errors
    /// When the server is not running.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // It may still answer until it has stopped.
        waitpid(Some(self.pid()?), WaitOptions::UNTRACED)?;
        Ok(())
    }

    /// What the server has logged so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.directory.path().join("nats.log"),
        )?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    fn pid(&self) -> Result<Pid> {
        let id = self
            .child
            .as_ref()
            .and_then(Child::id)
            .context("the server is not running")?;
        Pid::from_raw(i32::try_from(id)?).context("a process has an id")
    }

    async fn reap(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the server is not running")?;
        soon("the server stops", child.wait()).await??;
        Ok(())
    }

    async fn spawn(&mut self) -> Result<()> {
        let directory = self.directory.path();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(directory.join("nats.log"))?;
        let port = if self.port == 0 {
            "-1".to_owned()
        } else {
            self.port.to_string()
        };
        let child = Command::new(nats_server())
            .args([
                "--addr",
                "127.0.0.1",
                "--port",
                &port,
                "--http_port",
                "-1",
                "--config",
            ])
            .arg(directory.join("nats.conf"))
            .arg("--ports_file_dir")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start nats-server: set WHARF_NATS_SERVER to its program")?;
        let id = child.id().context("a running server has an id")?;
        self.child = Some(child);
        (self.port, self.monitoring) = self
            .listening(directory.join(format!("nats-server_{id}.ports")))
            .await?;
        Ok(())
    }

    /// Waits until the server has written where it listens, and does so.
    async fn listening(&mut self, ports: PathBuf) -> Result<(u16, u16)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((port, monitoring)) = read_ports(&ports)
                && TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            {
                return Ok((port, monitoring));
            }
            let child = self.child.as_mut().context("the server is not running")?;
            if let Some(status) = child.try_wait()? {
                bail!("nats-server ended with {status}:\n{}", self.log()?);
            }
            ensure!(
                Instant::now() < deadline,
                "nats-server does not listen:\n{}",
                self.log()?
            );
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads `{"nats":["nats://127.0.0.1:4222"],"monitoring":["http://…"], …}`. `None` while it is not complete.
fn read_ports(ports: &Path) -> Option<(u16, u16)> {
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(ports).ok()?).ok()?;
    let port = |what: &str| {
        ports
            .get(what)?
            .get(0)?
            .as_str()?
            .rsplit_once(':')?
            .1
            .parse()
            .ok()
    };
    Some((port("nats")?, port("monitoring")?))
}
