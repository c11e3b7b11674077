//! Messages that the client library cannot read: whoever sends one interrupts the connection, and no more.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use wharf::config::ConnectionSettings;
use wharf::{Connector, Error};
use wharf_tests::raw::{Raw, SPACE_IN_NAME};
use wharf_tests::{TestServer, soon, until};

/// Answers each request with its payload, until the subscription ends.
pub(crate) async fn echo(
    connector: &Connector,
    subject: &str,
) -> Result<JoinHandle<Result<(), Error>>> {
    let mut requests = connector.subscribe_raw(subject, None).await?;
    connector.flush_published().await?;
    let connector = connector.without_prefix();
    Ok(tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                connector.publish_raw(&reply, request.payload).await?;
            }
        }
        Ok(())
    }))
}

/// Asks until there is an answer: what is sent while there is no connection may be lost.
pub(crate) async fn answered(client: &async_nats::Client, subject: &'static str) -> Result<()> {
    let asking = async {
        loop {
            let asked = client.request(subject, "hello".into());
            match tokio::time::timeout(Duration::from_millis(100), asked).await {
                Ok(Ok(reply)) => break reply,
                Ok(Err(_)) => tokio::task::yield_now().await,
                Err(_) => {}
            }
        }
    };
    let reply = soon("an answer", asking).await?;
    ensure!(reply.payload == "hello", "{reply:?}");
    Ok(())
}

#[tokio::test]
async fn after_a_malformed_message_it_reconnects_at_once_but_not_again_and_again() -> Result<()> {
    const WAIT: Duration = Duration::from_secs(2);
    let server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        reconnect_wait: WAIT,
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    let up = Instant::now();
    let _echoing = echo(&connector, "echo").await?;
    let (client, mut raw) = (server.client().await?, Raw::connect(&server).await?);
    answered(&client, "echo").await?;

    // It counts that the connection has been up for so long.
    sleep_until(up + WAIT).await;
    let sent = Instant::now();
    raw.publish("echo", "", SPACE_IN_NAME, b"").await?;
    until("it has reconnected", || connector.counters().connects == 2).await?;
    answered(&client, "echo").await?;
    let took = sent.elapsed();
    ensure!(took < WAIT, "it waited before it reconnected: {took:?}");

    let sent = Instant::now();
    raw.publish("echo", "", SPACE_IN_NAME, b"").await?;
    until("it has reconnected", || connector.counters().connects == 3).await?;
    let took = sent.elapsed();
    // The connection was up for a moment of that wait.
    ensure!(took >= WAIT, "it did not wait: {took:?}");
    answered(&client, "echo").await?;
    assert_eq!(connector.counters().disconnects, 2);
    Ok(())
}
