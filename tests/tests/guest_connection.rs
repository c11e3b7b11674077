//! Guests while the connection comes and goes, and hosts that share the work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use serde_json::json;
use wharf::Host;
use wharf::config::SubscriptionSettings;
use wharf_tests::probe::{Probe, config, probe};
use wharf_tests::{PATIENCE, TestServer, round_trip, until};

#[tokio::test]
async fn after_a_restart_of_the_server_every_guest_receives_again() -> Result<()> {
    let mut probe = Probe::start(|config, settings, _| {
        config.nats.max_reconnect = None;
        settings.may_subscribe = vec!["own".into()];
        let mut other = settings.clone();
        other.subscribe = vec!["other".into()];
        config.guests.insert("other".to_owned(), other);
    })
    .await?;
    probe
        .ok(json!({ "do": "subscribe", "subject": "own" }))
        .await?;
    let mut state = probe.host.connector().state();
    probe.server.stop().await?;
    state
        .wait_for(|state| *state == wharf::ConnectionState::Disconnected)
        .await?;
    probe.server.start_again().await?;
    state
        .wait_for(|state| *state == wharf::ConnectionState::Connected)
        .await?;
    probe.host.connector().flush_published().await?;
    probe.client = probe.server.client().await?;
    for subject in ["probe", "own", "other"] {
        assert_eq!(probe.describe(subject).await?["subject"], subject);
    }
    assert_eq!(probe.host.connection_counters().connects, 2);
    Ok(())
}

#[tokio::test]
async fn while_there_is_no_server_a_guest_gets_errors_and_lives() -> Result<()> {
    let mut probe = Probe::start(|config, settings, _| {
        config.nats.max_reconnect = None;
        settings.publish = vec!["began".into()];
        settings.request = vec!["gate".into()];
        settings.limits.time = PATIENCE;
    })
    .await?;
    let mut gate = probe.client.subscribe("gate").await?;
    round_trip(&probe.client).await?;
    let step = json!({ "do": "request", "subject": "gate", "timeout_ms": 500 });
    probe
        .client
        .publish("probe", step.to_string().into())
        .await?;
    tokio::time::timeout(PATIENCE, gate.next())
        .await?
        .context("the gate is closed")?;
    probe.server.stop().await?;
    until("the guest has its error", || {
        probe
            .host
            .stats("probe")
            .is_some_and(|stats| stats.handled == 1)
    })
    .await?;
    probe.server.start_again().await?;
    let mut state = probe.host.connector().state();
    state
        .wait_for(|state| *state == wharf::ConnectionState::Connected)
        .await?;
    probe.host.connector().flush_published().await?;
    probe.client = probe.server.client().await?;
    assert_eq!(probe.describe("probe").await?["calls"], 2);
    Ok(())
}

#[tokio::test]
async fn when_reconnects_are_used_up_the_host_says_so() -> Result<()> {
    let mut probe = Probe::start(|config, _, _| {
        config.nats.max_reconnect = Some(2);
        config.nats.reconnect_wait = Duration::from_millis(20);
    })
    .await?;
    probe.server.kill().await?;
    let why = tokio::time::timeout(PATIENCE, probe.host.lost()).await?;
    ensure!(why.contains("lost"), "{why}");
    let report = probe.host.shutdown().await;
    ensure!(!report.problems.is_empty(), "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_in_a_queue_group_share_ten_thousand_messages_and_handle_each_once() -> Result<()>
{
    const MESSAGES: usize = 10_000;
    let server = TestServer::start("").await?;
    let mut hosts = Vec::new();
    for _ in 0..2 {
        let mut config = config(&server);
        let mut settings = probe()?;
        settings.subscribe = vec![SubscriptionSettings::new("jobs.*").with_queue("workers")];
        config.guests.insert("worker".to_owned(), settings);
        hosts.push(Host::builder(config).start().await?);
    }
    let client = server.client().await?;
    let mut answers = client.subscribe("answers").await?;
    let step = bytes::Bytes::from(json!({ "do": "describe" }).to_string());
    for number in 0..MESSAGES {
        client
            .publish_with_reply(format!("jobs.{number}"), "answers", step.clone())
            .await?;
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..MESSAGES {
        let answer = tokio::time::timeout(PATIENCE, answers.next())
            .await?
            .context("the server is gone")?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
        let subject = answer["ok"]["subject"]
            .as_str()
            .context("a subject")?
            .to_owned();
        ensure!(seen.insert(subject.clone()), "{subject} was handled twice");
    }
    let handled: Vec<u64> = hosts
        .iter()
        .map(|host| host.stats("worker").unwrap_or_default().handled)
        .collect();
    assert_eq!(seen.len(), MESSAGES);
    ensure!(
        handled.iter().all(|handled| *handled > 0),
        "one host had nothing to do: {handled:?}"
    );
    for host in hosts {
        ensure!(host.shutdown().await.is_clean());
    }
    Ok(())
}
