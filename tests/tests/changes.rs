//! Guests come, are replaced and go while the host runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use serde_json::{Value, json};
use wharf::config::{BucketAccess, GuestSettings, SubscriptionSettings};
use wharf::{ChangeError, GuestError};
use wharf_tests::probe::{Probe, probe};
use wharf_tests::{PATIENCE, round_trip, until};

/// The probe, as this version of itself.
fn version(number: u32) -> Result<GuestSettings> {
    let mut settings = probe()?;
    settings
        .config
        .insert("version".to_owned(), number.to_string());
    Ok(settings)
}

/// Which version answers on a subject.
async fn answering(probe: &Probe, subject: &'static str) -> Result<String> {
    let reply = probe
        .send(subject, &json!({ "do": "config", "key": "version" }))
        .await?;
    let answer: Value = serde_json::from_slice(&reply.payload)?;
    Ok(answer["ok"].as_str().context("a version")?.to_owned())
}

fn is_nobody(error: &anyhow::Error) -> bool {
    error.to_string().contains("no responders")
}

#[tokio::test]
async fn a_guest_is_loaded_listed_and_unloaded_while_the_host_runs() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let mut second = version(1)?;
    second.subscribe = vec!["second".into()];
    probe.host.load("second", second.clone()).await?;
    assert_eq!(answering(&probe, "second").await?, "1");
    let names: Vec<_> = probe
        .host
        .guests()
        .into_iter()
        .map(|guest| (guest.name, guest.version))
        .collect();
    assert_eq!(names, [("probe".to_owned(), 1), ("second".to_owned(), 1)]);
    let again = probe.host.load("second", second).await;
    ensure!(
        matches!(again, Err(ChangeError::AlreadyLoaded { .. })),
        "{again:?}"
    );
    let report = probe.host.unload("second").await?;
    ensure!(
        report.is_clean() && report.guests["second"].handled == 1,
        "{report:?}"
    );
    ensure!(
        answering(&probe, "second")
            .await
            .is_err_and(|error| is_nobody(&error))
    );
    assert_eq!(probe.host.stats("second"), None);
    let gone = probe.host.unload("second").await;
    ensure!(
        matches!(gone, Err(ChangeError::NotLoaded { .. })),
        "{gone:?}"
    );
    let gone = probe.host.replace("second", version(2)?).await;
    ensure!(
        matches!(gone, Err(ChangeError::NotLoaded { .. })),
        "{gone:?}"
    );
    assert_eq!(
        probe.describe("probe").await?["calls"],
        1,
        "the other guest has not noticed"
    );
    Ok(())
}

#[tokio::test]
async fn subscriptions_that_both_versions_want_stay_and_the_others_change() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.subscribe.push("old".into())).await?;
    let mut next = version(2)?;
    next.subscribe.push("new".into());
    next.may_subscribe.push("own".into());
    let itself = json!([{ "do": "subscribe", "subject": "own" }]).to_string();
    next.config.insert("start".to_owned(), itself);
    let report = probe.host.replace("probe", next).await?;
    ensure!(report.is_clean(), "{report:?}");
    for subject in ["probe", "new", "own"] {
        assert_eq!(answering(&probe, subject).await?, "2", "{subject}");
    }
    ensure!(
        answering(&probe, "old")
            .await
            .is_err_and(|error| is_nobody(&error))
    );
    // The same subject as it travels, now behind a prefix.
    let mut prefixed = version(3)?;
    prefixed.prefix = Some("pro".to_owned());
    prefixed.subscribe = vec!["be".into()];
    probe.host.replace("probe", prefixed).await?;
    assert_eq!(probe.describe("probe").await?["subject"], "be");
    ensure!(
        answering(&probe, "own")
            .await
            .is_err_and(|error| is_nobody(&error))
    );
    assert_eq!(probe.host.guests()[0].version, 3);
    Ok(())
}

