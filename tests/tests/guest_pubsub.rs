//! `wharf:nats/pubsub` and `jetstream`, called from a real guest: every function, its success and its errors.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use futures_util::StreamExt;
use serde_json::{Value, json};
use wharf::config::{Config, GuestSettings, SubjectGrant, SubscriptionSettings};
use wharf_tests::probe::Probe;
use wharf_tests::round_trip;
use wharf_tests::until;

/// May publish on and send requests to `out.>`, behind the prefix `test.`.
fn granted(_: &mut Config, settings: &mut GuestSettings, _: &tempfile::TempDir) {
    settings.prefix = Some("test.".to_owned());
    settings.subscribe = vec![
        "probe.*".into(),
        SubscriptionSettings::new("probe").without_prefix(),
    ];
    let bare = |subject: &str| SubjectGrant::new(subject).without_prefix();
    settings.publish = vec!["out.>".into(), bare("bare.out")];
    settings.request = vec!["out.>".into(), bare("bare.out")];
    settings.may_subscribe = vec!["in.>".into(), bare("bare.in.*")];
}

async fn next(subscriber: &mut async_nats::Subscriber) -> Result<async_nats::Message> {
    let message = tokio::time::timeout(Duration::from_secs(20), subscriber.next()).await?;
    message.context("the subscription has ended")
}

#[tokio::test]
async fn a_guest_publishes_behind_its_prefix_or_without_it() -> Result<()> {
    let probe = Probe::start(granted).await?;
    let mut out = probe.client.subscribe("test.out.a").await?;
    let mut bare = probe.client.subscribe("bare.out").await?;
    let headers = json!([
        ["x-a", "1"],
        ["x-a", "2"],
        ["Nats-Msg-Id", "no"],
        ["KV-Operation", "DEL"]
    ]);
    let reply_to = "out.replies";
    probe
        .ok(json!({ "do": "publish", "subject": "out.a", "text": "hi", "headers": headers, "reply_to": reply_to }))
        .await?;
    let message = next(&mut out).await?;
    assert_eq!(message.payload, "hi");
    assert_eq!(message.reply.as_deref(), Some("test.out.replies"));
    let headers = message.headers.context("headers")?;
    assert_eq!(
        headers
            .get_all("x-a")
            .map(|value| value.as_str())
            .collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert_eq!(
        headers.len(),
        1,
        "headers by which the server takes orders are left out: {headers:?}"
    );
    probe
        .ok(json!({ "do": "publish", "subject": "bare.out", "text": "x", "ignore_prefix": true }))
        .await?;
    assert_eq!(next(&mut bare).await?.payload, "x");
    Ok(())
}

#[tokio::test]
async fn what_is_not_granted_is_denied_with_the_name_of_the_missing_grant() -> Result<()> {
    let probe = Probe::start(granted).await?;
    for (step, grant) in [
        (json!({ "do": "publish", "subject": "other" }), "`publish`"),
        (
            json!({ "do": "publish", "subject": "out.a", "ignore_prefix": true }),
            "`publish`",
        ),
        (
            json!({ "do": "publish", "subject": "out.a", "reply_to": "elsewhere" }),
            "`publish`",
        ),
        (json!({ "do": "request", "subject": "other" }), "`request`"),
        (json!({ "do": "store", "subject": "other" }), "`publish`"),
        (
            json!({ "do": "subscribe", "subject": "out.a" }),
            "`may_subscribe`",
        ),
        (
            json!({ "do": "subscribe", "subject": ">" }),
            "`may_subscribe`",
        ),
        (
            json!({ "do": "unsubscribe", "subject": "probe" }),
            "`may_subscribe`",
        ),
    ] {
        let (kind, text) = probe.err(step.clone()).await?;
        assert_eq!(kind, "denied", "{step}");
        assert!(text.contains(grant), "{step}: {text}");
    }
    let denied = probe.host.stats("probe").context("the probe runs")?.denied;
    assert_eq!(denied, 8);
    Ok(())
}

#[tokio::test]
async fn the_servers_own_subjects_are_denied_even_under_a_grant_for_everything() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.publish = vec![">".into()];
        settings.request = vec![">".into()];
        settings.may_subscribe = vec![">".into()];
    })
    .await?;
    for subject in [
        "$JS.API.INFO",
        "$KV.b.k",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.x.y",
    ] {
        for what in ["publish", "request", "store", "subscribe"] {
            let (kind, text) = probe.err(json!({ "do": what, "subject": subject })).await?;
            assert_eq!(kind, "denied", "{what} {subject}: {text}");
        }
    }
    let reply_to =
        json!({ "do": "publish", "subject": "a", "reply_to": "$JS.API.STREAM.DELETE.x" });
    assert_eq!(probe.err(reply_to).await?.0, "denied");
    Ok(())
}

