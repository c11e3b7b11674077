//! Stopping without losing a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf::config::ConnectionSettings;
use wharf::{Connector, Error, RawSubscription};
use wharf_tests::{TestServer, round_trip, soon, until};

const SUBJECTS: u64 = 4;

/// Answers that are still to come, at most: fewer than any subscription has room for.
const AHEAD: u64 = 10_000;

/// Publishes on all subjects until told to stop, as fast as the answers let it.
fn flood(
    client: async_nats::Client,
    answers: Arc<AtomicU64>,
    stop: CancellationToken,
) -> JoinHandle<Result<()>> {
    tokio::spawn(async move {
        let mut published = 0;
        while !stop.is_cancelled() {
            if published < answers.load(Ordering::Relaxed) + AHEAD {
                let subject = format!("flood.{}", published % SUBJECTS);
                client.publish(subject, "a message".into()).await?;
                published += 1;
            } else {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    })
}

/// Counts the answers.
async fn count(client: async_nats::Client, answers: Arc<AtomicU64>) -> Result<JoinHandle<()>> {
    let mut messages = client.subscribe("handled").await?;
    round_trip(&client).await?;
    Ok(tokio::spawn(async move {
        while messages.next().await.is_some() {
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }))
}

/// Answers every message with another one, and counts them.
fn handle(mut messages: RawSubscription, connector: Connector) -> JoinHandle<Result<u64, Error>> {
    tokio::spawn(async move {
        let mut handled = 0;
        while messages.next().await.is_some() {
            connector.publish_raw("handled", "").await?;
            handled += 1;
        }
        Ok(handled)
    })
}

/// What the server counted on a connection, once that is closed.
async fn closed_connection(server: &TestServer, id: u64) -> Result<serde_json::Value> {
    soon("the server sees the end of the connection", async {
        loop {
            let mut connz = server
                .monitor(&format!("/connz?state=closed&cid={id}"))
                .await?;
            if let Some(closed) = connz["connections"].get_mut(0) {
                return Ok(closed.take());
            }
        }
    })
    .await?
}

/// One stop under load, after what else happens to the subscriptions.
pub(crate) async fn drain_under_flood(
    server: &TestServer,
    connector: Connector,
    happens: impl AsyncFnOnce(&Connector) -> Result<()>,
) -> Result<()> {
    let answers = Arc::new(AtomicU64::new(0));
    let counting = count(server.client().await?, Arc::clone(&answers)).await?;
    let mut handlers = Vec::new();
    for subject in 0..SUBJECTS {
        let messages = connector
            .subscribe_raw(&format!("flood.{subject}"), None)
            .await?;
        handlers.push(handle(messages, connector.clone()));
    }
    // The flood waits for answers: what it sends first must not be nobody's.
    connector.flush_published().await?;
    happens(&connector).await?;
    let id = connector.client().server_info().client_id;
    let stop = CancellationToken::new();
    let load = flood(server.client().await?, Arc::clone(&answers), stop.clone());
    until("it is under load", || {
        answers.load(Ordering::Relaxed) > 2_000
    })
    .await?;
    let probe = connector.clone();
    connector.drain().await?;
    stop.cancel();
    load.await??;
    let mut handled = 0;
    for handler in join_all(handlers).await {
        handled += handler??;
    }
    assert_eq!(
        probe.counters().slow_consumers,
        0,
        "this test is not about full queues"
    );
    let closed = closed_connection(server, id).await?;
    // Each handled message made one, and each fence is a message there and back: any difference is a loss.
    assert_eq!(
        closed["out_msgs"], closed["in_msgs"],
        "the server sent as many as it got: {closed}"
    );
    assert!(
        closed["out_msgs"].as_u64() > Some(handled),
        "{handled} were handled: {closed}"
    );
    until("every answer arrives", || {
        answers.load(Ordering::Relaxed) == handled
    })
    .await?;
    counting.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_it_stops_under_a_flood() -> Result<()> {
    let server = TestServer::start("").await?;
    for _ in 0..20 {
        let connector = Connector::connect(server.settings()).await?;
        drain_under_flood(&server, connector, async |_| Ok(())).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_has_arrived_can_still_be_read_and_then_it_ends() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let mut numbers = connector.subscribe::<u32>("numbers", None).await?;
    for number in 0..1000 {
        connector.publish("numbers", &number).await?;
    }
    let draining = tokio::spawn(connector.drain());
    let mut read = Vec::new();
    while let Some(number) = numbers.next().await {
        read.push(number?.value);
    }
    assert_eq!(read, (0..1000).collect::<Vec<_>>());
    draining.await??;
    Ok(())
}

#[tokio::test]
async fn a_subscription_that_nobody_reads_holds_it_up_until_the_drain_timeout() -> Result<()> {
    let server = TestServer::start("").await?;
    let drain_timeout = Duration::from_millis(300);
    let connector = Connector::connect(ConnectionSettings {
        drain_timeout,
        ..server.settings()
    })
    .await?;
    let state = connector.state();
    let _unread = connector.subscribe_raw("numbers", None).await?;
    assert_eq!(
        soon("the drain ends", connector.drain())
            .await?
            .expect_err("not read"),
        Error::Timeout
    );
    assert_eq!(*state.borrow(), wharf::ConnectionState::Closed);
    Ok(())
}

#[tokio::test]
async fn it_also_ends_without_a_server() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let drain_timeout = Duration::from_millis(300);
    let settings = ConnectionSettings {
        drain_timeout,
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    let mut messages = connector.subscribe_raw("numbers", None).await?;
    server.stop().await?;
    let draining = tokio::spawn(connector.drain());
    assert!(
        soon("the subscription ends", messages.next())
            .await?
            .is_none()
    );
    assert!(
        soon("the drain ends", draining).await??.is_err(),
        "nothing is proven without a server"
    );
    Ok(())
}
