//! The host: it puts the modules together, and takes them apart in the right order.

mod memory;
mod readiness;
mod running;
mod start_error;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::component::ComponentChanges;
use crate::config::{Config, GuestSettings, Servers};
use crate::connection::ConnectionCounters;
use crate::connector::Connector;
use crate::metrics::GuestStats;
use crate::rollout::{Applied, ChangeError, DrainReport, RunningGuests};
use crate::status::GuestStatus;

use running::{Handles, StartSpec};
pub use start_error::StartError;

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
pub struct Host {
    /// The connection, the guests and the other parts that the owner's calls use.
    handles: Handles,
    /// The token whose cancelling begins the drain. An operator's order may cancel it, too.
    stop: CancellationToken,
    /// The report of the drain. None while the host runs.
    report: watch::Receiver<Option<DrainReport>>,
}

/// A host that is to be started. Made by [`Host::builder`].
#[derive(Debug)]
#[must_use = "a host runs once it is started"]
pub struct HostBuilder {
    /// The settings of the host, and of the guests that it starts with.
    config: Config,
    /// The data directory of a nats-server of our own. None leaves the servers to the settings.
    own_server: Option<PathBuf>,
}

impl Host {
    /// Prepares a host.
    pub fn builder(config: Config) -> HostBuilder {
        HostBuilder {
            config,
            own_server: None,
        }
    }

