//! Canaries: a share of a guest's messages goes to another version, which is promoted, aborted, or rolled back.
//!
//! The version in service is the echo, which answers anything with itself; the canary is the probe, which does what the
//! message says. So a message can fail with the canary alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use wharf::config::{CanarySettings, GuestSettings, Ratio};
use wharf::{ChangeError, Host};
use wharf_tests::probe::config;
use wharf_tests::{PATIENCE, TestServer, component, round_trip, soon, until};

const SUBJECT: &str = "guest";

/// The echo as the guest, with the probe as its canary.
fn guest(share: f64) -> Result<GuestSettings> {
    let mut settings = GuestSettings::new(component("echo")?);
    settings.subscribe.push(SUBJECT.into());
    let mut canary = CanarySettings::new(component("probe")?);
    canary.share = Ratio::new(share).context("a share")?;
    settings.canary = Some(canary);
    Ok(settings)
}

fn without_canary(settings: &GuestSettings) -> GuestSettings {
    let mut settings = settings.clone();
    settings.canary = None;
    settings
}

struct Place {
    // Held as long as its host.
    _server: TestServer,
    host: Host,
    client: async_nats::Client,
}

impl Place {
    async fn start(settings: GuestSettings) -> Result<Self> {
        let server = TestServer::start("").await?;
        let mut config = config(&server);
        config.guests.insert("guest".to_owned(), settings);
        let host = Host::builder(config).start().await?;
        let client = server.client().await?;
        Ok(Self {
            _server: server,
            host,
            client,
        })
    }

    fn info(&self) -> Result<wharf::GuestStatus> {
        self.host
            .guests()
            .into_iter()
            .next()
            .context("there is a guest")
    }

    /// Whether the canary answers, and not the version in service.
    async fn is_canary(&self, subject: &'static str) -> Result<bool> {
        let payload = say("canary");
        let reply = soon("an answer", self.client.request(subject, payload.clone())).await??;
        ensure!(
            reply.payload == "canary" || reply.payload == payload,
            "{reply:?}"
        );
        Ok(reply.payload == "canary")
    }

    async fn apply(&self, settings: &GuestSettings) -> Result<wharf::Applied> {
        Ok(self
            .host
            .apply(BTreeMap::from([("guest".to_owned(), settings.clone())]))
            .await?)
    }
}

/// The canary answers with the text alone.
fn say(text: &str) -> Bytes {
    json!({ "do": "reply", "text": text }).to_string().into()
}

fn step(step: Value) -> Bytes {
    step.to_string().into()
}

/// What became of requests that were sent as fast as they are answered.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    by_main: u64,
    by_canary: u64,
    failed: u64,
}

/// Keeps so many requests on their way, each with the same payload, until it is told to end or has sent so many. Each must
/// be answered once.
async fn ask(
    client: async_nats::Client,
    payload: Bytes,
    in_flight: usize,
    most: u64,
    done: Arc<AtomicBool>,
) -> Result<Answers> {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(format!("{inbox}.*")).await?;
    let mut waiting = std::collections::BTreeSet::new();
    let mut answers = Answers::default();
    let mut next = 0;
    loop {
        let goes_on = next < most && !done.load(Ordering::Relaxed);
        if goes_on && waiting.len() < in_flight {
            client
                .publish_with_reply(SUBJECT, format!("{inbox}.{next}"), payload.clone())
                .await?;
            waiting.insert(next);
            next += 1;
            continue;
        }
        if waiting.is_empty() {
            break;
        }
        let reply = tokio::time::timeout(PATIENCE, replies.next())
            .await
            .context("a message was lost")?;
        let reply = reply.context("the server is gone")?;
        let number = reply
            .subject
            .rsplit('.')
            .next()
            .context("a number")?
            .parse()?;
        ensure!(
            waiting.remove(&number),
            "message {number} was answered twice"
        );
        let count = match &reply.headers {
            Some(_) => &mut answers.failed,
            None if reply.payload == payload => &mut answers.by_main,
            None => &mut answers.by_canary,
        };
        *count += 1;
    }
    round_trip(&client).await?;
    ensure!(
        futures_util::FutureExt::now_or_never(replies.next()).is_none(),
        "an answer too many"
    );
    Ok(answers)
}

