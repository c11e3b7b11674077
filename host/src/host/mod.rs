//! The host: it puts the rooms together, and takes them apart in the right order.

mod running;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, MOST_INSTANCES};
use crate::connection::{ConnectError, ConnectionCounters};
use crate::connector::Connector;
use crate::error::Error;
use crate::guest::LoadError;
use crate::metrics::GuestStats;
use crate::server::ServerError;

use running::{Handles, Plan};

/// A running host: one connection, and the guests that it was configured with.
///
/// It runs on threads of its own, so that it can be used from any runtime and no guest can hold up its embedder. Dropping
/// it starts the same drain as [`Host::shutdown`], without waiting for it.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use wharf::Host;
/// use wharf::config::{Config, GuestSettings};
///
/// let mut config = Config::default();
/// let mut quakes = GuestSettings::new("quakes.wasm");
/// quakes.subscribe.push("quakes.*".into());
/// config.guests.insert("quakes".to_owned(), quakes);
///
/// let host = Host::builder(config).start().await?;
/// tokio::signal::ctrl_c().await?;
/// let report = host.shutdown().await;
/// assert_eq!(report.abandoned, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Host {
    handles: Handles,
    stop: CancellationToken,
    report: watch::Receiver<Option<DrainReport>>,
}

/// What a host is started from. Made by [`Host::builder`].
#[derive(Debug)]
#[must_use = "a host runs once it is started"]
pub struct HostBuilder {
    config: Config,
    own_server: Option<PathBuf>,
}

/// What became of the messages that had arrived when a host was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct DrainReport {
    /// Messages that were handled after the stop began.
    pub finished: u64,
    /// Messages that had arrived and were not handled in time.
    pub abandoned: u64,
    /// Messages that were handed back to their stream, for another host.
    pub returned: u64,
    /// What has happened to each guest, from its start to its end.
    pub guests: BTreeMap<String, GuestStats>,
    /// What else went wrong: a server that could not be reached for the last round trip, a guest whose `stop` failed.
    pub problems: Vec<String>,
}

impl DrainReport {
    /// Whether nothing was abandoned and nothing went wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.abandoned == 0 && self.problems.is_empty()
    }
}

/// Why a host did not start. What had been started has been stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A nats-server of our own did not start.
    #[error("cannot start a nats-server of our own")]
    Server(#[source] ServerError),
    /// No server could be reached, or none let us in.
    #[error(transparent)]
    Connect(ConnectError),
    /// A guest did not come into service.
    #[error("cannot start guest {name:?}")]
    Guest {
        /// Its name.
        name: String,
        /// Why.
        source: GuestError,
    },
    /// The guests together ask for more instances than there can be.
    #[error(
        "the guests together ask for {asked} instances, and a host has {MOST_INSTANCES}: lower `instances.max` of some"
    )]
    TooManyInstances {
        /// The sum of their `instances.max`.
        asked: u64,
    },
    /// The machine refused what it takes to run guests: threads or memory.
    #[error("cannot set up what runs guests: {0}")]
    Machine(String),
}

/// Why a guest did not come into service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// Its file is missing, or is no guest.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It trapped, took too long or failed while it started. Says which.
    #[error("{0}")]
    Start(String),
    /// A subscription was refused.
    #[error("cannot subscribe to {subject:?}")]
    Subscribe {
        /// The subject, without the prefix.
        subject: String,
        /// Why.
        source: Error,
    },
}

impl Host {
    /// Prepares a host.
    pub fn builder(config: Config) -> HostBuilder {
        HostBuilder { config, own_server: None }
    }

    /// Publish, subscribe and use buckets over the host's connection.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.handles.connector
    }

    /// What has happened to a guest since it was loaded. `None` if there is no guest of that name.
    #[must_use]
    pub fn stats(&self, guest: &str) -> Option<GuestStats> {
        self.handles.counters.get(guest).map(|counters| counters.snapshot())
    }

    /// What has happened on the connection so far.
    #[must_use]
    pub fn connection_counters(&self) -> ConnectionCounters {
        self.handles.connection.counters()
    }

    /// The URL of the nats-server of our own, if there is one.
    #[must_use]
    pub fn own_server(&self) -> Option<&str> {
        self.handles.server_url.as_deref()
    }

    /// Waits until the connection is lost for good, or a nats-server of our own has ended by itself, and says why. The
    /// host can then only be shut down.
    pub async fn lost(&self) -> String {
        self.handles.lost().await
    }

    /// Drains and stops: no new messages come in, what has arrived is handled, the guests' `stop` is called, and what they
    /// published has reached the server before the connection is closed. All within `drain_timeout`.
    pub async fn shutdown(mut self) -> DrainReport {
        self.stop.cancel();
        match self.report.wait_for(Option::is_some).await {
            Ok(report) => report.clone().unwrap_or_default(),
            Err(_ended) => DrainReport {
                problems: vec!["the host's thread ended without a report".to_owned()],
                ..DrainReport::default()
            },
        }
    }

    /// Runs until a future completes or the connection is lost for good, then shuts down.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(host: wharf::Host) {
    /// let report = host.run_until(async { tokio::signal::ctrl_c().await.ok(); }).await;
    /// # }
    /// ```
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> DrainReport {
        let lost = tokio::select! {
            () = shutdown => None,
            why = self.lost() => Some(why),
        };
        let mut report = self.shutdown().await;
        report.problems.splice(0..0, lost);
        report
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl HostBuilder {
    /// Starts a nats-server of our own, which keeps its data in this directory, and connects to it instead of to the
    /// configured servers. It is stopped last.
    pub fn own_server(mut self, data: impl Into<PathBuf>) -> Self {
        self.own_server = Some(data.into());
        self
    }

    /// Connects, loads and starts every guest, and subscribes them. When it returns they receive messages.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what did not come up. Everything else has been stopped again.
    pub async fn start(self) -> Result<Host, StartError> {
        let asked: u64 = self.config.guests.values().map(|guest| u64::from(guest.instances.max.get())).sum();
        if asked > u64::from(MOST_INSTANCES) {
            return Err(StartError::TooManyInstances { asked });
        }
        let stop = CancellationToken::new();
        // Whoever gives up waiting for the start stops it.
        let guard = stop.clone().drop_guard();
        let (reporter, report) = watch::channel(None);
        let (started, start) = oneshot::channel();
        let plan = Plan { config: self.config, own_server: self.own_server, stop: stop.clone() };
        thread::Builder::new()
            .name("wharf-host".to_owned())
            .spawn(move || running::run(plan, started, &reporter))
            .map_err(|error| StartError::Machine(error.to_string()))?;
        let ended = |_| StartError::Machine("the host's thread ended unexpectedly".to_owned());
        let handles = start.await.map_err(ended)??;
        guard.disarm();
        Ok(Host { handles, stop, report })
    }
}
