//! One errand on a connection of its own: settings, connect, do it, drain.

use std::time::Duration;

use anyhow::{Context, anyhow};
use wharf::Connector;
use wharf::config::{Auth, Config, ConnectionSettings, Servers, TlsSettings};

use super::args::SourceArgs;
use super::exit::Failure;
use super::sources;

/// Settings of the connection of one errand. Subjects are used as they are, so there is no prefix. Connecting takes no
/// longer than `timeout`.
///
/// # Errors
/// If the settings cannot be used.
pub(super) fn settings(
    args: &SourceArgs,
    timeout: Duration,
) -> Result<ConnectionSettings, Failure> {
    let (config, _) = sources::load(sources::config_file(args), args)?;
    let local = local_server(&config);
    let mut settings = config.nats;
    if settings.servers == Servers::Own {
        if let Some(url) = local {
            settings.servers = Servers::from(url);
            // A host's own server asks for none; whoever else wrote that file is not to be given the user's.
            settings.auth = Auth::None;
            settings.tls = TlsSettings::default();
        } else {
            settings.servers = Servers::default();
        }
    }
    settings.prefix.clear();
    settings.connect_timeout = settings.connect_timeout.min(timeout);
    Ok(settings)
}

/// Connects, runs the errand, and drains the connection, however the errand ended.
///
/// # Errors
/// The errand's own, or else if the connection cannot be opened or drained.
pub(super) fn run<T>(
    settings: ConnectionSettings,
    errand: impl AsyncFnOnce(&Connector) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let connector = connect(settings).await?;
        let done = errand(&connector).await;
        let drained = connector
            .drain()
            .await
            .context("cannot end the connection in order");
        let done = done?;
        drained?;
        Ok(done)
    })
}

async fn connect(settings: ConnectionSettings) -> anyhow::Result<Connector> {
    const HINT: &str = "start a host with `wharf run`, or name a server with --server";
    Connector::connect(settings)
        .await
        .map_err(|error| anyhow!("{:#}; {HINT}", anyhow!(error)))
}

/// URL of the server that a host has started for itself in this directory, while that host runs.
fn local_server(config: &Config) -> Option<String> {
    let url = std::fs::read_to_string(config.host.data_dir().join("url")).ok()?;
    Some(url.trim().to_owned()).filter(|url| !url.is_empty())
}
