//! Senders of messages that no guest handles hear so at once, and others hear nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde_json::json;
use wharf_tests::probe::{Probe, service_error};
use wharf_tests::{PATIENCE, round_trip, soon, until};

/// A guest with one instance and a queue for one message, that is busy until it is answered on `gate`; and one message that
/// waits. Both have been sent with `answers` as the reply subject.
async fn busy() -> Result<(Probe, Subscriber, Subscriber)> {
    let probe = Probe::start(|config, settings, _| {
        config.nats.drain_timeout = Duration::from_millis(200);
        settings.request = vec!["gate".into()];
        settings.instances.max = std::num::NonZeroU32::MIN;
        settings.limits.time = PATIENCE;
        settings.limits.queue_messages = 1;
    })
    .await?;
    let mut gate = probe.client.subscribe("gate").await?;
    let answers = probe.client.subscribe("answers").await?;
    round_trip(&probe.client).await?;
    let asks = json!({ "do": "request", "subject": "gate", "timeout_ms": 30_000 });
    send(&probe, "answers", &asks).await?;
    soon("the guest asks", gate.next()).await?;
    send(&probe, "answers", &json!({ "do": "config", "key": "k" })).await?;
    until("one waits", || probe.host.guests()[0].queued == 1).await?;
    Ok((probe, answers, gate))
}

async fn send(probe: &Probe, reply_to: &str, step: &serde_json::Value) -> Result<()> {
    let (client, step) = (&probe.client, step.to_string().into());
    client
        .publish_with_reply("probe", reply_to.to_owned(), step)
        .await?;
    Ok(())
}

async fn next(answers: &mut Subscriber) -> Result<Message> {
    soon("an answer", answers.next())
        .await?
        .context("the client is closed")
}

#[tokio::test]
async fn a_request_for_which_there_is_no_room_is_answered_at_once() -> Result<()> {
    let (probe, _answers, _gate) = busy().await?;
    let refused = probe.send("probe", &json!({ "do": "trap" })).await?;
    let (code, words) = service_error(&refused)?;
    assert_eq!(code, "503");
    assert!(words.contains("queue is full"), "{words}");
    let stats = probe.host.stats("probe").context("it is loaded")?;
    assert_eq!(stats.dropped, 1);
    Ok(())
}

#[tokio::test]
async fn what_a_stop_abandons_is_answered_whether_it_waits_or_is_being_handled() -> Result<()> {
    let (probe, mut answers, _gate) = busy().await?;
    let report = probe.host.shutdown().await;
    assert_eq!(report.abandoned, 2);
    for _ in 0..2 {
        let (code, words) = service_error(&next(&mut answers).await?)?;
        assert_eq!(code, "503");
        assert!(words.contains("stopped before"), "{words}");
    }
    Ok(())
}

#[tokio::test]
async fn what_an_unload_abandons_is_answered() -> Result<()> {
    let (probe, mut answers, _gate) = busy().await?;
    let report = probe.host.unload("probe").await?;
    assert_eq!(report.abandoned, 2);
    for _ in 0..2 {
        assert_eq!(service_error(&next(&mut answers).await?)?.0, "503");
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_gets_no_flood_of_answers_and_none_where_the_host_may_not_reply() -> Result<()> {
    let (probe, mut answers, _gate) = busy().await?;
    let mut elsewhere = probe.client.subscribe("elsewhere").await?;
    round_trip(&probe.client).await?;
    for _ in 0..1000 {
        send(&probe, "elsewhere", &json!({ "do": "trap" })).await?;
        send(&probe, "answers", &json!({ "do": "trap" })).await?;
    }
    let dropped = || {
        probe
            .host
            .stats("probe")
            .is_some_and(|stats| stats.dropped == 2000)
    };
    until("all are dropped", dropped).await?;
    // What the host had sent by then arrives before what it sends to end: it closes its connection after that.
    probe.host.shutdown().await;
    round_trip(&probe.client).await?;
    let mut refusals = 0;
    while let Ok(Some(answer)) = tokio::time::timeout(Duration::ZERO, answers.next()).await {
        refusals += usize::from(service_error(&answer)?.1.contains("queue is full"));
    }
    // The messages were sent within a few seconds, in each of which there may be a hundred.
    assert!((1..1000).contains(&refusals), "{refusals}");
    let heard = tokio::time::timeout(Duration::ZERO, elsewhere.next()).await;
    assert!(heard.is_err(), "{heard:?}");
    Ok(())
}