#[tokio::test]
async fn subjects_headers_and_payloads_that_nats_does_not_allow_are_errors() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.publish = vec![">".into()];
        settings.request = vec![">".into()];
        settings.may_subscribe = vec![">".into()];
    })
    .await?;
    for subject in [
        "",
        "a..b",
        ".a",
        "a.",
        "a b",
        "a.*",
        "a.>",
        "a\r\nPUB b 0\r\n",
    ] {
        for what in ["publish", "request", "store"] {
            let (kind, text) = probe.err(json!({ "do": what, "subject": subject })).await?;
            assert_eq!(kind, "invalid", "{what} {subject:?}: {text}");
        }
    }
    for subject in ["", "a..b", "a.>.b", "a b"] {
        assert_eq!(
            probe
                .err(json!({ "do": "subscribe", "subject": subject }))
                .await?
                .0,
            "invalid",
            "{subject:?}"
        );
    }
    let header = |name: &str, value: &str| json!({ "do": "publish", "subject": "a", "headers": [[name, value]] });
    assert_eq!(probe.err(header("a:b", "c")).await?.0, "invalid");
    assert_eq!(probe.err(header("a", "b\r\nc")).await?.0, "invalid");
    let (kind, most) = probe
        .err(json!({ "do": "publish", "subject": "a", "bytes": 2_000_000 }))
        .await?;
    assert_eq!((kind.as_str(), most.as_str()), ("too-large", "1048576"));
    assert_eq!(
        probe
            .err(json!({ "do": "store", "subject": "a", "ttl_ms": 10 }))
            .await?
            .0,
        "invalid"
    );
    Ok(())
}

#[tokio::test]
async fn a_guest_sends_a_request_and_gets_the_reply_with_its_headers() -> Result<()> {
    let probe = Probe::start(granted).await?;
    let mut asked = probe.client.subscribe("test.out.question").await?;
    let client = probe.client.clone();
    let answering = tokio::spawn(async move {
        let question = next(&mut asked).await?;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("x-from", "us");
        let inbox = question.reply.context("a request has a reply subject")?;
        client
            .publish_with_headers(inbox, headers, "42".into())
            .await?;
        anyhow::Ok(())
    });
    let reply = probe
        .ok(json!({ "do": "request", "subject": "out.question" }))
        .await?;
    assert_eq!(
        reply,
        json!({ "text": "42", "headers": [["x-from", "us"]] })
    );
    answering.await??;
    assert_eq!(
        probe
            .err(json!({ "do": "request", "subject": "out.nobody" }))
            .await?
            .0,
        "no-responders"
    );
    let _silent = probe.client.subscribe("test.out.silent").await?;
    round_trip(&probe.client).await?;
    let step = json!({ "do": "request", "subject": "out.silent", "timeout_ms": 20 });
    assert_eq!(probe.err(step).await?.0, "timeout");
    Ok(())
}

#[tokio::test]
async fn a_guest_subscribes_itself_and_ends_its_subscription() -> Result<()> {
    let probe = Probe::start(granted).await?;
    let nobody = |error: anyhow::Error| error.to_string().contains("no responders");
    assert!(probe.describe("test.in.a").await.is_err_and(nobody));
    for _ in 0..2 {
        probe
            .ok(json!({ "do": "subscribe", "subject": "in.*" }))
            .await?;
    }
    assert_eq!(probe.describe("test.in.a").await?["subject"], "in.a");
    probe
        .ok(json!({ "do": "unsubscribe", "subject": "in.*" }))
        .await?;
    probe
        .ok(json!({ "do": "unsubscribe", "subject": "in.*" }))
        .await?;
    assert!(probe.describe("test.in.a").await.is_err_and(nobody));
    probe
        .ok(json!({ "do": "subscribe", "subject": "bare.in.*", "queue": "q", "ignore_prefix": true }))
        .await?;
    assert_eq!(probe.describe("bare.in.b").await?["subject"], "bare.in.b");
    let (kind, _) = probe
        .err(json!({ "do": "subscribe", "subject": "in.x", "queue": "a b" }))
        .await?;
    assert_eq!(kind, "invalid");
    Ok(())
}

#[tokio::test]
async fn a_guest_sees_the_message_without_its_prefix_and_with_its_headers() -> Result<()> {
    let probe = Probe::start(granted).await?;
    let mut headers = async_nats::HeaderMap::new();
    headers.append("x-b", "1");
    headers.append("x-b", "2");
    let payload = json!({ "do": "describe" }).to_string();
    let reply = probe
        .client
        .request_with_headers("test.probe.one", headers, payload.into())
        .await?;
    let seen: Value = serde_json::from_slice(&reply.payload)?;
    assert_eq!(seen["ok"]["subject"], "probe.one");
    assert_eq!(seen["ok"]["headers"], json!([["x-b", "1"], ["x-b", "2"]]));
    assert!(
        seen["ok"]["reply_to"]
            .as_str()
            .is_some_and(|inbox| inbox.starts_with("_INBOX."))
    );
    assert_eq!(seen["ok"]["has_delivery"], false);
    Ok(())
}

