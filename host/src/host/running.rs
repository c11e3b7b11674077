//! The host's own thread: it starts everything, waits, and stops everything in the reverse order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::readiness::Readiness;
use super::start_error::StartError;
use crate::admin::{AdminContext, Service};
use crate::config::{Config, ConnectionSettings, HttpSettings, ProtectedPaths};
use crate::connection::{Connection, ConnectionState};
use crate::connector::Connector;
use crate::guest::Engine;
use crate::http::Http;
use crate::nats_server::Server;
use crate::policy::ReplySubjects;
use crate::rollout::{CompiledFiles, DrainReport, HostContext, RunningGuests};
use crate::trace::Exporter;

/// The last round trip is worth this long, even when handlers have used up the drain's time: without it, what they have
/// published could be lost.
const LAST_FENCE: Duration = Duration::from_secs(5);

/// The time that the last answers to operators may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Polls of tasks after which a thread looks for timers and I/O that are due. A poll of a guest that computes takes a tick
/// of the engine: by tokio's default of 61 the others' timers would wait for 61 of them.
const EVENT_INTERVAL: u32 = 1;

/// A host that is to be started.
pub(super) struct StartSpec {
    /// The settings of the host, and of the guests that it starts with.
    pub(super) config: Config,
    /// The data directory of a nats-server of our own. None if the host connects to other servers.
    pub(super) own_server: Option<PathBuf>,
    /// The token that gives the start up when cancelled, and after the start begins the drain.
    pub(super) stop: CancellationToken,
}

/// The parts of a started host that its owner uses.
pub(super) struct Handles {
    /// The host's connection, for its state, its counts and its object stores.
    pub(super) connection: Connection,
    /// A connector over the host's connection, whose drain leaves the connection open.
    pub(super) connector: Connector,
    /// The guests in service, shared with all who list or change them.
    pub(super) guests: Arc<RunningGuests>,
    /// The runtime that guests run on.
    pub(super) runtime: Handle,
    /// The URL of a nats-server of our own. None if there is none.
    pub(super) server_url: Option<String>,
    /// The address on which HTTP is answered, with the port in use. None if it is not answered.
    pub(super) http_address: Option<SocketAddr>,
    /// The way in which a nats-server of our own ended by itself. Never completes otherwise.
    server_died: Shared<BoxFuture<'static, String>>,
}