#[tokio::test]
async fn a_version_that_does_not_come_up_leaves_the_old_one_in_service() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.config.insert("version".to_owned(), "1".to_owned());
    })
    .await?;
    let with_start = |steps: Value| -> Result<GuestSettings> {
        let mut settings = version(2)?;
        settings.subscribe.push("more".into());
        settings
            .config
            .insert("start".to_owned(), steps.to_string());
        settings.limits.time = Duration::from_millis(500);
        Ok(settings)
    };
    let mut missing = version(2)?;
    missing.component = "none.wasm".into();
    let mut bad_subject = version(2)?;
    bad_subject.subscribe.push("a b".into());
    let mut greedy = version(2)?;
    greedy.instances.max = 1001.try_into()?;
    greedy.instances.min = 1001;
    for (settings, why) in [
        (missing, "cannot read component"),
        (
            with_start(json!([{ "do": "trap" }]))?,
            "it trapped while it started",
        ),
        (
            with_start(json!([{ "do": "spin" }]))?,
            "did not return within 500ms",
        ),
        (
            with_start(json!([{ "do": "publish", "subject": "x" }]))?,
            "start function failed",
        ),
        (bad_subject, "cannot subscribe to \"a b\""),
        (greedy, "are left of the host's"),
    ] {
        let error = probe
            .host
            .replace("probe", settings)
            .await
            .err()
            .context("it came up")?;
        let text = format!("{:#}", anyhow::Error::from(error));
        ensure!(text.contains(why), "{text}");
        assert_eq!(answering(&probe, "probe").await?, "1");
        ensure!(
            answering(&probe, "more")
                .await
                .is_err_and(|error| is_nobody(&error))
        );
    }
    let load = probe
        .host
        .load("other", with_start(json!([{ "do": "trap" }]))?)
        .await;
    ensure!(
        matches!(
            &load,
            Err(ChangeError::Guest {
                source: GuestError::Start(_),
                ..
            })
        ),
        "{load:?}"
    );
    assert_eq!(probe.host.guests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_the_old_version_has_in_hand_it_finishes_while_the_new_one_serves() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.config.insert("version".to_owned(), "1".to_owned());
        settings.config.insert(
            "stop".to_owned(),
            json!([{ "do": "publish", "subject": "stopped" }]).to_string(),
        );
        settings.publish = vec!["stopped".into()];
        settings.request = vec!["gate".into()];
        settings.limits.time = PATIENCE;
    })
    .await?;
    let mut gate = probe.client.subscribe("gate").await?;
    let mut stopped = probe.client.subscribe("stopped").await?;
    round_trip(&probe.client).await?;
    let step = json!({ "do": "all", "steps": [
        { "do": "request", "subject": "gate", "timeout_ms": 60_000 },
        { "do": "config", "key": "version" },
    ] });
    let held_back = probe.client.request("probe", step.to_string().into());
    let meanwhile = async {
        let held = gate.next().await.context("the gate is closed")?;
        let replacing = probe.host.replace("probe", version(2)?);
        let serving = async {
            while answering(&probe, "probe").await? != "2" {}
            ensure!(
                futures_util::FutureExt::now_or_never(stopped.next()).is_none(),
                "the old one has stopped"
            );
            probe
                .client
                .publish(held.reply.context("a reply subject")?, "go on".into())
                .await?;
            anyhow::Ok(())
        };
        let (report, serving) = tokio::join!(replacing, serving);
        serving?;
        anyhow::Ok(report?)
    };
    let (held_back, report) = tokio::join!(held_back, meanwhile);
    let answer: Value = serde_json::from_slice(&held_back?.payload)?;
    assert_eq!(
        answer["ok"][1]["ok"], "1",
        "one version handles a message, whole"
    );
    let report = report?;
    ensure!(report.is_clean() && report.finished >= 1, "{report:?}");
    tokio::time::timeout(PATIENCE, stopped.next())
        .await?
        .context("the old version's stop was not called")?;
    Ok(())
}

/// Asks and asks, and notes how often each question was answered, by which version, and how long the slowest took.
struct Asking {
    answers: BTreeMap<u64, u32>,
    slowest: Duration,
}

