//! Messages that the client library cannot read, sent to a host with guests: they harm nobody but their receiver.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use serde_json::json;
use wharf::config::{BucketAccess, FilterMode};
use wharf_tests::probe::{Probe, probe};
use wharf_tests::raw::{LONE_CR, Raw, SPACE_IN_NAME};
use wharf_tests::round_trip;
use wharf_tests::soon;

/// A host with the probe and a neighbour of it, which may use a bucket, and one who sends to it.
async fn host(filter: FilterMode) -> Result<(Probe, Raw)> {
    let mut probe = Probe::start(|config, settings, _| {
        config.nats.filter = filter;
        config.nats.reconnect_wait = Duration::from_millis(5);
        config.admin.enabled = true;
        config.host.name = Some("here".to_owned());
        settings.may_subscribe = vec!["own".into()];
        settings.request = vec!["slow".into()];
        let access = BucketAccess::ReadWrite;
        settings.buckets.insert("b".to_owned(), access);
        let mut other = probe().expect("it is built");
        other.subscribe = vec!["other".into()];
        config.guests.insert("other".to_owned(), other);
    })
    .await?;
    let settings = wharf::config::BucketSettings::default();
    let connector = probe.host.connector();
    connector.create_bucket("b", settings).await?;
    probe
        .ok(json!({ "do": "subscribe", "subject": "own" }))
        .await?;
    let raw = Raw::connect(&probe.server).await?;
    // Nothing of the test's own may hear what the host hears.
    probe.client = probe.server.client().await?;
    Ok((probe, raw))
}

/// Sends such a message, and waits until the host is connected again.
async fn interrupt(probe: &Probe, raw: &mut Raw, subject: &str, headers: &[u8]) -> Result<()> {
    let before = probe.host.connection_counters().connects;
    raw.publish(subject, "", headers, b"{}").await?;
    let connector = probe.host.connector();
    let mut state = connector.state();
    let is_back = |state: &wharf::ConnectionState| {
        *state == wharf::ConnectionState::Connected
            && probe.host.connection_counters().connects > before
    };
    soon("the host is connected again", state.wait_for(is_back)).await??;
    Ok(connector.flush_published().await?)
}

#[tokio::test]
async fn the_host_and_all_guests_go_on() -> Result<()> {
    let (probe, mut raw) = host(FilterMode::Never).await?;
    let mut interruptions = 0;
    for headers in [LONE_CR, SPACE_IN_NAME] {
        for subject in HEARD {
            interrupt(&probe, &mut raw, subject, headers).await?;
            interruptions += 1;
            for subject in ["probe", "own", "other"] {
                assert_eq!(probe.describe(subject).await?["subject"], subject);
            }
        }
    }
    let set = json!({ "do": "set", "bucket": "b", "key": "k", "value": "v" });
    probe.ok(set).await?;
    let get = json!({ "do": "get", "bucket": "b", "key": "k" });
    assert_eq!(probe.ok(get).await?, "v");
    for subject in ["$SRV.PING", "wharf.admin.here.list"] {
        let asked = probe.client.request(subject, "".into());
        soon("the host answers", asked).await??;
    }
    let counters = probe.host.connection_counters();
    assert_eq!(counters.disconnects, interruptions);
    let report = probe.host.shutdown().await;
    ensure!(report.is_clean(), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn a_guest_reads_lists_and_deletes_what_is_stored_and_nobody_is_interrupted() -> Result<()> {
    let (probe, mut raw) = host(FilterMode::Auto).await?;
    for (key, headers) in [("one", LONE_CR), ("two", SPACE_IN_NAME)] {
        let subject = format!("$KV.b.{key}");
        raw.publish(subject, "", headers, key.as_bytes()).await?;
    }
    raw.flush().await?;
    let count = async || probe.ok(json!({ "do": "count", "bucket": "b" })).await;
    for key in ["one", "two"] {
        let get = json!({ "do": "get", "bucket": "b", "key": key });
        assert_eq!(probe.ok(get).await?, key);
    }
    assert_eq!(count().await?, 2);
    let keys = json!({ "do": "keys", "bucket": "b", "prefix": "o" });
    assert_eq!(probe.ok(keys).await?, json!(["one"]));
    let delete = json!({ "do": "delete", "bucket": "b", "key": "one" });
    probe.ok(delete).await?;
    assert_eq!(count().await?, 1);
    assert_eq!(probe.host.connection_counters().disconnects, 0);
    Ok(())
}

#[tokio::test]
async fn a_guests_request_in_flight_gets_the_answer_that_comes_afterwards() -> Result<()> {
    let (probe, mut raw) = host(FilterMode::Never).await?;
    let mut slow = probe.client.subscribe("slow").await?;
    round_trip(&probe.client).await?;
    let step = json!({ "do": "request", "subject": "slow", "timeout_ms": 20_000 });
    let asking = {
        let client = probe.client.clone();
        tokio::spawn(async move { client.request("probe", step.to_string().into()).await })
    };
    let request = soon("the request", slow.next()).await?.context("one")?;
    let inbox = request.reply.context("a subject for the reply")?;
    // On another guest's subject, and as an answer that cannot be read.
    interrupt(&probe, &mut raw, "other", LONE_CR).await?;
    interrupt(&probe, &mut raw, &inbox, LONE_CR).await?;
    probe.client.publish(inbox, "42".into()).await?;
    let answer = soon("the guest's answer", asking).await???;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    assert_eq!(answer["ok"]["text"], "42", "{answer}");
    Ok(())
}

/// Subjects that the host hears: services', orders, and two guests'.
const HEARD: [&str; 6] = [
    "$SRV.PING",
    "$SRV.INFO.wharf",
    "wharf.admin.here.list",
    "probe",
    "own",
    "other",
];

#[tokio::test]
async fn only_the_first_one_interrupts_and_every_request_of_a_neighbour_is_answered() -> Result<()>
{
    for filter in [FilterMode::Auto, FilterMode::Always] {
        let (probe, mut raw) = host(filter).await?;
        if filter == FilterMode::Auto {
            interrupt(&probe, &mut raw, "own", LONE_CR).await?;
        }
        let many = format!("NATS/1.0\r\n{}\r\n", "abc:\r\n".repeat(100_000));
        for headers in [
            LONE_CR,
            SPACE_IN_NAME,
            b"NATS/1.0\r\nN: J\xfc\r\n\r\n",
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0 abc\r\n\r\n",
            many.as_bytes(),
        ] {
            for subject in HEARD {
                raw.publish(subject, "", headers, b"{}").await?;
                raw.publish(subject, b"r.\xff", headers, b"{}").await?;
                raw.publish(b"other.\xff", "", headers, b"{}").await?;
                let asked = probe.describe("other");
                let answer = tokio::time::timeout(Duration::from_secs(1), asked).await??;
                assert_eq!(answer["subject"], "other");
            }
        }
        raw.flush().await?;
        for subject in ["probe", "own", "other"] {
            assert_eq!(probe.describe(subject).await?["subject"], subject);
        }
        for subject in ["$SRV.PING", "wharf.admin.here.list"] {
            let asked = probe.client.request(subject, "".into());
            soon("the host answers", asked).await??;
        }
        let counters = probe.host.connection_counters();
        let expected = u64::from(filter == FilterMode::Auto);
        assert_eq!(counters.disconnects, expected, "{filter:?}");
        assert!(counters.malformed.total() >= 72, "{counters:?}");
        let report = probe.host.shutdown().await;
        ensure!(report.is_clean(), "{report:?}");
    }
    Ok(())
}
