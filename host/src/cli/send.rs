//! `wharf send`: publishes a message, or sends a request and prints the reply.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::HeaderMap;
use async_nats::message::OutboundMessage;
use async_nats::{HeaderName, HeaderValue, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Serialize;
use wharf::Connector;
use wharf::config::parse_subject;

use super::args::SendArgs;
use super::error_reply::service_error;
use super::exit::{Exit, Failure};
use super::{errand, output};

/// The largest `max_payload` that a server can be configured with.
const MAX_PAYLOAD_BYTES: u64 = 64 << 20;

/// Publishes a message, or sends a request and prints the reply.
pub(super) fn send(args: &SendArgs) -> Result<Exit, Failure> {
    let subject = parse_subject(&args.subject).map_err(Failure::usage)?;
    let headers = headers(&args.headers)?;
    let settings = errand::settings(&args.sources, args.timeout)?;
    let payload = payload(args.payload.as_deref())?;
    let message = OutgoingMessage {
        subject,
        headers,
        payload,
        timeout: args.timeout,
        json: args.json,
    };
    errand::run(settings, async |connector| {
        Ok(if args.request {
            message.request(connector).await?
        } else {
            message.publish(connector).await?
        })
    })
}

/// A message to send, and how.
struct OutgoingMessage {
    /// The subject, without a prefix.
    subject: String,
    /// The headers, `None` if there are none.
    headers: Option<HeaderMap>,
    /// The payload.
    payload: Bytes,
    /// Time that a reply may take.
    timeout: Duration,
    /// Whether the result is printed as JSON.
    json: bool,
}

impl OutgoingMessage {
    async fn publish(self, connector: &Connector) -> anyhow::Result<Exit> {
        let bytes = self.payload.len();
        let subject = self.subject.as_str().into();
        let message = OutboundMessage {
            subject,
            reply: None,
            headers: self.headers,
            payload: self.payload,
        };
        connector
            .publish_message(message)
            .await
            .context("cannot publish")?;
        // A forbidden subject is an error that belongs to no call. The server sends it before it answers the flush.
        connector
            .flush_published()
            .await
            .context("cannot be sure that the server has taken it")?;
        ensure!(
            connector.counters().server_errors == 0,
            "the server refused it"
        );
        if self.json {
            output::json(&serde_json::json!({ "subject": self.subject, "bytes": bytes }))?;
        } else {
            output::status(&format!("published {bytes} bytes on {}", self.subject));
        }
        Ok(Exit::Done)
    }

    async fn request(self, connector: &Connector) -> anyhow::Result<Exit> {
        let request = Request::new()
            .payload(self.payload)
            .timeout(Some(self.timeout));
        let request = match self.headers {
            Some(headers) => request.headers(headers),
            None => request,
        };
        let reply = match connector
            .client()
            .send_request(self.subject.clone(), request)
            .await
        {
            Ok(reply) => reply,
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => bail!("nobody subscribes to {}", self.subject),
                RequestErrorKind::TimedOut => {
                    bail!(
                        "no reply within {}",
                        humantime::format_duration(self.timeout)
                    )
                }
                _ => return Err(anyhow!(error).context("cannot send the request")),
            },
        };
        print(&reply, self.json)?;
        Ok(service_error(&reply).map_or(Exit::Done, |error| {
            output::problem("error:", &format!("the service answered with {error}"));
            Exit::Failed
        }))
    }
}

/// A reply, as JSON.
#[derive(Serialize)]
struct ReplyJson {
    /// The subject that it came on.
    subject: String,
    /// The values of each header.
    headers: BTreeMap<String, Vec<String>>,
    /// The payload if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The payload if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

fn print(reply: &Message, json: bool) -> anyhow::Result<()> {
    if !json {
        output::data(&reply.payload)?;
        if std::io::stdout().is_terminal() && !reply.payload.ends_with(b"\n") {
            output::data(b"\n")?;
        }
        return Ok(());
    }
    let values = |values: &[HeaderValue]| {
        values
            .iter()
            .map(|value| value.as_str().to_owned())
            .collect()
    };
    let headers = reply.headers.iter().flat_map(HeaderMap::iter);
    let text = std::str::from_utf8(&reply.payload).ok();
    output::json(&ReplyJson {
        subject: reply.subject.to_string(),
        headers: headers
            .map(|(name, all)| (name.to_string(), values(all)))
            .collect(),
        payload: text.map(str::to_owned),
        payload_base64: text
            .is_none()
            .then(|| BASE64_STANDARD.encode(&reply.payload)),
    })?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a parsed name and value do not panic and can travel"
)]
fn headers(given: &[(String, String)]) -> Result<Option<HeaderMap>, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong =
            |part: &str| Failure::usage(format!("--header: {part} of {name:?} is not allowed"));
        let header: HeaderName = name.parse().map_err(|_| wrong("the name"))?;
        let value: HeaderValue = value.parse().map_err(|_| wrong("the value"))?;
        headers.append(header, value);
    }
    Ok(Some(headers).filter(|headers| !headers.is_empty()))
}

fn payload(given: Option<&str>) -> anyhow::Result<Bytes> {
    let Some("-") = given else {
        return Ok(given.unwrap_or_default().to_owned().into());
    };
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_PAYLOAD_BYTES + 1)
        .read_to_end(&mut bytes)
        .context("cannot read stdin")?;
    if bytes.len() as u64 > MAX_PAYLOAD_BYTES {
        bail!("stdin holds more than 64 MiB, which no server takes as one message");
    }
    Ok(bytes.into())
}
