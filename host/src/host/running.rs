//! The host's own thread: it starts everything, waits, and stops everything in the reverse order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DrainReport, GuestError, StartError};
use crate::config::{Config, GuestSettings};
use crate::connection::{Connection, ConnectionState};
use crate::connector::Connector;
use crate::dispatch::{Dispatcher, Drained};
use crate::guest::{Engine, Guest, Loaded, Template};
use crate::imports;
use crate::metrics::GuestCounters;
use crate::policy::Policy;
use crate::queue::Queue;
use crate::server::Server;
use crate::trigger::Subjects;

/// The last round trip is worth this long, even when handlers have used up the drain's time: without it, what they have
/// published could be lost.
const LAST_FENCE: Duration = Duration::from_secs(5);

/// What to run.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) own_server: Option<PathBuf>,
    pub(super) stop: CancellationToken,
}

/// What a started host gives to its owner.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) connection: Connection,
    pub(super) connector: Connector,
    pub(super) counters: BTreeMap<String, Arc<GuestCounters>>,
    pub(super) server_url: Option<String>,
    server_died: Shared<BoxFuture<'static, String>>,
}

impl Handles {
    pub(super) async fn lost(&self) -> String {
        let mut state = self.connection.state();
        let connection_lost = async {
            let lost = state.wait_for(|state| matches!(state, ConnectionState::Lost(_))).await;
            lost.map(|state| match &*state {
                ConnectionState::Lost(why) => format!("the connection to NATS is lost: {why}"),
                _ => "the connection to NATS is lost".to_owned(),
            })
        };
        tokio::select! {
            Ok(why) = connection_lost => why,
            why = self.server_died.clone() => why,
        }
    }
}

type Started = oneshot::Sender<Result<Handles, StartError>>;

/// Runs a host on this thread, from its start to its report.
pub(super) fn run(plan: Plan, started: Started, report: &watch::Sender<Option<DrainReport>>) {
    let runtime = match Builder::new_multi_thread().thread_name("wharf-guests").enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody is left to tell if the owner is gone.
            let _gone = started.send(Err(StartError::Machine(error.to_string())));
            return;
        }
    };
    let drained = runtime.block_on(async {
        let stop = plan.stop.clone();
        match Running::start(plan).await {
            Ok((running, handles)) => {
                if started.send(Ok(handles)).is_ok() {
                    stop.cancelled().await;
                }
                Some(running.stop().await)
            }
            Err(error) => {
                let _gone = started.send(Err(error));
                None
            }
        }
    });
    // Host calls that guests left behind, such as a read from a slow disk, are not waited for.
    runtime.shutdown_background();
    report.send_replace(drained);
}

/// All that runs, in the order in which it was started.
struct Running {
    server: Option<Server>,
    connection: Connection,
    connector: Connector,
    guests: Vec<RunningGuest>,
    drain_timeout: Duration,
}

/// One guest in service.
struct RunningGuest {
    guest: Arc<Guest>,
    subjects: Arc<Subjects>,
    dispatcher: Dispatcher,
}

impl Running {
    async fn start(plan: Plan) -> Result<(Self, Handles), StartError> {
        let Plan { config, own_server, .. } = plan;
        let mut settings = config.nats.clone();
        let server = match own_server {
            Some(data) => Some(Server::start(&data).await.map_err(StartError::Server)?),
            None => None,
        };
        if let Some(server) = &server {
            settings.servers = vec![server.url().to_owned()];
        }
        let server_url = server.as_ref().map(|server| server.url().to_owned());
        let server_died = match &server {
            Some(server) => server.died().map(|error| error.to_string()).boxed(),
            None => std::future::pending().boxed(),
        };
        let connection = match Connection::open(&settings).await {
            Ok(connection) => connection,
            Err(error) => {
                stop_server(server, &mut Vec::new()).await;
                return Err(StartError::Connect(error));
            }
        };
        let connector = Connector::over(connection.clone(), &settings, config.buckets.clone());
        let mut running =
            Self { server, connection, connector, guests: Vec::new(), drain_timeout: settings.drain_timeout };
        if let Err(error) = running.start_guests(&config).await {
            let report = running.stop().await;
            report.problems.iter().for_each(|problem| tracing::warn!("while stopping again: {problem}"));
            return Err(error);
        }
        let counters = running
            .guests
            .iter()
            .map(|running| (running.guest.name().to_string(), Arc::clone(running.guest.counters())));
        let handles = Handles {
            connection: running.connection.clone(),
            connector: running.connector.clone(),
            counters: counters.collect(),
            server_url,
            server_died: server_died.shared(),
        };
        Ok((running, handles))
    }

    async fn start_guests(&mut self, config: &Config) -> Result<(), StartError> {
        let cache = config.host.cache.clone();
        let engine = tokio::task::spawn_blocking(move || Engine::new(cache.as_deref())).await;
        let engine = match engine {
            Ok(Ok(engine)) => Arc::new(engine),
            Ok(Err(error)) => return Err(StartError::Machine(format!("{error:#}"))),
            Err(panicked) => return Err(StartError::Machine(panicked.to_string())),
        };
        for (name, settings) in &config.guests {
            let started = self.start_guest(&engine, name, settings, config).await;
            self.guests.push(started.map_err(|source| StartError::Guest { name: name.clone(), source })?);
        }
        // All subscriptions have reached the server once this has made its way there and back.
        let fenced = self.connection.fence(self.drain_timeout).await;
        fenced.map_err(|error| StartError::Machine(format!("the server does not answer: {error}")))
    }