#[tokio::test]
async fn a_reply_to_the_current_message_needs_no_grant() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let mut answers = probe.client.subscribe("answers").await?;
    let step = json!({ "do": "publish", "subject": "answers", "text": "by hand" });
    probe
        .client
        .publish_with_reply("probe", "answers", step.to_string().into())
        .await?;
    let (first, second) = (next(&mut answers).await?, next(&mut answers).await?);
    assert_eq!(first.payload, "by hand");
    assert_eq!(second.payload, json!({ "ok": null }).to_string());
    assert_eq!(probe.err(step).await?.0, "denied", "no longer in flight");
    Ok(())
}

#[tokio::test]
async fn a_sender_cannot_have_the_host_publish_where_it_may_not_itself() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.publish = vec!["granted".into()];
    })
    .await?;
    let mut heard = probe.client.subscribe(">").await?;
    round_trip(&probe.client).await?;
    let by_hand = json!({ "do": "publish", "subject": "victim.a", "text": "by hand" });
    let ask = async |reply_to: &str, step: &serde_json::Value| {
        let step = step.to_string().into();
        let client = &probe.client;
        client
            .publish_with_reply("probe", reply_to.to_owned(), step)
            .await
    };
    let plant = json!({ "do": "reply", "text": "planted" });
    ask("victim.a", &plant).await?;
    ask("victim.a", &json!({ "do": "trap" })).await?;
    ask("victim.a", &by_hand).await?;
    let refused = || {
        let stats = probe.host.stats("probe");
        stats.is_some_and(|stats| stats.replies_failed == 3 && stats.denied_publish == 1)
    };
    until("the refusals are counted", refused).await?;
    // A grant of the guest is enough. What was sent before it has been heard by then.
    ask("granted", &plant).await?;
    loop {
        let message = next(&mut heard).await?;
        ensure!(message.subject.as_str() != "victim.a", "{message:?}");
        if message.subject.as_str() == "granted" {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_sender_does_not_divert_what_a_guest_publishes_behind_its_prefix() -> Result<()> {
    let probe = Probe::start(granted).await?;
    let mut own = probe.client.subscribe("test.out.a").await?;
    let step = json!({ "do": "publish", "subject": "out.a", "text": "for test.out.a" });
    probe
        .client
        .publish_with_reply("probe", "out.a", step.to_string().into())
        .await?;
    assert_eq!(next(&mut own).await?.payload, "for test.out.a");
    Ok(())
}

#[tokio::test]
async fn a_reply_does_not_go_where_the_server_takes_orders() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let store = jetstream::new(probe.client.clone());
    let bucket = store
        .create_key_value(jetstream::kv::Config {
            bucket: "b".into(),
            ..Default::default()
        })
        .await?;
    let step = json!({ "do": "reply", "text": "planted" });
    probe
        .client
        .publish_with_reply("probe", "$KV.b.key", step.to_string().into())
        .await?;
    probe.ok(json!({ "do": "env", "name": "x" })).await?;
    wharf_tests::until("the refusal is counted", || {
        probe
            .host
            .stats("probe")
            .is_some_and(|stats| stats.replies_failed == 1)
    })
    .await?;
    assert_eq!(bucket.get("key").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_guest_publishes_to_a_stream_and_gets_the_servers_ack() -> Result<()> {
    let probe = Probe::start(granted).await?;
    let (kind, text) = probe
        .err(json!({ "do": "store", "subject": "out.s.a" }))
        .await?;
    assert_eq!(kind, "not-found", "{text}");
    let context = jetstream::new(probe.client.clone());
    let config = jetstream::stream::Config {
        name: "S".into(),
        subjects: vec!["test.out.s.>".into()],
        allow_message_ttl: true,
        ..Default::default()
    };
    let stream = context.create_stream(config).await?;
    let step = json!({ "do": "store", "subject": "out.s.a", "text": "one", "message_id": "1", "ttl_ms": 60_000 });
    assert_eq!(
        probe.ok(step.clone()).await?,
        json!({ "stream": "S", "sequence": 1, "duplicate": false })
    );
    assert_eq!(
        probe.ok(step).await?,
        json!({ "stream": "S", "sequence": 1, "duplicate": true })
    );
    let stored = stream.get_raw_message(1).await?;
    assert_eq!(stored.payload, "one");
    assert_eq!(
        stored
            .headers
            .get("Nats-TTL")
            .map(ToString::to_string)
            .as_deref(),
        Some("60")
    );
    let expected =
        |sequence: u64| json!({ "do": "store", "subject": "out.s.a", "expected": sequence });
    assert_eq!(probe.ok(expected(1)).await?["sequence"], 2);
    assert_eq!(probe.err(expected(1)).await?.0, "conflict");
    Ok(())
}
