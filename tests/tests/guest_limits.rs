//! What a guest may use up, and what it costs it to try more: an instance, not the host.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf::GuestStats;
use wharf::config::{BucketAccess, Instances};
use wharf_tests::probe::{Probe, service_error};
use wharf_tests::round_trip;
use wharf_tests::until;

fn stats(probe: &Probe) -> GuestStats {
    probe.host.stats("probe").unwrap_or_default()
}

fn instances(max: u32, reuse: u32) -> Instances {
    let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    Instances {
        max: at_least_one(max),
        reuse: at_least_one(reuse),
    }
}

/// The error that the sender gets.
async fn failure(probe: &Probe, step: Value) -> Result<(String, String)> {
    service_error(&probe.send("probe", &step).await?)
}

#[tokio::test]
async fn a_trap_ends_the_instance_and_the_next_message_gets_a_new_one() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.instances = instances(1, 1000)).await?;
    assert_eq!(probe.describe("probe").await?["calls"], 1);
    assert_eq!(probe.describe("probe").await?["calls"], 2);
    assert_eq!(
        failure(&probe, json!({ "do": "trap" })).await?,
        ("500".into(), "the handler failed".into())
    );
    assert_eq!(probe.describe("probe").await?["calls"], 1);
    let exit = failure(&probe, json!({ "do": "exit", "code": 3 })).await?;
    assert_eq!(exit.0, "500");
    assert_eq!(probe.describe("probe").await?["calls"], 1);
    assert_eq!(
        (stats(&probe).trapped, stats(&probe).instances_made),
        (2, 3)
    );
    Ok(())
}

#[tokio::test]
async fn a_guest_that_computes_without_end_is_stopped_at_its_time_limit() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.instances = instances(2, 1000);
        settings.limits.time = Duration::from_millis(200);
    })
    .await?;
    let begun = std::time::Instant::now();
    let spinning = async {
        let spinning = failure(&probe, json!({ "do": "spin" })).await;
        (spinning, begun.elapsed())
    };
    // Another message is handled meanwhile.
    let ((spinning, took), other) = tokio::join!(spinning, probe.describe("probe"));
    let in_time = Duration::from_millis(200)..Duration::from_secs(1);
    assert!(in_time.contains(&took), "it was stopped after {took:?}");
    assert_eq!(
        spinning?,
        ("504".into(), "the handler took too long".into())
    );
    assert_eq!(other?["calls"], 1);
    let sleeping = failure(&probe, json!({ "do": "sleep", "ms": 60_000 })).await?;
    assert_eq!(sleeping.0, "504");
    assert_eq!(stats(&probe).timed_out, 2);
    Ok(())
}

#[tokio::test]
async fn guests_that_spin_on_every_thread_hold_up_neither_others_nor_the_connection() -> Result<()>
{
    let probe = Probe::start(|config, settings, _| {
        settings.instances = instances(64, 1000);
        settings.limits.time = Duration::from_secs(4);
        let mut other = settings.clone();
        other.subscribe = vec!["other".into()];
        config.guests.insert("other".to_owned(), other);
    })
    .await?;
    for _ in 0..32 {
        probe
            .client
            .publish("probe", json!({ "do": "spin" }).to_string().into())
            .await?;
    }
    until("all of them have arrived", || stats(&probe).received == 32).await?;
    assert_eq!(probe.describe("other").await?["subject"], "other");
    assert_eq!(stats(&probe).timed_out, 0, "they still spin");
    probe.host.connector().flush_published().await?;
    Ok(())
}

#[tokio::test]
async fn guests_that_spin_on_every_thread_hold_up_neither_timers_nor_answers_of_others()
-> Result<()> {
    let threads = std::thread::available_parallelism()?.get();
    let probe = Probe::start(|config, settings, _| {
        settings.limits.time = Duration::from_secs(10);
        let mut busy = settings.clone();
        settings.buckets.insert("b".into(), BucketAccess::ReadWrite);
        busy.subscribe = vec!["busy".into()];
        busy.instances = instances(u32::try_from(threads).unwrap_or(u32::MAX), 1000);
        config.guests.insert("busy".to_owned(), busy);
    })
    .await?;
    let many = |step: Value| json!({ "do": "all", "steps": vec![step; 20] });
    let naps = many(json!({ "do": "sleep", "ms": 1 }));
    let sets = many(json!({ "do": "set", "bucket": "b", "key": "k", "value": "v" }));
    probe.ok(sets.clone()).await?;
    let busy = || probe.host.stats("busy").unwrap_or_default();
    for _ in 0..threads {
        let spin = json!({ "do": "spin" }).to_string();
        probe.client.publish("busy", spin.into()).await?;
    }
    let all_arrived = || busy().received == threads as u64;
    until("all of them have arrived", all_arrived).await?;
    for steps in [naps, sets] {
        let begun = std::time::Instant::now();
        probe.ok(steps).await?;
        // Some 60 ms. With a look for events at every 61st poll it was 4 s.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "it took {took:?}");
    }
    assert_eq!(busy().timed_out, 0, "they still spin");
    Ok(())
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.limits.memory_bytes = 16 << 20).await?;
    assert_eq!(
        probe
            .ok(json!({ "do": "allocate", "bytes": 8 << 20 }))
            .await?,
        8 << 20
    );
    assert_eq!(
        failure(&probe, json!({ "do": "allocate", "bytes": 32 << 20 }))
            .await?
            .0,
        "500"
    );
    assert!(stats(&probe).memory_refused >= 1);
    assert_eq!(probe.describe("probe").await?["calls"], 1);
    Ok(())
}