    /// Publish, subscribe and use buckets over the host's connection.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.handles.connector
    }

    /// Counts of a guest since it was loaded. `None` if there is no guest of that name.
    #[must_use]
    pub fn stats(&self, guest: &str) -> Option<GuestStats> {
        self.handles.guests.stats(guest)
    }

    /// The guests in service, by name.
    #[must_use]
    pub fn guests(&self) -> Vec<GuestStatus> {
        self.handles.guests.status()
    }

    /// Loads a guest and brings it into service, as the host's start does. When it returns the guest receives messages.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] says why not. Then nothing has changed.
    ///
    /// ```no_run
    /// # async fn example(host: wharf::Host) -> Result<(), wharf::ChangeError> {
    /// let mut quakes = wharf::config::GuestSettings::new("quakes.wasm");
    /// quakes.subscribe.push("quakes.*".into());
    /// host.load("quakes", quakes).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn load(&self, name: &str, settings: GuestSettings) -> Result<(), ChangeError> {
        let name = name.to_owned();
        self.change(|guests| async move { guests.load(&name, settings).await })
            .await
    }

    /// Replaces a guest by another version of it, or gives it other settings, without a moment out of service.
    ///
    /// The new version is loaded, checked and started beside the old one. Then it takes over what waits in the guest's
    /// queue; subscriptions that both want stay, new ones have begun, and those that only the old one wants are ended. What
    /// the old one has in hand it finishes, within `drain_timeout`; then it is stopped. Each message is handled by one
    /// version. Where a new subscription covers subjects that an old one covers too, both deliver for a moment. A canary of the
    /// old version ends with it; the one that the settings name begins.
    ///
    /// Returns how the old version ended. While both are there, both need their `instances.min`.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] says why not. Then the old version stays in service.
    pub async fn replace(
        &self,
        name: &str,
        settings: GuestSettings,
    ) -> Result<DrainReport, ChangeError> {
        let name = name.to_owned();
        self.change(|guests| async move { guests.replace(&name, settings).await })
            .await
    }

    /// Drains one guest and takes it out of service. Returns how it ended.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotLoaded`] if there is none of that name.
    pub async fn unload(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let name = name.to_owned();
        self.change(|guests| async move { guests.unload(&name).await })
            .await
    }

    /// Puts a guest's canary into service: it takes over, and the old version ends, as [`Host::replace`] does it. Returns how
    /// the old version ended.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoCanary`] if there is none, or it has been rolled back; what else keeps a version from coming into
    /// service. Then nothing has changed.
    pub async fn promote_canary(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let name = name.to_owned();
        self.change(|guests| async move { guests.promote_canary(&name).await })
            .await
    }

    /// Ends a guest's canary. What it has in hand it finishes; what waits for it goes to the version in service. Returns how
    /// it ended.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoCanary`] if there is none, or it has been rolled back.
    pub async fn abort_canary(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let name = name.to_owned();
        self.change(|guests| async move { guests.abort_canary(&name).await })
            .await
    }

    /// Makes the running guests be these: loads, replaces and unloads as it takes, or changes nothing. A guest is replaced
    /// if its settings or its component's bytes are others than when it was last told what to be; where only its canary is
    /// another, only that changes. A canary that was promoted, aborted or rolled back since stays so until then.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] says what cannot be. Then nothing has changed.
    pub async fn apply(
        &self,
        guests: BTreeMap<String, GuestSettings>,
    ) -> Result<Applied, ChangeError> {
        self.change(|running| async move { running.apply(guests).await })
            .await
    }

    /// Follows the object stores that guests take their components from, now and later.
    ///
    /// ```no_run
    /// # async fn example(host: wharf::Host, config: wharf::config::Config) {
    /// let mut changes = host.component_changes();
    /// while let Some(guest) = changes.next().await {
    ///     match host.apply(config.guests.clone()).await {
    ///         Ok(_) => println!("{guest}: the new version is in service"),
    ///         Err(error) => println!("{guest} stays as it is: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn component_changes(&self) -> ComponentChanges {
        let Handles {
            guests,
            connection,
            runtime,
            ..
        } = &self.handles;
        let (guests, connection) = (Arc::clone(guests), connection.clone());
        ComponentChanges::new(
            move || guests.objects(),
            move || connection.jetstream(),
            runtime,
        )
    }

    /// Carries a change out where guests run, to its end, even if nobody waits for it any more.
    async fn change<T, F>(
        &self,
        change: impl FnOnce(Arc<RunningGuests>) -> F,
    ) -> Result<T, ChangeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChangeError>> + Send + 'static,
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "awaited below; it must go on without us"
        )]
        let changing = self
            .handles
            .runtime
            .spawn(change(Arc::clone(&self.handles.guests)));
        changing.await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// Counts of the connection so far.
    #[must_use]
    pub fn connection_counters(&self) -> ConnectionCounters {
        self.handles.connection.counters()
    }

    /// The URL of the nats-server of our own, if there is one.
    #[must_use]
    pub fn own_server(&self) -> Option<&str> {
        self.handles.server_url.as_deref()
    }

    /// The address on which the host answers HTTP, with the port that the system has chosen if the settings name none.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.handles.http_address
    }

    /// Waits until the connection is lost for good, or a nats-server of our own has ended by itself, and says why. The
    /// host can then only be shut down.
    pub async fn lost(&self) -> String {
        self.handles.lost().await
    }

    /// Waits until the host is told to drain by an operator, over NATS. It has begun then; [`Host::shutdown`] waits for
    /// its end.
    pub async fn drain_requested(&self) {
        self.stop.cancelled().await;
    }

    /// Drains and stops: no new messages come in, what has arrived is handled, the guests' `stop` is called, and what they
    /// published has reached the server before the connection is closed.
    ///
    /// Handlers have `drain_timeout` to finish. Where a server does not answer, the round trips that prove what has arrived
    /// may take some ten seconds more.
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

    /// Runs until a future completes, an operator drains the host or the connection is lost for good, then shuts down.
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
            () = self.drain_requested() => None,
            why = self.lost() => Some(why),
        };
        let mut report = self.shutdown().await;
        report.problems.splice(0..0, lost);
        report
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("guests", &self.guests())
            .finish_non_exhaustive()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl HostBuilder {
    /// Starts a nats-server of our own, which keeps its data in this directory, and connects to it instead of to the
    /// configured servers. It is stopped last. The same as [`Servers::Own`] with this [`data`](crate::config::HostSettings::data).
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
        let asked: u64 = self
            .config
            .guests
            .values()
            .map(GuestSettings::min_instances_of_all_versions)
            .sum();
        let instances = self.config.host.instances.get();
        if asked > u64::from(instances) {
            return Err(StartError::TooManyInstances { asked, instances });
        }
        let stop = CancellationToken::new();
        // Whoever gives up waiting for the start stops it.
        let guard = stop.clone().drop_guard();
        let (reporter, report) = watch::channel(None);
        let (started, start) = oneshot::channel();
        let own_server = self.own_server.or_else(|| match self.config.nats.servers {
            Servers::Own => Some(self.config.host.data_dir().to_owned()),
            Servers::At(_) => None,
        });
        let spec = StartSpec {
            config: self.config,
            own_server,
            stop: stop.clone(),
        };
        thread::Builder::new()
            .name("wharf-host".to_owned())
            .spawn(move || running::run(spec, started, &reporter))
            .map_err(|error| StartError::Machine(error.into()))?;
        let ended = |_| StartError::Machine("the host's thread ended unexpectedly".into());
        let handles = start.await.map_err(ended)??;
        guard.disarm();
        Ok(Host {
            handles,
            stop,
            report,
        })
    }
}
