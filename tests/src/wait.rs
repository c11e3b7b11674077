//! Waiting for events: with a limit, and without sleeping for luck.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::Client;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take that must happen, compiling a component in a test build included. Only a test that fails
/// takes this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must happen.
///
/// # Errors
/// When it does not.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, event)
        .await
        .with_context(|| format!("it did not happen: {what}"))
}

/// Waits until something is so that nobody tells of: asks again and again.
///
/// # Errors
/// When it does not become so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "it did not become so: {what}");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Waits until the server has everything that a client has sent: its subscriptions are known, its messages are on their
/// way. `flush` only gives them to the system.
///
/// # Errors
/// When the server cannot be reached.
pub async fn round_trip(client: &Client) -> Result<()> {
    let inbox = client.new_inbox();
    let mut sent = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, "".into()).await?;
    let back = soon("a round trip to the server", sent.next()).await?;
    back.map(|_| ()).context("the connection is closed")
}