async fn ask(
    client: async_nats::Client,
    done: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
) -> Result<Asking> {
    const IN_FLIGHT: u64 = 256;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(format!("{inbox}.*")).await?;
    let step = bytes::Bytes::from(json!({ "do": "config", "key": "version" }).to_string());
    let mut began = BTreeMap::new();
    let mut asking = Asking {
        answers: BTreeMap::new(),
        slowest: Duration::ZERO,
    };
    let mut next = 0;
    while !done.load(Ordering::Relaxed) || !began.is_empty() {
        while !done.load(Ordering::Relaxed) && (began.len() as u64) < IN_FLIGHT {
            client
                .publish_with_reply("probe", format!("{inbox}.{next}"), step.clone())
                .await?;
            began.insert(next, Instant::now());
            next += 1;
            asked.store(next, Ordering::Relaxed);
        }
        let reply = tokio::time::timeout(PATIENCE, replies.next())
            .await
            .context("a message was lost")?;
        let reply = reply.context("the server is gone")?;
        ensure!(reply.headers.is_none(), "{reply:?}");
        let number = reply
            .subject
            .rsplit('.')
            .next()
            .context("a number")?
            .parse()?;
        *asking.answers.entry(number).or_default() += 1;
        let took = began
            .remove(&number)
            .context("it was answered twice")?
            .elapsed();
        asking.slowest = asking.slowest.max(took);
    }
    round_trip(&client).await?;
    ensure!(
        futures_util::FutureExt::now_or_never(replies.next()).is_none(),
        "an answer too many"
    );
    Ok(asking)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_replaced_again_and_again_under_full_load_loses_nothing_and_repeats_nothing()
-> Result<()> {
    const REPLACEMENTS: u32 = 100;
    let probe = Probe::start(|_, settings, _| {
        settings.config.insert("version".to_owned(), "1".to_owned());
    })
    .await?;
    let (done, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let asking = tokio::spawn(ask(
        probe.server.client().await?,
        Arc::clone(&done),
        Arc::clone(&asked),
    ));
    for number in 2..=REPLACEMENTS + 1 {
        let before = asked.load(Ordering::Relaxed);
        let report = probe.host.replace("probe", version(number)?).await?;
        ensure!(report.is_clean(), "{report:?}");
        until("it is under load", || {
            asked.load(Ordering::Relaxed) > before + 100
        })
        .await?;
    }
    done.store(true, Ordering::Relaxed);
    let asking = asking.await??;
    ensure!(asking.answers.values().all(|times| *times == 1));
    assert_eq!(asking.answers.len() as u64, asked.load(Ordering::Relaxed));
    let stats = probe.host.stats("probe").context("it runs")?;
    assert_eq!(
        (stats.handled, stats.dropped),
        (asking.answers.len() as u64, 0)
    );
    println!(
        "{} answers, the slowest took {:?}",
        asking.answers.len(),
        asking.slowest
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_unloaded_under_load_handles_what_had_arrived() -> Result<()> {
    let probe = Probe::start(|_, settings, _| settings.limits.queue_messages = 1_000_000).await?;
    let step = bytes::Bytes::from(json!({ "do": "silence" }).to_string());
    let mut flooded = version(1)?;
    flooded.subscribe = vec![SubscriptionSettings::new("flood").with_queue("q")];
    flooded.limits.queue_messages = 1_000_000;
    probe.host.load("flooded", flooded).await?;
    let done = Arc::new(AtomicBool::new(false));
    let flooding = tokio::spawn({
        let (client, done) = (probe.server.client().await?, Arc::clone(&done));
        async move {
            while !done.load(Ordering::Relaxed) {
                client.publish("flood", step.clone()).await?;
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        }
    });
    until("it is under load", || {
        probe
            .host
            .stats("flooded")
            .is_some_and(|stats| stats.handled > 1000)
    })
    .await?;
    let report = probe.host.unload("flooded").await?;
    done.store(true, Ordering::Relaxed);
    flooding.await??;
    let stats = report.guests["flooded"];
    ensure!(
        report.is_clean() && stats.handled == stats.received && stats.dropped == 0,
        "{report:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_subscription_that_a_new_version_makes_at_once_stays() -> Result<()> {
    let mut settings = version(1)?;
    settings.may_subscribe = vec!["own.*".into()];
    settings.request = vec!["gate".into()];
    settings.instances.max = 1.try_into()?;
    settings.limits.time = PATIENCE;
    settings.limits.subscription_changes = 1000;
    let probe = Probe::start(|_, started, _| *started = settings.clone()).await?;
    let mut gate = probe.client.subscribe("gate").await?;
    // Ending what the old version wants takes a while. Meanwhile the new one has come to want what is ended last.
    let mut steps = vec![json!({ "do": "subscribe", "subject": "own.z" })];
    steps.extend(
        (10..40).map(|number| json!({ "do": "subscribe", "subject": format!("own.{number}") })),
    );
    let subscribes = bytes::Bytes::from(json!({ "do": "all", "steps": steps }).to_string());
    probe.client.request("probe", subscribes.clone()).await?;
    for number in 2..12 {
        settings
            .config
            .insert("version".to_owned(), number.to_string());
        // The old version is busy; what subscribes itself waits for the new one, which takes it at once.
        let asks = json!({ "do": "request", "subject": "gate", "timeout_ms": 30_000 });
        probe
            .client
            .publish("probe", asks.to_string().into())
            .await?;
        let asked = gate.next().await.context("the gate is closed")?;
        let subscribing = probe.client.request("probe", subscribes.clone());
        let replacing = async {
            until("one waits", || probe.host.guests()[0].queued == 1).await?;
            anyhow::Ok(probe.host.replace("probe", settings.clone()).await?)
        };
        let go_on = async {
            let subscribed = subscribing.await?;
            probe
                .client
                .publish(asked.reply.context("a reply subject")?, "go on".into())
                .await?;
            anyhow::Ok(subscribed)
        };
        let (report, subscribed) = tokio::join!(replacing, go_on);
        ensure!(report?.is_clean());
        let answer: Value = serde_json::from_slice(&subscribed?.payload)?;
        ensure!(
            answer["ok"]
                .as_array()
                .is_some_and(|all| all.iter().all(|one| one.get("ok").is_some())),
            "{answer}"
        );
        for subject in ["own.z", "own.10", "own.39"] {
            assert_eq!(
                answering(&probe, subject).await?,
                number.to_string(),
                "{subject}"
            );
        }
    }
    Ok(())
}

/// What of this process is in memory, in KiB.
fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("VmRSS")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .context("a number")?
        .parse()?)
}

#[tokio::test]
async fn guests_that_come_and_go_leave_nothing_behind() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let come_and_go = async |times: usize| {
        for _ in 0..times {
            let mut guest = version(1)?;
            guest.subscribe = vec!["guest".into()];
            probe.host.load("guest", guest).await?;
            ensure!(answering(&probe, "guest").await? == "1");
            probe.host.unload("guest").await?;
        }
        anyhow::Ok(())
    };
    come_and_go(200).await?;
    let before = resident_kib()?;
    come_and_go(1000).await?;
    let after = resident_kib()?;
    // One guest left behind, with its compiled code and an instance, is more than 1 MiB.
    ensure!(
        after < before + 16 * 1024,
        "{before} KiB before, {after} KiB after 1000 guests"
    );
    Ok(())
}

#[tokio::test]
async fn a_guest_that_goes_gives_its_buckets_back() -> Result<()> {
    let with_bucket = |subject: &str, bucket: &str| -> Result<GuestSettings> {
        let mut guest = version(1)?;
        guest.subscribe = vec![subject.into()];
        guest
            .buckets
            .insert(bucket.to_owned(), BucketAccess::ReadWrite);
        Ok(guest)
    };
    let probe = Probe::start(|_, settings, _| {
        settings
            .buckets
            .insert("ours".to_owned(), BucketAccess::ReadWrite);
    })
    .await?;
    // A host that does not know a bucket asks the server about it.
    let mut asked = probe.client.subscribe("$JS.API.STREAM.INFO.*").await?;
    round_trip(&probe.client).await?;
    let mut questions = async |subject: &'static str, bucket: &str| {
        let answer = probe
            .send(subject, &json!({ "do": "open", "bucket": bucket }))
            .await?;
        ensure!(answer.payload.starts_with(b"{\"ok\""), "{answer:?}");
        let mut count = 0;
        // All that were asked before the answer have come before it.
        while futures_util::FutureExt::now_or_never(asked.next())
            .flatten()
            .is_some()
        {
            count += 1;
        }
        anyhow::Ok(count)
    };
    assert_eq!(
        (
            questions("probe", "ours").await?,
            questions("probe", "ours").await?
        ),
        (1, 0)
    );
    probe
        .host
        .load("guest", with_bucket("guest", "own")?)
        .await?;
    assert_eq!(
        (
            questions("guest", "own").await?,
            questions("guest", "own").await?
        ),
        (1, 0)
    );
    probe.host.unload("guest").await?;
    probe
        .host
        .load("guest", with_bucket("guest", "own")?)
        .await?;
    assert_eq!(questions("guest", "own").await?, 1, "it was given back");
    Ok(())
}

#[tokio::test]
async fn a_host_that_stops_while_a_version_starts_does_not_wait_for_it() -> Result<()> {
    let probe = Probe::start(|_, _, _| {}).await?;
    let mut slow = version(2)?;
    slow.config.insert(
        "start".to_owned(),
        json!([{ "do": "sleep", "ms": 50_000 }]).to_string(),
    );
    slow.limits.time = PATIENCE;
    let began = Instant::now();
    let mut replacing = Box::pin(probe.host.replace("probe", slow));
    ensure!(futures_util::poll!(&mut replacing).is_pending());
    // It goes on without us.
    drop(replacing);
    let report = probe.host.shutdown().await;
    ensure!(report.is_clean(), "{report:?}");
    ensure!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn what_is_applied_is_applied_as_a_whole() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.config.insert("version".to_owned(), "1".to_owned());
    })
    .await?;
    let on = |subject: &str, number: u32| -> Result<GuestSettings> {
        let mut settings = version(number)?;
        settings.subscribe = vec![subject.into()];
        Ok(settings)
    };
    let wanted = BTreeMap::from([
        ("probe".to_owned(), version(2)?),
        ("more".to_owned(), on("more", 1)?),
    ]);
    let applied = probe.host.apply(wanted.clone()).await?;
    assert_eq!(
        (applied.loaded, applied.replaced, applied.unloaded),
        (vec!["more".into()], vec!["probe".into()], vec![])
    );
    assert_eq!(
        (
            answering(&probe, "probe").await?,
            answering(&probe, "more").await?
        ),
        ("2".into(), "1".into())
    );
    // Once more: nothing has changed, and nothing does.
    let applied = probe.host.apply(wanted).await?;
    assert_eq!(applied, wharf::Applied::default());
    // One of three cannot start: none changes.
    let mut bad = on("bad", 1)?;
    bad.config
        .insert("start".to_owned(), json!([{ "do": "trap" }]).to_string());
    let wanted = BTreeMap::from([("probe".to_owned(), version(3)?), ("bad".to_owned(), bad)]);
    let error = probe
        .host
        .apply(wanted)
        .await
        .err()
        .context("it was applied")?;
    ensure!(
        matches!(&error, ChangeError::Guest { name, .. } if name == "bad"),
        "{error:?}"
    );
    // Nor if a subscription is refused.
    let wanted = BTreeMap::from([
        ("probe".to_owned(), version(3)?),
        ("bad".to_owned(), on("a b", 1)?),
    ]);
    ensure!(probe.host.apply(wanted).await.is_err());
    assert_eq!(
        (
            answering(&probe, "probe").await?,
            answering(&probe, "more").await?
        ),
        ("2".into(), "1".into())
    );
    assert_eq!(probe.host.guests().len(), 2);
    let applied = probe
        .host
        .apply(BTreeMap::from([("probe".to_owned(), version(2)?)]))
        .await?;
    assert_eq!(applied.unloaded, ["more"]);
    ensure!(
        answering(&probe, "more")
            .await
            .is_err_and(|error| is_nobody(&error))
    );
    Ok(())
}