#[tokio::test]
async fn a_fresh_instance_for_every_message_remembers_nothing() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.instances = instances(4, 1)).await?;
    for _ in 0..10 {
        assert_eq!(probe.describe("probe").await?["calls"], 1);
    }
    // The one that was made at the start was given no message: it took the first.
    assert_eq!(stats(&probe).instances_made, 10);
    Ok(())
}

#[tokio::test]
async fn an_instance_is_replaced_after_so_many_messages() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.instances = instances(1, 3)).await?;
    let mut calls = Vec::new();
    for _ in 0..7 {
        calls.push(
            probe.describe("probe").await?["calls"]
                .as_u64()
                .context("a number")?,
        );
    }
    assert_eq!(calls, [1, 2, 3, 1, 2, 3, 1]);
    Ok(())
}

#[tokio::test]
async fn no_more_instances_run_at_once_than_were_granted() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.instances = instances(2, 1000);
        settings.request = vec!["gate".into()];
    })
    .await?;
    let mut gate = probe.client.subscribe("gate").await?;
    round_trip(&probe.client).await?;
    for _ in 0..6 {
        let step = json!({ "do": "request", "subject": "gate", "timeout_ms": 4000 });
        probe
            .client
            .publish("probe", step.to_string().into())
            .await?;
    }
    let mut next = async || {
        futures_util::StreamExt::next(&mut gate)
            .await
            .context("the gate is closed")
    };
    let (first, second) = (next().await?, next().await?);
    until("all six have arrived", || stats(&probe).received == 6).await?;
    for held in [first, second] {
        probe
            .client
            .publish(held.reply.context("a reply subject")?, "go on".into())
            .await?;
    }
    for _ in 0..4 {
        probe
            .client
            .publish(
                next().await?.reply.context("a reply subject")?,
                "go on".into(),
            )
            .await?;
    }
    until("all six are handled", || stats(&probe).handled == 6).await?;
    assert_eq!(stats(&probe).instances_made, 2);
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_dropped_and_counted_for_that_guest() -> Result<()> {
    let probe = Probe::start(|config, settings, _| {
        settings.instances = instances(1, 1000);
        settings.limits.queue_messages = 10;
        settings.request = vec!["gate".into()];
        let mut other = settings.clone();
        other.subscribe = vec!["flood".into()];
        settings.subscribe.push("flood".into());
        other.limits.queue_messages = 1000;
        config.guests.insert("other".to_owned(), other);
    })
    .await?;
    let mut gate = probe.client.subscribe("gate").await?;
    round_trip(&probe.client).await?;
    let step = json!({ "do": "request", "subject": "gate", "timeout_ms": 4000 });
    probe
        .client
        .publish("probe", step.to_string().into())
        .await?;
    let held = futures_util::StreamExt::next(&mut gate)
        .await
        .context("the gate is closed")?;
    for _ in 0..100 {
        probe
            .client
            .publish("flood", json!({ "do": "silence" }).to_string().into())
            .await?;
    }
    until("all have arrived", || stats(&probe).received == 101).await?;
    assert_eq!(stats(&probe).dropped, 90);
    probe
        .client
        .publish(held.reply.context("a reply subject")?, "go on".into())
        .await?;
    until("the rest is handled", || stats(&probe).handled == 11).await?;
    let other = || probe.host.stats("other").unwrap_or_default();
    until("the other guest handles all", || other().handled == 100).await?;
    assert_eq!(other().dropped, 0);
    Ok(())
}

#[tokio::test]
async fn what_a_guest_says_of_itself_reaches_whoever_waits_for_its_reply() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let retry = failure(
        &probe,
        json!({ "do": "retry", "reason": "the\nline is busy" }),
    )
    .await?;
    assert_eq!(retry, ("503".into(), "the line is busy".into()));
    let reject = failure(&probe, json!({ "do": "reject", "reason": "no such order" })).await?;
    assert_eq!(reject, ("400".into(), "no such order".into()));
    // What no header holds: the sender is told what is left of it.
    for reason in [
        "no\rsuch\norder",
        "no\0such\u{1b}order",
        "\r\nno such order\n",
    ] {
        let reject = failure(&probe, json!({ "do": "reject", "reason": reason })).await?;
        assert_eq!(reject, ("400".into(), "no such order".into()));
    }
    assert_eq!(
        (
            stats(&probe).retried,
            stats(&probe).rejected,
            stats(&probe).trapped
        ),
        (1, 4, 0)
    );
    let bad = failure(
        &probe,
        json!({ "do": "reply", "headers": [["a:b", "c"]], "text": "x" }),
    )
    .await?;
    assert_eq!(bad.0, "500");
    assert_eq!(stats(&probe).instances_made, 1, "an error ends no instance");
    Ok(())
}

