//! Questions and orders to hosts, over NATS.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Message, StatusCode};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use wharf::Connector;
use wharf::admin::{ErrorReply, SERVICE, Verb, subject};

use super::args::QueryArgs;
use super::errand;
use super::exit::Failure;
use super::service_error::service_error;

/// Hosts answer at once. When none has for so long, all have.
const QUIET: Duration = Duration::from_millis(500);

/// A host that runs.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostRow {
    pub(super) host: String,
    pub(super) id: String,
    pub(super) version: String,
    pub(super) guests: u64,
    /// Whether it takes orders.
    pub(super) admin: bool,
}

/// What of the answer to `$SRV.PING` is needed.
#[derive(Deserialize)]
struct Pong {
    id: String,
    version: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    host: String,
    guests: String,
    admin: String,
}

/// A connection to ask hosts over.
pub(super) struct HostClient<'a> {
    /// The connection.
    connector: &'a Connector,
    /// Time that hosts may take to answer.
    timeout: Duration,
}

impl HostClient<'_> {
    /// Connects, runs the errand, and drains the connection.
    ///
    /// # Errors
    /// The errand's own, or else if the connection cannot be opened or drained.
    pub(super) fn with<T>(
        args: &QueryArgs,
        errand: impl AsyncFnOnce(&HostClient<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let settings = errand::settings(&args.sources, args.timeout)?;
        errand::run(settings, async |connector| {
            let hosts = HostClient {
                connector,
                timeout: args.timeout,
            };
            errand(&hosts).await
        })
    }

    /// All hosts that answer in time.
    pub(super) async fn all(&self) -> anyhow::Result<Vec<HostRow>> {
        let client = self.connector.client();
        let inbox = client.new_inbox();
        let mut replies = client
            .subscribe(inbox.clone())
            .await
            .context("cannot listen to replies")?;
        let asked = format!("$SRV.PING.{SERVICE}");
        client
            .publish_with_reply(asked.clone(), inbox, "".into())
            .await
            .context("cannot ask")?;
        client.flush().await.context("cannot ask")?;
        let end = Instant::now() + self.timeout;
        let mut quiet_at = end;
        let mut rows = Vec::new();
        while let Ok(Some(reply)) = timeout_at(quiet_at, replies.next()).await {
            if reply.status == Some(StatusCode::NO_RESPONDERS) {
                break;
            }
            quiet_at = end.min(Instant::now() + QUIET);
            rows.push(row(&reply).with_context(|| format!("an answer to {asked} cannot be read"))?);
        }
        // Without a reply it may be that the server lets nobody ask: it says so only by the way.
        let may_ask = !rows.is_empty() || self.connector.counters().server_errors == 0;
        ensure!(
            may_ask,
            "the server refused to let this user ask on {asked}"
        );
        rows.sort();
        Ok(rows)
    }

    /// The host that is meant, if none is named: the only one that takes orders.
    pub(super) async fn meant(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(host) = named {
            return Ok(host.to_owned());
        }
        let mut hosts: Vec<_> = self.taking_orders().await?;
        match hosts.len() {
            1 => Ok(hosts.remove(0)),
            0 => Err(anyhow!(
                "no host takes orders: it needs [admin] enabled = true in its wharf.toml"
            )
            .into()),
            _ => Err(Failure::usage(format!(
                "several hosts take orders, name one by --host: {}",
                hosts.join(", ")
            ))),
        }
    }

    /// The names of the hosts that take orders.
    pub(super) async fn taking_orders(&self) -> anyhow::Result<Vec<String>> {
        Ok(self
            .all()
            .await?
            .into_iter()
            .filter(|row| row.admin)
            .map(|row| row.host)
            .collect())
    }

    /// Tells a host something, and returns its answer.
    pub(super) async fn tell<T: DeserializeOwned>(
        &self,
        host: &str,
        verb: Verb,
        what: &impl Serialize,
    ) -> anyhow::Result<T> {
        let payload = serde_json::to_vec(what)?;
        let request = Request::new()
            .payload(payload.into())
            .timeout(Some(self.timeout));
        let reply = match self
            .connector
            .client()
            .send_request(subject(host, verb), request)
            .await
        {
            Ok(reply) => reply,
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => {
                    bail!("no host {host:?} takes orders; `wharf hosts` lists those that there are")
                }
                RequestErrorKind::TimedOut if self.connector.counters().server_errors > 0 => {
                    bail!("the server refused to let this user tell host {host:?} to {verb}")
                }
                RequestErrorKind::TimedOut => bail!(
                    "host {host:?} did not answer within {}; it may still do it",
                    humantime::format_duration(self.timeout)
                ),
                _ => return Err(anyhow!(error).context("cannot send the request")),
            },
        };
        if let Some(error) = service_error(&reply) {
            // Whoever answers in a host's place may say it in the headers only.
            let reason = match serde_json::from_slice::<ErrorReply>(&reply.payload) {
                Ok(refused) => anyhow!(refused),
                Err(_) => anyhow!("it answered with {error}"),
            };
            return Err(reason.context(format!("host {host:?} did not do it")));
        }
        serde_json::from_slice(&reply.payload).context("the answer cannot be read")
    }
}

fn row(reply: &Message) -> anyhow::Result<HostRow> {
    let Pong {
        id,
        version,
        metadata,
    } = serde_json::from_slice(&reply.payload)?;
    let Metadata {
        host,
        guests,
        admin,
    } = metadata;
    Ok(HostRow {
        host,
        id,
        version,
        guests: guests.parse()?,
        admin: admin.parse()?,
    })
}
