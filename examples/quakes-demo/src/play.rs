//! Sending the events.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::Client;
use tokio::time::Instant;

use crate::events::Event;

/// Publishes the events, each on `quakes.<network>`, evenly spread over `duration`: zero is as fast as can be.
///
/// # Errors
/// If the connection breaks.
pub(crate) async fn play(client: &Client, events: &[Event], duration: Duration) -> Result<()> {
    let start = Instant::now();
    let step = duration
        / u32::try_from(events.len())
            .context("more events than can be played")?
            .max(1);
    for (event, number) in events.iter().zip(0..) {
        if !step.is_zero() {
            tokio::time::sleep_until(start + step * number).await;
        }
        let subject = format!("quakes.{}", event.network);
        client
            .publish(subject, event.line.clone().into())
            .await
            .context("cannot publish an event")?;
    }
    client.flush().await.context("cannot send the events")
}
