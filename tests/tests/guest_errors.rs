//! What a guest is told when the server refuses, lacks a feature, or is gone. The guest lives on each time.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wharf::Host;
use wharf::config::BucketAccess;
use wharf_tests::TestServer;
use wharf_tests::probe::{Probe, config, probe};
use wharf_tests::round_trip;

/// A probe that may do all that concerns its server, on this server.
async fn on(server: TestServer) -> Result<Probe> {
    let mut config = config(&server);
    config.nats.max_reconnect = None;
    let mut settings = probe()?;
    settings.publish = vec![">".into()];
    settings.request = vec![">".into()];
    settings.limits.time = Duration::from_secs(60);
    settings
        .buckets
        .insert("b".to_owned(), BucketAccess::ReadWrite);
    config.guests.insert("probe".to_owned(), settings);
    let host = Host::builder(config).start().await?;
    let client = server.client().await?;
    Ok(Probe {
        server,
        host,
        client,
        directory: tempfile::tempdir()?,
    })
}

#[tokio::test]
async fn what_the_server_forbids_the_host_is_told_to_the_guest_in_the_servers_words() -> Result<()>
{
    let permissions = "authorization { users: [
        { user: host, password: p, permissions: { publish: { deny: [\"forbidden.>\"] } } }
        { user: other, password: p }
    ] }
    no_auth_user: host";
    let probe = on(TestServer::start(permissions).await?).await?;
    for what in ["request", "store"] {
        let (kind, text) = probe
            .err(json!({ "do": what, "subject": "forbidden.x" }))
            .await?;
        assert_eq!(kind, "failed", "{what}: {text}");
        assert!(text.contains("forbidden.x"), "{text}");
    }
    assert_eq!(probe.describe("probe").await?["calls"], 3);
    Ok(())
}

#[tokio::test]
async fn what_the_server_lacks_is_named() -> Result<()> {
    let probe = on(TestServer::start("").await?).await?;
    // A bucket that another client has made, without support for a time to live of its own for each key.
    let theirs = async_nats::jetstream::new(probe.client.clone());
    let config = async_nats::jetstream::kv::Config {
        bucket: "b".into(),
        ..Default::default()
    };
    theirs.create_key_value(config).await?;
    let set = json!({ "do": "set", "bucket": "b", "key": "k", "value": "v", "ttl_ms": 5000 });
    let (kind, text) = probe.err(set).await?;
    assert_eq!(kind, "unsupported", "{text}");
    assert!(text.contains("bucket `b`"), "{text}");
    let stream = async_nats::jetstream::stream::Config {
        name: "S".into(),
        subjects: vec!["s.>".into()],
        ..Default::default()
    };
    theirs.create_stream(stream).await?;
    let (kind, text) = probe
        .err(json!({ "do": "store", "subject": "s.a", "ttl_ms": 5000 }))
        .await?;
    assert_eq!(kind, "unsupported", "{text}");
    Ok(())
}

#[tokio::test]
async fn while_no_server_can_be_reached_calls_are_unavailable_or_time_out() -> Result<()> {
    let mut probe = on(TestServer::start("").await?).await?;
    probe
        .ok(json!({ "do": "set", "bucket": "b", "key": "k", "value": "before" }))
        .await?;
    // The reply is kept for us until both are back.
    let stream = async_nats::jetstream::stream::Config {
        name: "ANSWERS".into(),
        subjects: vec!["answers".into()],
        ..Default::default()
    };
    async_nats::jetstream::new(probe.client.clone())
        .create_stream(stream)
        .await?;
    let mut gate = probe.client.subscribe("gate").await?;
    round_trip(&probe.client).await?;
    let get = json!({ "do": "get", "bucket": "b", "key": "k" });
    let steps = json!({ "do": "all", "steps": [
        { "do": "request", "subject": "gate", "timeout_ms": 2000 },
        get,
        { "do": "increment", "bucket": "b", "key": "n", "by": 1 },
        { "do": "store", "subject": "other" },
    ] });
    probe
        .client
        .publish_with_reply("probe", "answers", steps.to_string().into())
        .await?;
    futures_util::StreamExt::next(&mut gate)
        .await
        .context("the gate is closed")?;
    probe.server.stop().await?;
    let handled = || {
        probe
            .host
            .stats("probe")
            .is_some_and(|stats| stats.handled == 2)
    };
    wharf_tests::until("the guest has an answer to each", handled).await?;
    probe.server.start_again().await?;
    let mut state = probe.host.connector().state();
    state
        .wait_for(|state| *state == wharf::ConnectionState::Connected)
        .await?;
    probe.host.connector().flush_published().await?;
    probe.client = probe.server.client().await?;
    let answers = async_nats::jetstream::new(probe.client.clone())
        .get_stream("ANSWERS")
        .await?;
    let answer = answers.get_last_raw_message_by_subject("answers").await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    for (step, result) in steps["steps"].as_array().into_iter().flatten().zip(0..) {
        let kind = &answer["ok"][result]["error"]["kind"];
        assert!(
            kind == "unavailable" || kind == "timeout",
            "{step}: {answer}"
        );
    }
    assert_eq!(probe.ok(get).await?, "before");
    Ok(())
}
