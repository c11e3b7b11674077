//! A nats-server of our own as a child process: what `wharf run` uses where no server is configured.

mod find;
mod server_error;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use server_error::ServerError;

use server_error::STOP_TIMEOUT;

/// The time that the server may take to listen; it reads its streams first.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The time to wait for the server of a host that has just ended, or was killed.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at a file that another process is about to change.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A nats-server with `JetStream`, on a free port of the loopback interface.
///
/// It stops when this is dropped, in the background; [`Server::stop`] waits for it. On Linux it also stops when the
/// process that started it dies.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = wharf::Server::start(".wharf".as_ref()).await?;
/// println!("clients connect to {}", server.url());
/// server.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    /// The URL that clients connect to, with the port that the server has chosen.
    url: String,
    /// The guard that stops the server when dropped.
    stop: DropGuard,
    /// The way in which the server ended. None while it runs.
    end: watch::Receiver<Option<End>>,
}

/// The way in which the server ended.
#[derive(Debug, Clone)]
enum End {
    Stopped,
    Killed,
    ByItself(String),
}

impl Server {
    /// Starts the nats-server that `$WHARF_NATS_SERVER` names, or else the first on PATH, of version 2.11 or newer.
    ///
    /// It keeps its streams in `data/nats` and prints to `data/nats.log`; while it runs, `data/url` says where it is.
    ///
    /// # Errors
    /// When there is none, it is too old, does not start, or another host uses the directory.
    pub async fn start(data: &Path) -> Result<Self, ServerError> {
        let stop = CancellationToken::new();
        let (end_sender, end) = watch::channel(None);
        let (started_sender, started) = oneshot::channel();
        let failed = |reason: &str| ServerError::Start {
            reason: reason.to_owned(),
            log: data.join("nats.log"),
        };
        // A thread of its own, because Linux ends the child with the thread that started it.
        std::thread::Builder::new()
            .name("wharf-nats-server".to_owned())
            .spawn({
                let (files, stop) = (Files::new(data), stop.clone());
                move || run(&files, started_sender, &stop, &end_sender)
            })
            .map_err(|error| failed(&error.to_string()))?;
        // From here on the child is stopped when this future is dropped.
        let stop = stop.drop_guard();
        let url = started
            .await
            .map_err(|_| failed("its thread ended without an answer"))??;
        Ok(Self { url, stop, end })
    }

    /// The URL that clients connect to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Completes when the server ends by itself, which it should not, and says how.
    pub fn died(&self) -> impl Future<Output = ServerError> + Send + use<> {
        let end = self.end.clone();
        async {
            match Self::end(end).await {
                End::ByItself(reason) => ServerError::Ended(reason),
                End::Stopped | End::Killed => std::future::pending().await,
            }
        }
    }

    /// Stops the server and waits until it has.
    ///
    /// # Errors
    /// When it had ended before, or did not stop in time and was killed.
    pub async fn stop(self) -> Result<(), ServerError> {
        drop(self.stop);
        match Self::end(self.end).await {
            End::Stopped => Ok(()),
            End::Killed => Err(ServerError::Killed),
            End::ByItself(reason) => Err(ServerError::Ended(reason)),
        }
    }

    async fn end(mut end: watch::Receiver<Option<End>>) -> End {
        match end.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            Ok(None) | Err(_) => End::ByItself("the thread that watches it ended".to_owned()),
        }
    }
}

/// Files of the directory.
struct Files {
    /// The directory itself, which is made if it is not there.
    data: PathBuf,
    /// The directory of the server's streams, kept from run to run.
    store: PathBuf,
    /// The file that is locked as long as a server runs here.
    lock: PathBuf,
    /// The file that the server prints to, kept from run to run.
    log: PathBuf,
    /// The file with the URL of the server, for other programs. Removed when the server has ended.
    url: PathBuf,
}

impl Files {
    fn new(data: &Path) -> Self {
        let [store, lock, log, url] =
            ["nats", "lock", "nats.log", "url"].map(|name| data.join(name));
        Self {
            data: data.to_owned(),
            store,
            lock,
            log,
            url,
        }
    }

    fn error(path: &Path) -> impl FnOnce(io::Error) -> ServerError {
        let path = path.to_owned();
        |source| ServerError::Data { path, source }
    }

    /// One host at a time. A server that was left behind holds the lock, too.
    async fn lock(&self) -> Result<File, ServerError> {
        std::fs::create_dir_all(&self.data).map_err(Self::error(&self.data))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.lock);
        let lock = lock.map_err(Self::error(&self.lock))?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    sleep(LOOK_INTERVAL).await
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(ServerError::InUse {
                        data: self.data.clone(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(Self::error(&self.lock)(error)),
            }
        }
    }

