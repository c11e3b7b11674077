//! `wharf run`: a host until a signal comes.

use std::io;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use wharf::config::{Config, Servers, redact_server};
use wharf::{DrainReport, FetchError, GuestError, Host, LoadError, StartError};

use super::args::{LogFormat, RunArgs};
use super::exit::{Exit, Failure};
use super::output::Voice;
use super::reload::{Live, Reload};

/// Runs.
pub(super) fn run(args: RunArgs, log_format: LogFormat) -> Result<Exit, Failure> {
    let voice = Voice(log_format);
    let live = Live::read(args, voice)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let exit = runtime.block_on(Running { voice }.run(live));
    // What has not ended by now was asked to leave at once.
    runtime.shutdown_background();
    exit
}

struct Running {
    voice: Voice,
}

impl Running {
    async fn run(&self, live: Live) -> Result<Exit, Failure> {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let reload = Reload::listen().context("cannot listen to signals")?;
        let config = live.config().clone();
        let guests = count(config.guests.len(), "guest");
        let servers: Vec<String> = match &config.nats.servers {
            Servers::Own => Vec::new(),
            Servers::At(servers) => servers.iter().map(|one| redact_server(one)).collect(),
        };
        let host = tokio::select! {
            started = self.start(config) => started?,
            name = signals.next() => {
                self.voice.say(&format!("{name} before the host was ready: leaving"));
                return Ok(Exit::Failed);
            }
        };
        let server = host
            .own_server()
            .map_or_else(|| servers.join(","), |own| own.to_owned());
        let http = host
            .http_address()
            .map_or_else(String::new, |address| format!(", http://{address}"));
        self.voice.say(&format!("ready: {guests}, {server}{http}"));
        let lost = tokio::select! {
            reason = host.lost() => Some(reason),
            () = host.drain_requested() => {
                self.voice.say("told to drain: handling what has arrived");
                None
            }
            name = signals.next() => {
                self.voice.say(&format!("{name}: handling what has arrived; a second signal leaves at once"));
                None
            }
            never = live.keep(&host, reload) => match never {},
        };
        if let Some(reason) = &lost {
            self.voice.error(&Failure::Runtime(anyhow!(
                "the host cannot go on: {reason}"
            )));
        }
        let report = tokio::select! {
            report = host.shutdown() => report,
            name = signals.next() => {
                self.voice.say(&format!("{name} again: leaving at once"));
                return Ok(Exit::Failed);
            }
        };
        report
            .problems
            .iter()
            .for_each(|problem| self.voice.say(&format!("while stopping: {problem}")));
        self.voice.say(&in_words(&report));
        Ok(if lost.is_none() && report.is_clean() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }

    async fn start(&self, config: Config) -> Result<Host, Failure> {
        if config.nats.servers == Servers::Own {
            let data = config.host.data_dir().display();
            self.voice.say(&format!(
                "no server is named: starting a nats-server of our own, its data in {data}"
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
}

/// Whether the settings name a component that is none, or no guest.
fn is_no_guest(error: &GuestError) -> bool {
    match error {
        GuestError::Load(error) => !matches!(error, LoadError::Fetch(FetchError::Server { .. })),
        GuestError::Canary(error) => is_no_guest(error),
        _ => false,
    }
}

fn in_words(report: &DrainReport) -> String {
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

fn count<T: std::fmt::Display + PartialEq + From<u8>>(count: T, what: &str) -> String {
    let plural = if count == T::from(1) { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// The signals that ask for the end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