/// So many, each answered before the next.
async fn ask_all(place: &Place, payload: Bytes, count: u64) -> Result<Answers> {
    ask(place.client.clone(), payload, 1, count, Arc::default()).await
}

/// Requests that go on until they are ended.
struct Load {
    done: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<Result<Answers>>,
}

impl Load {
    fn start(place: &Place, payload: Bytes) -> Self {
        let done = Arc::<AtomicBool>::default();
        let asking = ask(
            place.client.clone(),
            payload,
            128,
            u64::MAX,
            Arc::clone(&done),
        );
        Self {
            asking: tokio::spawn(asking),
            done,
        }
    }

    async fn end(self) -> Result<Answers> {
        self.done.store(true, Ordering::Relaxed);
        self.asking.await?
    }
}

async fn handled(place: &Place, more: u64) -> Result<()> {
    let count = || place.host.stats("guest").map_or(0, |stats| stats.handled);
    let before = count();
    until("messages are handled", || count() >= before + more).await
}

#[tokio::test]
async fn a_canary_gets_its_share_of_the_messages_and_no_more() -> Result<()> {
    let place = Place::start(guest(0.2)?).await?;
    let answers = ask_all(&place, say("canary"), 1000).await?;
    ensure!(
        (197..=203).contains(&answers.by_canary) && answers.failed == 0,
        "{answers:?}"
    );
    let info = place.info()?;
    let canary = info.canary.context("it goes on")?;
    assert_eq!((info.version, canary.version), (1, 2));
    assert_eq!(
        (canary.handled, canary.failed, canary.queued),
        (answers.by_canary, 0, 0)
    );
    assert_eq!(info.stats.handled, 1000, "what both handled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_fails_too_often_is_rolled_back_under_load_and_no_message_is_lost()
-> Result<()> {
    let settings = guest(0.25)?;
    let place = Place::start(settings.clone()).await?;
    let load = Load::start(&place, step(json!({ "do": "trap" })));
    until("it is rolled back", || {
        place.host.guests()[0].canary.is_none()
    })
    .await?;
    handled(&place, 1000).await?;
    let answers = load.end().await?;
    // One of a hundred may fail; with the second it gets no more, but may have as many in flight as it has instances.
    ensure!(
        (2..=9).contains(&answers.failed) && answers.by_canary == 0,
        "{answers:?}"
    );
    let info = place.info()?;
    let why = info.canary_rolled_back.context("it says why")?;
    ensure!(
        why.contains("and of 100 1 may (max_failure = 0.01)") && why.contains("version 2"),
        "{why}"
    );
    assert_eq!(info.stats.canaries_rolled_back, 1);
    assert_eq!(
        (info.stats.handled, info.stats.trapped, info.stats.dropped),
        (answers.by_main, answers.failed, 0)
    );
    for gone in [
        place.host.promote_canary("guest").await,
        place.host.abort_canary("guest").await,
    ] {
        let Err(ChangeError::NoCanary { rolled_back, .. }) = gone else {
            anyhow::bail!("{gone:?}")
        };
        assert_eq!(rolled_back.as_deref(), Some(why.as_str()));
    }
    // What was asked for has not changed: it is not tried again.
    assert_eq!(place.apply(&settings).await?, wharf::Applied::default());
    ensure!(place.info()?.canary.is_none());
    // Another canary is.
    let mut again = settings;
    again.canary.as_mut().context("a canary")?.share = Ratio::new(1.0).context("a share")?;
    assert_eq!(place.apply(&again).await?.canaries, ["guest"]);
    ensure!(place.is_canary(SUBJECT).await? && place.info()?.canary_rolled_back.is_none());
    Ok(())
}

#[tokio::test]
async fn the_failure_that_is_one_too_many_is_the_last_that_anybody_sees() -> Result<()> {
    let mut settings = guest(1.0)?;
    let canary = settings.canary.as_mut().context("a canary")?;
    canary.window = 10.try_into()?;
    canary.max_failure = Ratio::new(0.3).context("a part")?;
    let place = Place::start(settings).await?;
    for failure in [
        json!({ "do": "reject", "reason": "no" }),
        json!({ "do": "retry", "reason": "later" }),
        json!({ "do": "exit", "code": 1 }),
    ] {
        assert_eq!(ask_all(&place, step(failure), 1).await?.failed, 1);
        assert_eq!(ask_all(&place, say("canary"), 1).await?.by_canary, 1);
    }
    // They leave the window, and are forgiven.
    assert_eq!(ask_all(&place, say("canary"), 10).await?.by_canary, 10);
    let answers = ask_all(&place, step(json!({ "do": "trap" })), 20).await?;
    assert_eq!(
        answers,
        Answers {
            by_main: 16,
            by_canary: 0,
            failed: 4
        }
    );
    Ok(())
}

#[tokio::test]
async fn what_waits_for_a_canary_that_hangs_is_handled_by_the_version_in_service() -> Result<()> {
    let mut settings = guest(0.5)?;
    settings.instances.max = 1.try_into()?;
    settings.limits.time = Duration::from_millis(500);
    settings.canary.as_mut().context("a canary")?.max_failure =
        Ratio::new(0.0).context("a part")?;
    let place = Place::start(settings).await?;
    let answers = ask(
        place.client.clone(),
        step(json!({ "do": "spin" })),
        100,
        100,
        Arc::default(),
    )
    .await?;
    assert_eq!(
        answers,
        Answers {
            by_main: 99,
            by_canary: 0,
            failed: 1
        }
    );
    Ok(())
}

#[tokio::test]
async fn a_canary_that_is_behind_takes_no_room_from_the_version_in_service() -> Result<()> {
    let mut settings = guest(0.5)?;
    settings.instances.max = 1.try_into()?;
    settings.limits.queue_messages = 10;
    settings.limits.time = PATIENCE;
    let place = Place::start(settings).await?;
    let spin = step(json!({ "do": "spin" }));
    let canary = || {
        place
            .host
            .guests()
            .first()
            .and_then(|guest| guest.canary.clone())
    };
    // One after the other: nothing waits for the version in service.
    for number in 1..=200 {
        place.client.publish(SUBJECT, spin.clone()).await?;
        round_trip(&place.client).await?;
        until("it has come where it belongs", || {
            let waits = canary().map_or(0, |canary| (canary.queued + canary.in_flight) as u64);
            place
                .host
                .stats("guest")
                .is_some_and(|stats| stats.handled + stats.dropped + waits == number)
        })
        .await?;
    }
    let canary = canary().context("it hangs")?;
    assert_eq!(
        (canary.in_flight, canary.queued),
        (1, 5),
        "half of the queue"
    );
    assert_eq!(place.host.stats("guest").context("it runs")?.dropped, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_promoted_under_load_and_hears_what_it_wants_from_then_on() -> Result<()> {
    let mut settings = guest(0.1)?;
    settings.may_subscribe.push("own".into());
    let itself = json!([{ "do": "subscribe", "subject": "own" }]).to_string();
    settings.config.insert("start".to_owned(), itself);
    let place = Place::start(settings.clone()).await?;
    let load = Load::start(&place, say("canary"));
    handled(&place, 1000).await?;
    let unheard = place
        .client
        .request("own", say("canary"))
        .await
        .expect_err("nobody hears it");
    assert_eq!(unheard.kind(), async_nats::RequestErrorKind::NoResponders);
    let report = place.host.promote_canary("guest").await?;
    ensure!(report.is_clean(), "{report:?}");
    ensure!(place.is_canary("own").await?);
    for _ in 0..50 {
        ensure!(place.is_canary(SUBJECT).await?, "the old version is gone");
    }
    handled(&place, 1000).await?;
    let answers = load.end().await?;
    ensure!(
        answers.failed == 0 && answers.by_main > 500 && answers.by_canary > 1000,
        "{answers:?}"
    );
    let info = place.info()?;
    assert_eq!(
        (info.version, info.component, info.canary),
        (2, component("probe")?.into(), None)
    );
    assert_eq!(info.stats.dropped, 0);
    let none = place.host.promote_canary("guest").await;
    ensure!(
        matches!(
            none,
            Err(ChangeError::NoCanary {
                rolled_back: None,
                ..
            })
        ),
        "{none:?}"
    );
    // It is in service: however often it fails, it stays.
    assert_eq!(
        ask_all(&place, step(json!({ "do": "trap" })), 200)
            .await?
            .failed,
        200
    );
    ensure!(place.is_canary(SUBJECT).await?);
    // As it was asked for, and then promoted: it stays so.
    assert_eq!(place.apply(&settings).await?, wharf::Applied::default());
    assert_eq!(place.info()?.version, 2);
    // As it is now: nothing has to change.
    let mut as_it_is = without_canary(&settings);
    as_it_is.component = component("probe")?.into();
    assert_eq!(place.apply(&as_it_is).await?, wharf::Applied::default());
    // And back to what it was.
    assert_eq!(
        place.apply(&without_canary(&settings)).await?.replaced,
        ["guest"]
    );
    ensure!(!place.is_canary(SUBJECT).await?);
    Ok(())
}

#[tokio::test]
async fn a_canary_that_is_aborted_finishes_what_it_has_in_flight() -> Result<()> {
    let mut settings = guest(1.0)?;
    settings.instances.max = 1.try_into()?;
    settings.request = vec!["gate".into()];
    settings.limits.time = PATIENCE;
    let place = Place::start(settings).await?;
    let mut gate = place.client.subscribe("gate").await?;
    let asks = json!({ "do": "request", "subject": "gate", "timeout_ms": 30_000 });
    let held = place.client.request(SUBJECT, step(asks));
    let rest = async {
        let asked = gate.next().await.context("the gate is closed")?;
        // It waits for the canary, which is busy, and then goes to the version in service.
        let payload = say("canary");
        let (client, asks) = (place.client.clone(), payload.clone());
        let waiting = tokio::spawn(async move { client.request(SUBJECT, asks).await });
        let aborting = async {
            until("one waits", || place.host.guests()[0].queued == 1).await?;
            let aborting = place.host.abort_canary("guest");
            let go_on = async {
                ensure!(
                    waiting.await??.payload == payload,
                    "the version in service answers"
                );
                place
                    .client
                    .publish(asked.reply.context("a reply subject")?, "go on".into())
                    .await?;
                anyhow::Ok(())
            };
            let (report, gone_on) = tokio::join!(aborting, go_on);
            gone_on?;
            anyhow::Ok(report?)
        };
        aborting.await
    };
    let (held, report) = tokio::join!(held, rest);
    let answer: Value = serde_json::from_slice(&held?.payload)?;
    assert_eq!(answer["ok"]["text"], "go on");
    let report = report?;
    ensure!(report.is_clean() && report.finished == 1, "{report:?}");
    ensure!(place.info()?.canary.is_none() && !place.is_canary(SUBJECT).await?);
    Ok(())
}

#[tokio::test]
async fn a_canary_that_does_not_come_up_changes_nothing() -> Result<()> {
    let place = Place::start(without_canary(&guest(0.5)?)).await?;
    let mut missing = guest(0.5)?;
    missing.canary = Some(CanarySettings::new("none.wasm"));
    let mut trapping = guest(0.5)?;
    trapping
        .config
        .insert("start".to_owned(), json!([{ "do": "trap" }]).to_string());
    let mut greedy = guest(0.5)?;
    greedy.instances.max = 501.try_into()?;
    greedy.instances.min = 501;
    for (settings, why) in [
        (
            missing,
            "its canary does not come up: cannot read component none.wasm",
        ),
        (
            trapping,
            "its canary does not come up: it trapped while it started",
        ),
        (greedy, "are left of the host's"),
    ] {
        let replaced = place
            .host
            .replace("guest", settings.clone())
            .await
            .err()
            .context("it came up")?;
        let applied = place
            .host
            .apply(BTreeMap::from([("guest".to_owned(), settings)]))
            .await;
        for error in [replaced, applied.err().context("it came up")?] {
            let text = format!("{:#}", anyhow::Error::from(error));
            ensure!(text.contains(why), "{text}");
        }
        let info = place.info()?;
        assert_eq!((info.version, info.canary), (1, None));
        ensure!(!place.is_canary(SUBJECT).await?);
    }
    let mut config = wharf::config::Config::default();
    config.guests.insert("guest".to_owned(), {
        let mut settings = guest(0.5)?;
        settings.instances.max = 600.try_into()?;
        settings.instances.min = 600;
        settings
    });
    let error = Host::builder(config)
        .start()
        .await
        .err()
        .context("it came up")?;
    ensure!(error.to_string().contains("1200 instances"), "{error}");
    Ok(())
}

#[tokio::test]
async fn only_what_is_asked_for_otherwise_changes() -> Result<()> {
    let with = guest(1.0)?;
    let without = without_canary(&with);
    let place = Place::start(without.clone()).await?;
    let versions = |place: &Place| -> Result<_> {
        let info = place.info()?;
        Ok((info.version, info.canary.map(|canary| canary.version)))
    };
    let applied = place.apply(&with).await?;
    assert_eq!(
        (applied.canaries, applied.replaced),
        (vec!["guest".to_owned()], vec![])
    );
    assert_eq!(versions(&place)?, (1, Some(2)));
    ensure!(place.is_canary(SUBJECT).await?);
    let applied = place.apply(&without).await?;
    assert_eq!(
        (applied.canaries, applied.replaced),
        (vec!["guest".to_owned()], vec![])
    );
    assert_eq!(versions(&place)?, (1, None));
    ensure!(!place.is_canary(SUBJECT).await?);
    // What is a setting of the guest is one of its canary's, too: both are replaced.
    place.apply(&with).await?;
    let mut other = with.clone();
    other.config.insert("key".to_owned(), "value".to_owned());
    let applied = place.apply(&other).await?;
    assert_eq!(
        (applied.canaries, applied.replaced),
        (vec![], vec!["guest".to_owned()])
    );
    assert_eq!(versions(&place)?, (4, Some(5)));
    // The canary is asked for in service: it is promoted, not started anew.
    let mut promoted = without_canary(&other);
    promoted.component = component("probe")?.into();
    assert_eq!(place.apply(&promoted).await?.replaced, ["guest"]);
    assert_eq!(versions(&place)?, (5, None));
    ensure!(place.is_canary(SUBJECT).await?);
    // A replacement ends it.
    place.host.replace("guest", with.clone()).await?;
    assert_eq!(versions(&place)?, (6, Some(7)));
    place.host.replace("guest", without).await?;
    assert_eq!(versions(&place)?, (8, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_with_a_canary_handles_all_that_had_arrived_when_it_goes() -> Result<()> {
    for round in 0..10 {
        let mut settings = guest(0.3)?;
        settings.limits.queue_messages = 1_000_000;
        // In every other round it fails while the guest goes.
        let (payload, most) = if round % 2 == 0 {
            (say("canary"), 0.0)
        } else {
            (step(json!({ "do": "trap" })), 0.2)
        };
        settings.canary.as_mut().context("a canary")?.max_failure =
            Ratio::new(most).context("a part")?;
        let place = Place::start(settings).await?;
        for _ in 0..2000 {
            place.client.publish(SUBJECT, payload.clone()).await?;
        }
        round_trip(&place.client).await?;
        let received = || {
            place
                .host
                .stats("guest")
                .is_some_and(|stats| stats.received == 2000)
        };
        until("all have arrived", received).await?;
        let report = if round % 4 < 2 {
            place.host.shutdown().await
        } else {
            place.host.unload("guest").await?
        };
        let stats = report.guests["guest"];
        ensure!(
            report.is_clean() && stats.handled + stats.trapped == 2000,
            "{report:?}"
        );
        ensure!(
            stats.trapped <= 21 + 8,
            "what waits for a canary that fails is for the others: {stats:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_canary_may_want_to_hear_has_the_bound_of_a_guest_in_service() -> Result<()> {
    let mut settings = guest(1.0)?;
    settings.may_subscribe.push("own.*".into());
    settings.limits.time = PATIENCE;
    let place = Place::start(settings).await?;
    let subscribe = |number| json!({ "do": "subscribe", "subject": format!("own.{number}") });
    let all = json!({ "do": "all", "steps": (0..65).map(subscribe).collect::<Vec<_>>() });
    let reply = place.client.request(SUBJECT, step(all)).await?;
    let answer: Value = serde_json::from_slice(&reply.payload)?;
    let steps = answer["ok"].as_array().context("a list")?;
    ensure!(
        steps[..64].iter().all(|one| one.get("ok").is_some()),
        "{answer}"
    );
    assert_eq!(steps[64]["error"]["kind"], "unavailable");
    place.host.promote_canary("guest").await?;
    ensure!(place.is_canary("own.63").await?);
    Ok(())
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_canary_on_its_way_out_and_reports_what_it_had_in_flight()
-> Result<()> {
    let mut settings = guest(1.0)?;
    settings.canary.as_mut().context("a canary")?.max_failure =
        Ratio::new(0.0).context("a part")?;
    settings.request = vec!["gate".into()];
    settings.limits.time = PATIENCE;
    let Place {
        _server,
        host,
        client,
    } = Place::start(settings).await?;
    let mut gate = client.subscribe("gate").await?;
    let asks = json!({ "do": "request", "subject": "gate", "timeout_ms": 30_000 });
    client.publish(SUBJECT, step(asks)).await?;
    let held = soon("it asks", gate.next())
        .await?
        .context("the gate is closed")?;
    ensure!(
        client
            .request(SUBJECT, step(json!({ "do": "trap" })))
            .await?
            .headers
            .is_some(),
        "it fails"
    );
    until("it is rolled back", || host.guests()[0].canary.is_none()).await?;
    let stopping = tokio::spawn(host.shutdown());
    // The guest is unsubscribed before the canary has ended.
    let unsubscribed = async { while client.request(SUBJECT, say("x")).await.is_ok() {} };
    soon("the guest is unsubscribed", unsubscribed).await?;
    client
        .publish(held.reply.context("a reply subject")?, "go on".into())
        .await?;
    let report = soon("it stops", stopping).await??;
    let stats = report.guests["guest"];
    ensure!(
        report.is_clean() && stats.handled + stats.trapped == stats.received,
        "{report:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_canary_that_fails_while_another_is_on_its_way_out_is_told_at_once_and_goes_after_it()
-> Result<()> {
    let server = TestServer::start("").await?;
    let mut config = config(&server);
    for name in ["first", "second"] {
        let mut settings = guest(1.0)?;
        settings.subscribe = vec![name.into()];
        settings.canary.as_mut().context("a canary")?.max_failure =
            Ratio::new(0.0).context("a part")?;
        settings.request = vec!["gate".into()];
        settings.limits.time = PATIENCE;
        config.guests.insert(name.to_owned(), settings);
    }
    let host = Host::builder(config).start().await?;
    let client = server.client().await?;
    let mut gate = client.subscribe("gate").await?;
    let asks = json!({ "do": "request", "subject": "gate", "timeout_ms": 30_000 });
    client.publish("first", step(asks)).await?;
    let held = soon("it asks", gate.next())
        .await?
        .context("the gate is closed")?;
    let rolled_back = |at: usize| {
        let guest = &host.guests()[at];
        (guest.canary_rolled_back.is_some(), guest.canary.is_none())
    };
    client
        .request("first", step(json!({ "do": "trap" })))
        .await?;
    until("the first is told and leaves", || {
        rolled_back(0) == (true, true)
    })
    .await?;
    client
        .request("second", step(json!({ "do": "trap" })))
        .await?;
    until("the second is told", || rolled_back(1).0).await?;
    assert_eq!(
        host.stats("second")
            .context("it runs")?
            .canaries_rolled_back,
        1
    );
    client
        .publish(held.reply.context("a reply subject")?, "go on".into())
        .await?;
    until("the second has left", || rolled_back(1).1).await?;
    assert_eq!(
        client.request("second", say("x")).await?.payload,
        say("x"),
        "the version in service answers"
    );
    ensure!(host.shutdown().await.is_clean());
    Ok(())
}