    /// The server writes where it listens into a file that is named after its process.
    fn ports(&self, id: u32) -> PathBuf {
        self.data.join(format!("nats-server_{id}.ports"))
    }

    /// Removes what a server that was killed has left behind: another may get the same process id.
    fn tidy(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.data)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "ports")
                || path == self.url
            {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The last line of the server's log.
    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        text.lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it printed nothing")
            .to_owned()
    }
}

/// The thread: from the start of the server to its end.
fn run(
    files: &Files,
    started: oneshot::Sender<Result<String, ServerError>>,
    stop: &CancellationToken,
    end: &watch::Sender<Option<End>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody waits any more if that cannot be delivered; so it is below.
            drop(started.send(Err(Files::error(&files.data)(error))));
            return;
        }
    };
    runtime.block_on(async {
        match stop.run_until_cancelled(start(files)).await {
            None => {}
            Some(Err(error)) => drop(started.send(Err(error))),
            Some(Ok((url, child))) => {
                drop(started.send(Ok(url)));
                let ended = watch_over(child, stop, files).await;
                end.send_replace(Some(ended));
            }
        }
    });
}

async fn start(files: &Files) -> Result<(String, Child), ServerError> {
    let program = find::program().await?;
    let lock = files.lock().await?;
    files.tidy().map_err(Files::error(&files.data))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(&files.log)
        .map_err(Files::error(&files.log))?;
    let failed = |reason: String| ServerError::Start {
        reason,
        log: files.log.clone(),
    };
    let mut child = command(&program, files, lock, log)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let ports = files.ports(child.id().unwrap_or_default());
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(url) = listening(&ports) {
            std::fs::write(&files.url, format!("{url}\n")).map_err(Files::error(&files.url))?;
            return Ok((url, child));
        }
        if let Some(status) = child
            .try_wait()
            .map_err(|error| failed(error.to_string()))?
        {
            return Err(failed(format!("{status}, {}", files.last_words())));
        }
        if Instant::now() >= deadline {
            return Err(failed(format!(
                "it does not listen within {} seconds",
                START_TIMEOUT.as_secs()
            )));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn command(program: &Path, files: &Files, lock: File, log: File) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "--addr",
            "127.0.0.1",
            "--port",
            "-1",
            "--jetstream",
            "--store_dir",
        ])
        .arg(&files.store)
        .arg("--ports_file_dir")
        .arg(&files.data)
        // The server holds the lock as long as it lives, should it outlive us: it never reads its input.
        .stdin(lock)
        .stdout(std::process::Stdio::null())
        .stderr(log)
        // Ctrl-C at the terminal is for us: the server stops last.
        .process_group(0)
        .kill_on_drop(true);
    #[cfg(target_os = "linux")]
    stop_with_us(&mut command);
    command
}

/// Has the kernel stop the child when the thread that starts it ends, however that comes about.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn stop_with_us(command: &mut Command) {
    let us = rustix::process::getpid();
    // SAFETY: between fork and exec only what is safe in a signal handler may be called. These are two plain system
    // calls, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            // We may have died before that took effect.
            if rustix::process::getppid() == Some(us) {
                Ok(())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        });
    }
}

/// `{"nats":["nats://127.0.0.1:4222"], …}`. `None` while it is not complete.
fn listening(ports: &Path) -> Option<String> {
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(ports).ok()?).ok()?;
    Some(ports.get("nats")?.get(0)?.as_str()?.to_owned())
}

/// Waits for the server's end, or stops it when told to.
async fn watch_over(mut child: Child, stop: &CancellationToken, files: &Files) -> End {
    let end = tokio::select! {
        status = child.wait() => {
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            let reason = format!("{status}, {} (see {})", files.last_words(), files.log.display());
            tracing::error!(target: "wharf::server", reason, "nats-server ended by itself");
            End::ByItself(reason)
        }
        () = stop.cancelled() => terminate(&mut child).await,
    };
    if let Err(error) = files.tidy() {
        tracing::warn!(target: "wharf::server", %error, "cannot tidy up {}", files.data.display());
    }
    end
}

async fn terminate(child: &mut Child) -> End {
    // It has an id until it was waited for, and it is waited for only here: no other process can have got its id.
    if let Some(pid) = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        tracing::warn!(target: "wharf::server", %error, "cannot tell nats-server to stop");
    }
    match timeout(STOP_TIMEOUT, child.wait()).await {
        Ok(Ok(_)) => End::Stopped,
        Ok(Err(error)) => End::ByItself(error.to_string()),
        Err(_) => {
            if let Err(error) = child.kill().await {
                tracing::warn!(target: "wharf::server", %error, "cannot kill nats-server");
            }
            End::Killed
        }
    }
}
