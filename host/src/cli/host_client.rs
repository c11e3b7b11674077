//! Questions and orders to hosts, over NATS.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Message, StatusCode};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use wharf::Connector;
use wharf::admin::{ErrorReply, SERVICE, Verb, subject};

use super::args::QueryArgs;
use super::errand;
use super::error_reply::service_error;
use super::exit::Failure;
use super::output::{self, plain};

/// Time without an answer after which no more are expected: hosts answer at once.
const QUIET: Duration = Duration::from_millis(500);

/// Advice where no host takes orders.
pub(super) const NO_HOST: &str =
    "no host takes orders: it needs [admin] enabled = true in its wharf.toml";

/// A running host.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostRow {
    /// The host's name.
    pub(super) host: String,
    /// The id of the host's micro service, new at each start.
    pub(super) id: String,
    /// The version of wharf.
    pub(super) version: String,
    /// The number of guests.
    pub(super) guests: u64,
    /// True if the host takes orders.
    pub(super) admin: bool,
}

/// The parts of an answer to `$SRV.PING` that a [`HostRow`] needs.
#[derive(Deserialize)]
struct PingReply {
    /// The id of the service.
    id: String,
    /// The version of the service.
    version: String,
    /// The metadata of the service.
    metadata: PingMetadata,
}

/// The metadata of a host's service: all values are text.
#[derive(Deserialize)]
struct PingMetadata {
    /// The host's name.
    host: String,
    /// The number of guests.
    guests: String,
    /// `true` if the host takes orders.
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

    /// The hosts that answer in time.
    ///
    /// # Errors
    /// If the question cannot be sent, or the server refuses it.
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
            match row(&reply) {
                Ok(row) => rows.push(row),
                // Whoever may answer in a host's place may answer nonsense: the others are listed all the same.
                Err(error) => output::problem(
                    "left out:",
                    &plain(&format!("an answer to {asked} cannot be read: {error:#}")),
                ),
            }
        }
        // No reply may mean that the server forbids the question, which is an error that belongs to no call.
        let may_ask = !rows.is_empty() || self.connector.counters().server_errors == 0;
        ensure!(
            may_ask,
            "the server refused to let this user ask on {asked}"
        );
        rows.sort();
        Ok(rows)
    }

    /// The host to address: the named one, or else the only one that takes orders.
    ///
    /// # Errors
    /// If none is named and not exactly one takes orders.
    pub(super) async fn resolve(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(host) = named {
            return Ok(host.to_owned());
        }
        let mut hosts: Vec<_> = self.taking_orders().await?;
        match hosts.len() {
            1 => Ok(hosts.remove(0)),
            0 => Err(anyhow!(NO_HOST).into()),
            _ => Err(Failure::usage(format!(
                "several hosts take orders, name one by --host: {}",
                hosts.join(", ")
            ))),
        }
    }

    /// The names of the hosts that take orders.
    ///
    /// # Errors
    /// Those of [`all`](Self::all).
    pub(super) async fn taking_orders(&self) -> anyhow::Result<Vec<String>> {
        Ok(self
            .all()
            .await?
            .into_iter()
            .filter(|row| row.admin)
            .map(|row| row.host)
            .collect())
    }

    /// Sends a host an order or a question, and returns its answer.
    ///
    /// # Errors
    /// If the host does not answer in time, refuses, or its answer cannot be read.
    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        host: &str,
        verb: Verb,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let payload = serde_json::to_vec(body)?;
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
                    bail!("no host {host:?} takes orders; `wharf hosts` lists the hosts that run")
                }
                RequestErrorKind::TimedOut if self.connector.counters().server_errors > 0 => {
                    bail!("the server refused to let this user tell host {host:?} to {verb}")
                }
                RequestErrorKind::TimedOut => bail!(
                    "host {host:?} did not answer within {}; it may still carry out the order",
                    humantime::format_duration(self.timeout)
                ),
                _ => return Err(anyhow!(error).context("cannot send the request")),
            },
        };
        if let Some(error) = service_error(&reply) {
            // Another service in the host's place may give its reason in the headers only.
            let reason = match parse::<ErrorReply>(&reply.payload) {
                Ok(refused) => anyhow!(refused),
                Err(_) => anyhow!("it answered with {error}"),
            };
            return Err(reason.context(format!("host {host:?} failed to {verb}")));
        }
        parse(&reply.payload).context("the answer cannot be read")
    }
}

/// Reads an answer. Control characters in its texts become spaces: they would tell a terminal what to do, and whoever may
/// answer in a host's place chooses them.
fn parse<T: DeserializeOwned>(payload: &[u8]) -> serde_json::Result<T> {
    let mut value = serde_json::from_slice(payload)?;
    make_plain(&mut value);
    serde_json::from_value(value)
}

/// Replaces control characters in all texts of a value, those of keys included.
fn make_plain(value: &mut Value) {
    match value {
        Value::String(text) => *text = plain(text),
        Value::Array(values) => values.iter_mut().for_each(make_plain),
        Value::Object(members) => {
            *members = std::mem::take(members)
                .into_iter()
                .map(|(key, mut value)| {
                    make_plain(&mut value);
                    (plain(&key), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn row(reply: &Message) -> anyhow::Result<HostRow> {
    let PingReply {
        id,
        version,
        metadata,
    } = parse(&reply.payload)?;
    let PingMetadata {
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
