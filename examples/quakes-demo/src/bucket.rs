//! Reading what the guest made of the events: its bucket, and the alerts that it publishes.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::jetstream::kv::{Entry, Operation, Store};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::figures::{Figures, Network, Quake};

/// The guest's bucket. It holds `events.<network>` and `types.<type>`, decimal numbers, and `largest.<network>`, a JSON
/// object.
pub(crate) const BUCKET: &str = "quakes";

/// Follows the guest's bucket and its alerts until the figures are as expected, or `within` is over. Returns them as
/// they are then, so that it can be said what is wrong with them.
///
/// `alerts` is a subscription to `alerts.>` from before the first event. `each` is told of all that changes.
///
/// # Errors
/// If the guest makes no bucket, or writes what is no figure.
pub(crate) async fn settle(
    client: &Client,
    alerts: &mut Subscriber,
    expected: &Figures,
    within: Duration,
    mut each: impl FnMut(&Figures, Option<&Quake>),
) -> Result<Figures> {
    let deadline = Instant::now() + within;
    let bucket = open(client, deadline).await?;
    // Every key as it is now, then every change.
    let mut changes = bucket
        .watch_with_history(">")
        .await
        .context("cannot watch the bucket")?;
    let mut figures = Figures::default();
    while !figures.differences(expected).is_empty() {
        let mut alert = None;
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => break,
            change = changes.next() => {
                let change = change.context("the watch of the bucket ended")?;
                take(&mut figures, &change.context("the watch of the bucket failed")?)?;
            }
            message = alerts.next() => {
                let message = message.context("the subscription to the alerts ended")?;
                let quake: Quake = serde_json::from_slice(&message.payload)
                    .with_context(|| format!("no alert on {}: {:?}", message.subject, message.payload))?;
                alert = Some(quake.clone());
                figures.alerts.insert(quake.id.clone(), quake);
            }
        }
        each(&figures, alert.as_ref());
    }
    Ok(figures)
}

/// Opens the bucket, which the guest makes when it handles its first event: it may not be there yet.
async fn open(client: &Client, deadline: Instant) -> Result<Store> {
    const AGAIN: Duration = Duration::from_millis(50);
    let jetstream = async_nats::jetstream::new(client.clone());
    loop {
        match jetstream.get_key_value(BUCKET).await {
            Ok(bucket) => return Ok(bucket),
            Err(error) if Instant::now() + AGAIN > deadline => {
                return Err(error).with_context(|| format!("the guest made no bucket `{BUCKET}`"));
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn take(figures: &mut Figures, change: &Entry) -> Result<()> {
    if change.operation != Operation::Put {
        return Ok(());
    }
    let wrong = || format!("the bucket's `{}` is {:?}", change.key, change.value);
    let (kind, name) = change.key.split_once('.').with_context(wrong)?;
    let number = || {
        anyhow::Ok(
            std::str::from_utf8(&change.value)
                .with_context(wrong)?
                .parse()
                .with_context(wrong)?,
        )
    };
    match kind {
        "events" => network(figures, name).events = number()?,
        "largest" => {
            network(figures, name).largest =
                Some(serde_json::from_slice(&change.value).with_context(wrong)?)
        }
        "types" => {
            figures
                .kinds
                .insert(decoded(name).with_context(wrong)?, number()?);
        }
        _ => bail!("unknown key: {}", wrong()),
    }
    Ok(())
}

fn network<'a>(figures: &'a mut Figures, name: &str) -> &'a mut Network {
    figures.networks.entry(name.to_owned()).or_default()
}

/// A part of a key as the guest wrote it: what NATS does not allow in keys travels as `=XX`.
fn decoded(key: &str) -> Result<String> {
    let mut parts = key.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).context("an escape is cut off")?;
        bytes.push(u8::from_str_radix(code, 16)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Ok(String::from_utf8(bytes)?)
}
