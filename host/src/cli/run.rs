//! `wharf run`: a host, until a signal stops it.

use std::io;

use anyhow::{Context, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use wharf::config::{Config, Servers, redact_server};
use wharf::{DrainReport, FetchError, GuestError, Host, LoadError, StartError};

use super::args::{LogFormat, RunArgs};
use super::exit::{Exit, Failure};
use super::output::Console;
use super::reload::{ReloadSignal, Reloader};

/// Runs a host until a signal or an order stops it.
pub(super) fn run(args: RunArgs, log_format: LogFormat) -> Result<Exit, Failure> {
    let console = Console(log_format);
    let reloader = Reloader::read(args, console)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let exit = runtime.block_on(run_host(reloader, console));
    // Tasks that have not ended by now belong to a host that was told to leave at once.
    runtime.shutdown_background();
    exit
}

/// Raises the limit of file descriptors to the highest that the system allows: guests' files and scrapes take some, and a host
/// that has none left cannot connect again.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of file descriptors stays as it is: {error}");
    }
}

async fn run_host(reloader: Reloader, console: Console) -> Result<Exit, Failure> {
    let mut signals = StopSignals::listen().context("cannot listen to signals")?;
    let reload = ReloadSignal::listen().context("cannot listen to signals")?;
    let config = reloader.config().clone();
    let host = tokio::select! {
        started = start(config.clone(), console) => started?,
        name = signals.next() => {
            console.status(&format!("{name} before the host was ready: leaving"));
            return Ok(Exit::Failed);
        }
    };
    console.status(&describe_start(&host, &config));
    let lost = tokio::select! {
        reason = host.lost() => Some(reason),
        () = host.drain_requested() => {
            console.status("drain requested: handling what has arrived");
            None
        }
        name = signals.next() => {
            console.status(&format!("{name}: handling what has arrived; a second signal leaves at once"));
            None
        }
        never = reloader.run(&host, reload) => match never {},
    };
    if let Some(reason) = &lost {
        console.report(&Failure::Runtime(anyhow!(
            "the host cannot go on: {reason}"
        )));
    }
    let report = tokio::select! {
        report = host.shutdown() => report,
        name = signals.next() => {
            console.status(&format!("{name} again: leaving at once"));
            return Ok(Exit::Failed);
        }
    };
    report
        .problems
        .iter()
        .for_each(|problem| console.status(&format!("while stopping: {problem}")));
    console.status(&describe_stop(&report));
    Ok(if lost.is_none() && report.is_clean() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn start(config: Config, console: Console) -> Result<Host, Failure> {
    if config.nats.servers == Servers::Own {
        let data = config.host.data_dir().display();
        console.status(&format!(
            "no server is named: starting a nats-server of the host's own, its data in {data}"
        ));
    }
    let builder = Host::builder(config);
    let is_usage = |error: &StartError| match error {
        StartError::Guest { source, .. } => is_no_guest(source),
        StartError::TooManyInstances { .. } => true,
        _ => false,
    };
    builder
        .start()
        .await
        .map_err(|error| match is_usage(&error) {
            true => Failure::Usage(error.into()),
            false => Failure::Runtime(error.into()),
        })
}

/// Whether the guest's component is wrong, so that the settings are.
fn is_no_guest(error: &GuestError) -> bool {
    match error {
        GuestError::Load(error) => !matches!(error, LoadError::Fetch(FetchError::Server { .. })),
        GuestError::Canary(error) => is_no_guest(error),
        _ => false,
    }
}

fn describe_start(host: &Host, config: &Config) -> String {
    let guests = count(config.guests.len(), "guest");
    let servers = match (host.own_server(), &config.nats.servers) {
        (Some(own), _) => own.to_owned(),
        (None, Servers::Own) => String::new(),
        (None, Servers::At(servers)) => {
            let servers: Vec<_> = servers.iter().map(|one| redact_server(one)).collect();
            servers.join(",")
        }
    };
    let http = host
        .http_address()
        .map_or_else(String::new, |address| format!(", http://{address}"));
    format!("ready: {guests}, {servers}{http}")
}

fn describe_stop(report: &DrainReport) -> String {
    let DrainReport {
        finished,
        abandoned,
        ..
    } = report;
    format!(
        "stopped: {} handled while stopping, {abandoned} abandoned",
        count(*finished, "message")
    )
}

fn count<T: std::fmt::Display + PartialEq + From<u8>>(count: T, noun: &str) -> String {
    let plural = if count == T::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// The signals that stop a host.
struct StopSignals {
    /// SIGTERM.
    terminate: Signal,
    /// SIGINT, as of Ctrl-C.
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