#[tokio::test]
async fn what_a_guest_says_of_itself_is_one_line_of_bounded_length() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let forged = failure(
        &probe,
        json!({ "do": "reject", "reason": "no\r\nERROR \u{1b}[2J gone" }),
    )
    .await?;
    assert_eq!(forged.1, "no  ERROR  [2J gone");
    let endless = failure(
        &probe,
        json!({ "do": "retry", "reason": "no ".repeat(100_000) }),
    )
    .await?;
    assert!(
        endless.1.len() < 5000 && endless.1.ends_with('…'),
        "{} bytes",
        endless.1.len()
    );
    Ok(())
}

#[tokio::test]
async fn whoever_waits_for_a_reply_that_the_server_does_not_take_gets_an_error() -> Result<()> {
    let large = "x".repeat(2 << 20);
    let probe = Probe::start(|_, settings, _| {
        settings.config.insert("large".to_owned(), large);
    })
    .await?;
    let refused = failure(&probe, json!({ "do": "config", "key": "large" })).await?;
    assert_eq!(refused, ("500".into(), "the handler failed".into()));
    until("the failed reply is counted", || {
        stats(&probe).replies_failed == 1
    })
    .await
}

#[tokio::test]
async fn a_guest_that_subscribes_without_end_is_refused() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.may_subscribe.push("in.>".into());
        settings.limits.subscription_changes = 1000;
    })
    .await?;
    let subscribe = |subject: &str| json!({ "do": "subscribe", "subject": subject });
    for i in 0..64 {
        probe.ok(subscribe(&format!("in.{i}"))).await?;
    }
    let (kind, why) = probe.err(subscribe("in.more")).await?;
    assert_eq!(kind, "unavailable", "{why}");
    assert!(why.contains("`limits.subscriptions`"), "{why}");
    // What is there already is no more.
    probe.ok(subscribe("in.1")).await?;
    probe
        .ok(json!({ "do": "unsubscribe", "subject": "in.1" }))
        .await?;
    probe.ok(subscribe("in.more")).await?;
    Ok(())
}

#[tokio::test]
async fn a_guest_gets_no_message_twice_by_subscribing_itself_twice() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.may_subscribe.push(">".into())).await?;
    probe
        .ok(json!({ "do": "subscribe", "subject": "in.a" }))
        .await?;
    for (subject, queue) in [
        ("in.a", json!("q")),
        ("in.*", json!(null)),
        (">", json!("q")),
        ("probe", json!("q")),
    ] {
        let step = json!({ "do": "subscribe", "subject": subject, "queue": queue });
        let (kind, why) = probe.err(step).await?;
        assert_eq!(kind, "invalid", "{subject}: {why}");
        assert!(why.contains("overlaps"), "{why}");
    }
    let seen = probe.describe("in.a").await?;
    assert_eq!(seen["subject"], "in.a");
    let stats = probe.host.stats("probe").context("it runs")?;
    assert_eq!(stats.received, 6, "each message once");
    Ok(())
}

#[tokio::test]
async fn a_guest_that_subscribes_and_unsubscribes_without_end_is_refused() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.may_subscribe.push("in.>".into())).await?;
    let mut steps = Vec::new();
    for _ in 0..10 {
        for verb in ["subscribe", "unsubscribe"] {
            steps.push(json!({ "do": verb, "subject": "in.a" }));
        }
    }
    let done = probe.ok(json!({ "do": "all", "steps": steps })).await?;
    let done = done.as_array().context("a list")?;
    let refused = done.iter().filter_map(|one| one.get("error"));
    let refused: Vec<_> = refused.collect();
    ensure!(!refused.is_empty(), "{done:?}");
    for error in refused {
        assert_eq!(error["kind"], "unavailable", "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_that_opens_without_end_is_stopped_by_its_limit() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.limits.resources = 50;
        settings.limits.time = Duration::from_secs(20);
        settings
            .buckets
            .insert("b".to_owned(), BucketAccess::ReadWrite);
    })
    .await?;
    assert_eq!(
        probe
            .ok(json!({ "do": "open_many", "bucket": "b", "count": 40 }))
            .await?,
        40
    );
    assert_eq!(
        failure(
            &probe,
            json!({ "do": "open_many", "bucket": "b", "count": 60 })
        )
        .await?
        .0,
        "500"
    );
    assert_eq!(probe.ok(json!({ "do": "open", "bucket": "b" })).await?, "b");
    Ok(())
}