impl Handles {
    pub(super) async fn lost(&self) -> String {
        let mut state = self.connection.state();
        let connection_lost = async {
            let lost = state
                .wait_for(|state| matches!(state, ConnectionState::Lost(_)))
                .await;
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
pub(super) fn run(spec: StartSpec, started: Started, report: &watch::Sender<Option<DrainReport>>) {
    let runtime = match Builder::new_multi_thread()
        .thread_name("wharf-guests")
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody is left to tell if the owner is gone.
            let _gone = started.send(Err(StartError::Machine(error.into())));
            return;
        }
    };
    let drained = runtime.block_on(async {
        let stop = spec.stop.clone();
        // Given up before it is done, a start is dropped as far as it has come: server and connection end with it.
        match stop.run_until_cancelled(Running::start(spec)).await? {
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
    /// The server of `/livez`, `/readyz` and `/metrics`, stopped last. None if there is no address for it.
    http: Option<Http>,
    /// A nats-server of our own, stopped once the connection is closed. None if the host uses others.
    server: Option<Server>,
    /// The host's connection, closed once guests have ended.
    connection: Connection,
    /// The guests in service, stopped while the connection is still open.
    guests: Arc<RunningGuests>,
    /// The service that takes operators' orders. None until all guests of the configuration are in service.
    service: Option<Service>,
    /// The task that rolls failed canaries back. Where a start is given up, it ends with it.
    judge: AbortOnDropHandle<DrainReport>,
    /// Gives instances back that nobody uses, until the host is gone.
    _sweeper: AbortOnDropHandle<()>,
    /// The time that guests may take to finish their messages at a stop.
    drain_timeout: Duration,
    /// The sender of traces to their collector, if there is one.
    exporter: Option<Exporter>,
}

impl Running {
    /// Starts everything. Components that are files first: what is wrong with them shows before anything is connected.
    async fn start(spec: StartSpec) -> Result<(Self, Handles), StartError> {
        let StartSpec {
            config,
            own_server,
            stop,
        } = spec;
        let guest_error = |(name, source)| StartError::Guest { name, source };
        let readiness = Arc::new(Readiness::default());
        let http = answer_http(config.http, &readiness)?;
        let engine = engine(&config).await?;
        let files = CompiledFiles::compile(&engine, &config.guests)
            .await
            .map_err(guest_error)?;
        let endpoint = config.otlp.endpoint.as_deref();
        let exporter = endpoint.map(Exporter::start).transpose();
        let exporter = exporter.map_err(|reason| StartError::Traces(reason.into()))?;
        let protected = ProtectedPaths::new(
            &config.files,
            &config.host,
            &config.nats,
            own_server.as_deref(),
        );
        let (server, settings, connection) = connect(own_server, config.nats).await?;
        let connector = Connector::over(connection.clone(), &settings, config.buckets.clone());
        let context = HostContext {
            engine,
            connection: connection.clone(),
            connector: connector.clone(),
            prefix: settings.prefix,
            replies: ReplySubjects::new(&config.host.replies),
            default_bucket: settings.default_bucket,
            bucket_settings: config.buckets,
            drain_timeout: settings.drain_timeout,
            protected,
            tracer: exporter.as_ref().map(Exporter::tracer),
        };
        let slots = Arc::clone(&context.engine.slots);
        super::memory::log_bounds(&config.guests, slots.capacity());
        let guests = Arc::new(RunningGuests::new(context));
        readiness.watch(&connection, &guests);
        let judging = owned(Arc::clone(&guests).judge_canaries());
        let sweeping = owned(async move { slots.sweep().await });
        let mut running = Self {
            http,
            server,
            connection: connection.clone(),
            guests: Arc::clone(&guests),
            service: None,
            judge: judging,
            _sweeper: sweeping,
            drain_timeout: settings.drain_timeout,
            exporter,
        };
        if let Err(error) = guests.load_all(config.guests, &files).await {
            let report = running.stop().await;
            report
                .problems
                .iter()
                .for_each(|problem| tracing::warn!("while stopping again: {problem}"));
            return Err(error.into());
        }
        let (host, admin) = (&config.host, &config.admin);
        let context = AdminContext::new(host, admin, connection, guests, stop);
        running.service = Some(Service::start(context).await);
        readiness.all_in_service();
        let handles = running.handles(connector);
        Ok((running, handles))
    }

    /// The parts of the host that its owner uses.
    fn handles(&self, connector: Connector) -> Handles {
        let server = self.server.as_ref();
        let server_died = match server {
            Some(server) => server.died().map(|error| error.to_string()).boxed(),
            None => std::future::pending().boxed(),
        };
        Handles {
            connection: self.connection.clone(),
            connector,
            guests: Arc::clone(&self.guests),
            runtime: Handle::current(),
            server_url: server.map(|server| server.url().to_owned()),
            http_address: self.http.as_ref().map(Http::address),
            server_died: server_died.shared(),
        }
    }

    /// The drain. The connection stays open until the last handler's last publish has made a round trip.
    async fn stop(self) -> DrainReport {
        let deadline = Instant::now() + self.drain_timeout;
        self.service.iter().for_each(Service::close);
        let mut report = self.guests.stop(deadline).await;
        if let Some(service) = self.service {
            // What was being changed has ended or given up by now.
            service
                .finish(deadline.max(Instant::now() + LAST_ANSWERS))
                .await;
        }
        // It ends when what it rolls back has ended, by a deadline that is no later than ours.
        match self.judge.await {
            Ok(rolled_back) => report.merge(rolled_back),
            Err(panicked) => report.problems.push(panicked.to_string()),
        }
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(LAST_FENCE);
        let last_spans = async {
            if let Some(exporter) = self.exporter {
                exporter.finish().await;
            }
        };
        // No guest runs any more: there are no more spans.
        let (closed, ()) = tokio::join!(self.connection.close(left), last_spans);
        if let Err(error) = closed {
            report
                .problems
                .push(format!("what guests published last may be lost: {error}"));
        }
        stop_server(self.server, &mut report.problems).await;
        if let Some(http) = self.http {
            report.problems.extend(http.stop().await.err());
        }
        report
    }
}

fn answer_http(
    settings: HttpSettings,
    readiness: &Arc<Readiness>,
) -> Result<Option<Http>, StartError> {
    let Some(listen) = settings.listen else {
        return Ok(None);
    };
    let http = Http::start(listen, Arc::clone(readiness) as _);
    http.map(Some)
        .map_err(|source| StartError::Http { listen, source })
}

/// Connects: to a nats-server of our own, which is started first, or to those that the settings name.
async fn connect(
    own_server: Option<PathBuf>,
    mut settings: ConnectionSettings,
) -> Result<(Option<Server>, ConnectionSettings, Connection), StartError> {
    let server = match own_server {
        Some(data) => Some(Server::start(&data).await.map_err(StartError::Server)?),
        None => None,
    };
    if let Some(server) = &server {
        settings.servers = server.url().into();
    }
    match Connection::open(&settings).await {
        Ok(connection) => Ok((server, settings, connection)),
        Err(error) => {
            stop_server(server, &mut Vec::new()).await;
            Err(StartError::Connect(error))
        }
    }
}

/// Runs a task that is aborted when its handle is dropped.
fn owned<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "whoever has the handle owns it")]
    let task = Handle::current().spawn(task);
    AbortOnDropHandle::new(task)
}

async fn engine(config: &Config) -> Result<Arc<Engine>, StartError> {
    let cache = config.host.cache.clone();
    let instances = config.host.instances.get();
    match tokio::task::spawn_blocking(move || Engine::new(cache.as_deref(), instances)).await {
        Ok(Ok(engine)) => Ok(Arc::new(engine)),
        Ok(Err(error)) => Err(StartError::Machine(error.into())),
        Err(panicked) => Err(StartError::Machine(panicked.into())),
    }
}

async fn stop_server(server: Option<Server>, problems: &mut Vec<String>) {
    let Some(server) = server else { return };
    if let Err(error) = server.stop().await {
        problems.push(format!(
            "the nats-server of our own did not stop in order: {error}"
        ));
    }
}