    async fn start_guest(
        &self,
        engine: &Arc<Engine>,
        name: &str,
        settings: &GuestSettings,
        config: &Config,
    ) -> Result<RunningGuest, GuestError> {
        let loaded = Loaded::load(engine, &settings.component).await?;
        let policy = Policy::new(name, settings, &config.nats.prefix);
        let counters = Arc::<GuestCounters>::default();
        let queue = Arc::new(Queue::new(settings.limits.queue_messages, settings.limits.queue_bytes));
        let connection = self.connection.clone();
        let subjects =
            Subjects::new(name, policy.prefix(), connection, Arc::clone(&counters), Arc::clone(&queue));
        let subjects = Arc::new(subjects);
        let imports = imports::Shared {
            policy,
            connection: self.connection.clone(),
            connector: self.connector.clone(),
            default_bucket: config.nats.default_bucket.clone(),
            bucket_settings: config.buckets.clone(),
            counters,
            subscriptions: Arc::clone(&subjects) as _,
        };
        let guest =
            Guest::new(Arc::clone(engine), loaded, Arc::new(Template::new(name, settings.clone(), imports)));
        let guest = Arc::new(guest);
        if let Err(error) = in_service(&guest, &subjects, settings).await {
            take_out(&self.connection, &subjects).await;
            return Err(error);
        }
        let workers = settings.instances.max.get();
        let dispatcher = Dispatcher::start(&Handle::current(), Arc::clone(&guest), queue, workers);
        Ok(RunningGuest { guest, subjects, dispatcher })
    }

    /// The drain. The connection stays open until the last handler's last publish has made a round trip.
    async fn stop(mut self) -> DrainReport {
        let deadline = Instant::now() + self.drain_timeout;
        let mut report = DrainReport::default();
        let settled: Vec<_> = self.guests.iter().map(|running| running.dispatcher.settled()).collect();
        let stoppers = join_all(self.guests.iter().map(|running| running.subjects.stoppers())).await.concat();
        let left = deadline.saturating_duration_since(Instant::now());
        if let Err(error) = self.connection.quiesce(&stoppers, left).await {
            report.problems.push(format!("messages on their way may be lost: {error}"));
        }
        join_all(self.guests.iter().map(|running| running.subjects.finish())).await;
        // All at once: a guest that takes all the time leaves the others theirs.
        let ends =
            self.guests.iter_mut().zip(settled).map(|(running, settled)| running.end(settled, deadline));
        let ended = join_all(ends).await;
        for (running, (drained, stopped)) in self.guests.iter().zip(ended) {
            report.finished += drained.finished;
            report.abandoned += drained.abandoned;
            let name = running.guest.name();
            if let Err(why) = stopped {
                report.problems.push(format!("guest {name:?} did not stop in order: {why}"));
            }
            report.guests.insert(name.to_string(), running.guest.counters().snapshot());
        }
        drop(self.guests);
        let left = deadline.saturating_duration_since(Instant::now()).max(LAST_FENCE);
        if let Err(error) = self.connection.close(left).await {
            report.problems.push(format!("what guests published last may be lost: {error}"));
        }
        stop_server(self.server, &mut report.problems).await;
        report
    }
}

impl RunningGuest {
    /// Waits until what has arrived is handled, then calls the guest's `stop`.
    async fn end(&mut self, settled_before: u64, deadline: Instant) -> (Drained, Result<(), String>) {
        let drained = self.dispatcher.drain(settled_before, deadline).await;
        (drained, self.guest.stop(deadline).await)
    }
}

/// Starts the guest, then makes its subscriptions.
async fn in_service(guest: &Guest, subjects: &Subjects, settings: &GuestSettings) -> Result<(), GuestError> {
    guest.start().await.map_err(|error| GuestError::Start(error.to_string()))?;
    for subscription in &settings.subscribe {
        let subject = || subscription.subject.clone();
        subjects
            .add(subscription)
            .await
            .map_err(|source| GuestError::Subscribe { subject: subject(), source })?;
    }
    Ok(())
}

/// Ends the subscriptions of a guest that did not come into service. Its messages are nobody's.
async fn take_out(connection: &Connection, subjects: &Subjects) {
    let stoppers = subjects.stoppers().await;
    if let Err(error) = connection.quiesce(&stoppers, LAST_FENCE).await {
        tracing::debug!("while taking a guest out again: {error}");
    }
    subjects.finish().await;
}

async fn stop_server(server: Option<Server>, problems: &mut Vec<String>) {
    let Some(server) = server else { return };
    if let Err(error) = server.stop().await {
        problems.push(format!("the nats-server of our own did not stop in order: {error}"));
    }
}
