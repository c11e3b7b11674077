//! Stopping: what has arrived is handled, what was published arrives, and the report says what did not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wharf::Host;
use wharf_tests::probe::{Probe, config, probe};
use wharf_tests::wharf::{Wharf, command};
use wharf_tests::{PATIENCE, TestServer, component, round_trip, until};

/// How many hosts are stopped under load, one after the other, as a library and as a process.
const STOPS: usize = 20;

/// A server whose system account tells what it has sent to whom.
const WITNESS: &str = "
    accounts {
        SYS { users: [{ user: sys, password: sys }] }
        APP { jetstream: enabled, users: [{ user: app, password: app }] }
    }
    system_account: SYS
    no_auth_user: app
";

/// A server, a flood of messages to `probe`, and a second client that counts what guests publish on `out`.
struct Load {
    server: TestServer,
    witness: async_nats::Client,
    received: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    flood: JoinHandle<Result<()>>,
    count: JoinHandle<()>,
}

impl Load {
    async fn start() -> Result<Self> {
        let server = TestServer::start(WITNESS).await?;
        let options =
            async_nats::ConnectOptions::with_user_and_password("sys".into(), "sys".into());
        let witness = options.connect(server.url()).await?;
        let received = Arc::new(AtomicU64::new(0));
        let listener = server.client().await?;
        let mut out = listener.subscribe("out").await?;
        round_trip(&listener).await?;
        let count = tokio::spawn({
            let received = Arc::clone(&received);
            async move {
                while out.next().await.is_some() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let done = Arc::new(AtomicBool::new(false));
        let flood = tokio::spawn(flood(server.client().await?, Arc::clone(&done)));
        Ok(Self {
            server,
            witness,
            received,
            done,
            flood,
            count,
        })
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How many messages the server has sent to the host that was stopped as number `stop`, counted from 0.
    async fn sent_to(&self, stop: usize) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut closed = self.closed().await?;
            // The server sees a closed connection a little later than the host does.
            if closed.len() > stop {
                closed.sort_by_key(|connection| connection["cid"].as_u64());
                return closed[stop]["out_msgs"].as_u64().context("a number");
            }
            ensure!(
                Instant::now() < deadline,
                "the server has seen only {} hosts close",
                closed.len()
            );
        }
    }

    /// The connections of hosts that are closed (state 1).
    async fn closed(&self) -> Result<Vec<Value>> {
        let options = json!({ "state": 1, "acc": "APP", "limit": 1024 }).to_string();
        let reply = self
            .witness
            .request("$SYS.REQ.SERVER.PING.CONNZ", options.into())
            .await?;
        let answer: Value = serde_json::from_slice(&reply.payload)?;
        let closed = answer["data"]["connections"]
            .as_array()
            .with_context(|| answer.to_string())?;
        Ok(closed
            .iter()
            .filter(|connection| connection["name"] == "wharf")
            .cloned()
            .collect())
    }

    async fn end(self) -> Result<()> {
        self.done.store(true, Ordering::Relaxed);
        self.flood.await??;
        self.count.abort();
        Ok(())
    }
}

/// Publishes as fast as a guest can nearly follow, until told otherwise.
async fn flood(client: async_nats::Client, done: Arc<AtomicBool>) -> Result<()> {
    let step = bytes::Bytes::from(json!({ "do": "publish", "subject": "out" }).to_string());
    let mut pace = tokio::time::interval(Duration::from_millis(2));
    while !done.load(Ordering::Relaxed) {
        for _ in 0..100 {
            client.publish("probe", step.clone()).await?;
        }
        pace.tick().await;
    }
    Ok(())
}

/// The messages of a host that are no guest's: its fences, one at the start and two at the stop, more if they take long.
const FENCES: std::ops::RangeInclusive<u64> = 3..=12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_stopped_under_full_load_loses_nothing() -> Result<()> {
    let load = Load::start().await?;
    let mut handled = 0;
    for stop in 0..STOPS {
        let mut config = config(&load.server);
        let mut settings = probe()?;
        settings.publish.push("out".into());
        settings.limits.queue_messages = 1_000_000;
        settings.limits.queue_bytes = 1 << 30;
        config.guests.insert("probe".to_owned(), settings);
        let host = Host::builder(config).start().await?;
        until("it is under load", || {
            host.stats("probe").is_some_and(|stats| stats.handled > 500)
        })
        .await?;
        let connector = host.connector().clone();
        let report = host.shutdown().await;
        ensure!(report.is_clean(), "{report:?}");
        let stats = report.guests["probe"];
        ensure!(
            stats.dropped == 0 && stats.handled == stats.received,
            "{stats:?}"
        );
        let sent = load.sent_to(stop).await?;
        assert_eq!(
            sent,
            connector.counters().messages_in,
            "all that the server sent has been read"
        );
        ensure!(
            FENCES.contains(&(sent - stats.handled)),
            "sent {sent}, handled {stats:?}"
        );
        handled += stats.handled;
    }
    // Each message that was handled is one publish of the guest: a second client has them all, and no more.
    until("all publishes have arrived", || load.received() >= handled).await?;
    assert_eq!(load.received(), handled);
    load.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_told_to_stop_under_full_load_loses_nothing_and_exits_with_0() -> Result<()> {
    let load = Load::start().await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("wharf.toml");
    let (server, component) = (load.server.url(), component("probe")?);
    let component = component.display();
    let settings = format!(
        "[nats]\nserver = {server:?}\n[guests.probe]\ncomponent = \"{component}\"\nsubscribe = [\"probe\"]\n\
         publish = [\"out\"]\nlimits = {{ queue = 1000000, queue_bytes = \"1GiB\" }}\n"
    );
    std::fs::write(&file, settings)?;
    for stop in 0..STOPS {
        let before = load.received();
        let host = Wharf::start(command(directory.path(), &["run"])?).await?;
        until("it is under load", || load.received() > before + 500).await?;
        let log = host.stop().await?.well()?;
        let sent = load.sent_to(stop).await?;
        until("all publishes have arrived", || {
            FENCES.contains(&(sent - (load.received() - before)))
        })
        .await
        .with_context(|| format!("sent {sent}, published {}: {log}", load.received() - before))?;
    }
    load.end().await
}

/// A guest that holds a message until it is told to go on.
async fn held(
    change: impl FnOnce(&mut wharf::config::Config),
) -> Result<(Probe, async_nats::Message)> {
    let probe = Probe::start(|config, settings, _| {
        settings.request = vec!["gate".into()];
        settings.instances.max = std::num::NonZeroU32::MIN;
        settings.limits.time = PATIENCE;
        change(config);
    })
    .await?;
    let mut gate = probe.client.subscribe("gate").await?;
    round_trip(&probe.client).await?;
    let step = json!({ "do": "request", "subject": "gate", "timeout_ms": 60_000 });
    probe
        .client
        .publish_with_reply("probe", "answers", step.to_string().into())
        .await?;
    let held = tokio::time::timeout(PATIENCE, gate.next())
        .await?
        .context("the gate is closed")?;
    Ok((probe, held))
}

#[tokio::test]
async fn a_message_in_hand_and_those_behind_it_are_finished_and_answered() -> Result<()> {
    let (probe, held) = held(|_| {}).await?;
    let mut answers = probe.client.subscribe("answers").await?;
    for _ in 0..5 {
        let step = json!({ "do": "describe" }).to_string();
        probe
            .client
            .publish_with_reply("probe", "answers", step.into())
            .await?;
    }
    until("all have arrived", || {
        probe
            .host
            .stats("probe")
            .is_some_and(|stats| stats.received == 6)
    })
    .await?;
    let stopping = tokio::spawn(probe.host.shutdown());
    // Once the host has unsubscribed, the message still in flight is told to go on.
    while probe.client.request("probe", "".into()).await.is_ok() {}
    probe
        .client
        .publish(held.reply.context("a reply subject")?, "go on".into())
        .await?;
    let report = stopping.await?;
    // What asked whether the host has unsubscribed may have come in time, too.
    assert!(report.is_clean() && report.finished >= 6, "{report:?}");
    assert_eq!(
        report.finished, report.guests["probe"].received,
        "{report:?}"
    );
    for _ in 0..6 {
        tokio::time::timeout(PATIENCE, answers.next())
            .await?
            .context("an answer is missing")?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_finished_within_the_drain_timeout_is_abandoned_and_reported() -> Result<()> {
    let (probe, _held) =
        held(|config| config.nats.drain_timeout = Duration::from_millis(300)).await?;
    for _ in 0..3 {
        probe
            .client
            .publish("probe", json!({ "do": "silence" }).to_string().into())
            .await?;
    }
    until("all have arrived", || {
        probe
            .host
            .stats("probe")
            .is_some_and(|stats| stats.received == 4)
    })
    .await?;
    let report = probe.host.shutdown().await;
    assert_eq!((report.finished, report.abandoned), (0, 4), "{report:?}");
    assert!(!report.is_clean());
    Ok(())
}

#[tokio::test]
async fn a_guest_that_takes_all_the_time_leaves_the_others_theirs() -> Result<()> {
    let mut other = probe()?;
    let (probe, _held) = held(|config| {
        config.nats.drain_timeout = Duration::from_secs(2);
        other.subscribe.clear();
        other.request = vec!["bye".into()];
        other.config.insert(
            "stop".to_owned(),
            json!([{ "do": "request", "subject": "bye" }]).to_string(),
        );
        config.guests.insert("the-other".to_owned(), other);
    })
    .await?;
    let mut farewells = probe.client.subscribe("bye").await?;
    round_trip(&probe.client).await?;
    let stopping = tokio::spawn(probe.host.shutdown());
    let bye = tokio::time::timeout(PATIENCE, farewells.next())
        .await?
        .context("no farewell")?;
    probe
        .client
        .publish(bye.reply.context("a reply subject")?, "bye".into())
        .await?;
    let report = stopping.await?;
    assert_eq!(report.abandoned, 1, "{report:?}");
    assert!(
        !report
            .problems
            .iter()
            .any(|problem| problem.contains("the-other")),
        "{report:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_host_stops_in_time_though_the_client_takes_no_orders() -> Result<()> {
    let mut probe = Probe::start(|config, _, _| {
        config.nats.max_reconnect = None;
        config.nats.drain_timeout = Duration::from_millis(300);
    })
    .await?;
    probe.server.kill().await?;
    // Without a server the client's queue fills up, until it takes nothing more: not even the end of a subscription.
    while probe.host.connector().publish("x", &1).await.is_ok() {}
    let report = tokio::time::timeout(PATIENCE, probe.host.shutdown()).await?;
    assert!(!report.problems.is_empty(), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn dropping_the_host_drains_it_too() -> Result<()> {
    let (probe, held) = held(|_| {}).await?;
    let mut answers = probe.client.subscribe("answers").await?;
    round_trip(&probe.client).await?;
    drop(probe.host);
    while probe.client.request("probe", "".into()).await.is_ok() {}
    probe
        .client
        .publish(held.reply.context("a reply subject")?, "go on".into())
        .await?;
    tokio::time::timeout(PATIENCE, answers.next())
        .await?
        .context("the answer is missing")?;
    Ok(())
}

#[tokio::test]
async fn a_host_runs_until_its_shutdown_future_completes() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(probe.host.run_until(async { drop(stopped.await) }));
    let answer = probe
        .client
        .request("probe", json!({ "do": "describe" }).to_string().into())
        .await?;
    assert!(!answer.payload.is_empty());
    drop(stop);
    assert!(running.await?.is_clean());
    Ok(())
}
