//! What operators' tools ask the host over HTTP, and that its figures are right to the message.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use prometheus_parse::{Scrape, Value as Figure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wharf::config::{BucketAccess, BucketSettings, CanarySettings, Config, Instances, Ratio};
use wharf::{Host, StartError};
use wharf_tests::probe::{self, Probe, service_error};
use wharf_tests::{TestServer, round_trip, soon};

/// An answer: its status, its headers as they travel, and its body.
struct Answer {
    status: u16,
    headers: String,
    body: String,
}

async fn exchange(address: SocketAddr, request: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await??;
    let (headers, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = headers.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer {
        status,
        headers: headers.to_lowercase(),
        body: body.to_owned(),
    })
}

async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

fn listening(config: &mut Config) {
    config.http.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
}

fn address(host: &Host) -> Result<SocketAddr> {
    host.http_address().context("it does not listen")
}

/// The figures of a host.
struct Figures(Scrape);

impl Figures {
    async fn of(host: &Host) -> Result<Self> {
        let answer = get(address(host)?, "/metrics").await?;
        ensure!(answer.status == 200, "{}", answer.body);
        ensure!(
            answer
                .headers
                .contains("content-type: application/openmetrics-text"),
            "{}",
            answer.headers
        );
        ensure!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
        Ok(Self(Scrape::parse(
            answer.body.lines().map(|line| Ok(line.to_owned())),
        )?))
    }

    /// A figure by its name and one or two labels.
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.0.samples.iter().find(|sample| {
            sample.metric == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(key) == Some(*value))
        });
        match found?.value {
            Figure::Counter(value) | Figure::Gauge(value) | Figure::Untyped(value) => Some(value),
            _ => None,
        }
    }

    fn of_probe(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        self.get(name, &[("guest", "probe"), (label, value)])
    }
}

/// Asserts a figure of the guest `probe` for each word of a label.
fn assert_each(figures: &Figures, name: &str, label: &str, expected: &[(&str, f64)]) {
    for (word, count) in expected {
        assert_eq!(
            figures.of_probe(name, label, word),
            Some(*count),
            "{name} {label}={word}"
        );
    }
}

/// Waits until the answer to a path has this status, and returns what it says.
async fn becomes(address: SocketAddr, path: &str, status: u16) -> Result<String> {
    let said = async {
        loop {
            let answer = get(address, path).await?;
            if answer.status == status {
                return anyhow::Ok(answer.body);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(&format!("{path} answers {status}"), said).await?
}

async fn failure(probe: &Probe, step: Value) -> Result<String> {
    Ok(service_error(&probe.send("probe", &step).await?)?.0)
}

/// Has the guest handle so many messages, and reject, ask for a retry, fail in each way and run on, ten in all.
async fn each_outcome(probe: &Probe, handled: u32) -> Result<()> {
    for _ in 0..handled {
        assert_eq!(
            probe.ok(json!({ "do": "config", "key": "k" })).await?,
            Value::Null
        );
    }
    for _ in 0..3 {
        assert_eq!(
            failure(probe, json!({ "do": "reject", "reason": "no" })).await?,
            "400"
        );
    }
    for _ in 0..2 {
        assert_eq!(
            failure(probe, json!({ "do": "retry", "reason": "later" })).await?,
            "503"
        );
    }
    for step in [
        json!({ "do": "trap" }),
        json!({ "do": "trap" }),
        json!({ "do": "exit", "code": 3 }),
        json!({ "do": "allocate", "bytes": 64 << 20 }),
    ] {
        assert_eq!(failure(probe, step).await?, "500");
    }
    assert_eq!(failure(probe, json!({ "do": "spin" })).await?, "504");
    Ok(())
}

fn assert_outcomes(figures: &Figures, handled: f64) {
    assert_each(
        figures,
        "wharf_guest_messages_total",
        "outcome",
        &[
            ("handled", handled),
            ("rejected", 3.0),
            ("retried", 2.0),
            ("trapped", 4.0),
            ("timed_out", 1.0),
            ("not_started", 0.0),
            ("dropped", 0.0),
        ],
    );
    let traps = [
        ("trap", 2.0),
        ("exit", 1.0),
        ("memory", 1.0),
        ("timeout", 1.0),
    ];
    assert_each(figures, "wharf_guest_traps_total", "kind", &traps);
}

/// Asserts that each of so many messages is in the histogram once, and that one took longer than a second.
fn assert_histogram(figures: &Figures, all: f64) -> Result<()> {
    let histogram = figures
        .0
        .samples
        .iter()
        .find(|sample| sample.metric == "wharf_guest_handling_seconds");
    let Some(Figure::Histogram(buckets)) = histogram.map(|sample| &sample.value) else {
        anyhow::bail!("no histogram");
    };
    let last = buckets.last().context("no buckets")?;
    assert_eq!(
        (last.less_than, last.count),
        (f64::INFINITY, all),
        "each message is in it once"
    );
    let quick = buckets
        .iter()
        .find(|bucket| bucket.less_than == 1.0)
        .context("no such bucket")?;
    ensure!(
        quick.count < all,
        "the one that was stopped took longer: {buckets:?}"
    );
    ensure!(
        buckets.is_sorted_by(|a, b| a.less_than < b.less_than && a.count <= b.count),
        "{buckets:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_figures_are_right_to_the_message() -> Result<()> {
    const HANDLED: u32 = 200;
    let probe = Probe::start(|config, settings, _| {
        listening(config);
        settings.instances = Instances {
            max: NonZeroU32::MIN,
            ..settings.instances
        };
        settings.limits.time = Duration::from_millis(1500);
        settings.limits.memory_bytes = 16 << 20;
    })
    .await?;
    each_outcome(&probe, HANDLED).await?;
    let figures = settled(&probe).await?;
    let handled = f64::from(HANDLED);
    assert_outcomes(&figures, handled);
    let all = handled + 10.0;
    let of = |name: &str| figures.get(name, &[("guest", "probe")]).unwrap_or(f64::NAN);
    assert_eq!(of("wharf_guest_messages_received_total"), all);
    assert_eq!(
        figures.of_probe("wharf_guest_replies_total", "result", "sent"),
        Some(all)
    );
    assert_eq!(
        figures.of_probe("wharf_guest_replies_total", "result", "failed"),
        Some(0.0)
    );
    // One to start with, and one after each of the five that were ended; but for the last, which was not needed yet.
    assert_eq!(of("wharf_guest_instances_made_total"), 5.0);
    assert_eq!(of("wharf_guest_instances_reused_total"), all - 5.0);
    assert_eq!(of("wharf_guest_instances"), 0.0);
    assert_eq!(of("wharf_guest_memory_bytes"), 0.0);
    ensure!(of("wharf_guest_memory_refused_total") >= 1.0);
    assert_histogram(&figures, all)?;
    assert_eq!(of("wharf_guest_handling_seconds_count"), all);
    Ok(())
}

/// The figures once nothing is in flight: a reply is sent before its message counts as done.
async fn settled(probe: &Probe) -> Result<Figures> {
    once(probe, "nothing is in flight", |figures| {
        figures.get("wharf_guest_in_flight", &[("guest", "probe")]) == Some(0.0)
    })
    .await
}

/// The figures as soon as they are so.
async fn once(probe: &Probe, what: &str, are_so: impl Fn(&Figures) -> bool) -> Result<Figures> {
    let so = async {
        loop {
            let figures = Figures::of(&probe.host).await?;
            if are_so(&figures) {
                return anyhow::Ok(figures);
            }
        }
    };
    soon(what, so).await?
}

#[tokio::test]
async fn a_canary_has_figures_of_its_own() -> Result<()> {
    let probe = Probe::start(|config, settings, _| {
        listening(config);
        let mut canary = CanarySettings::new(settings.component.clone());
        canary.share = Ratio::new(0.25).expect("a part");
        canary.max_failure = Ratio::new(0.05).expect("a part");
        settings.canary = Some(canary);
    })
    .await?;
    for _ in 0..80 {
        failure(&probe, json!({ "do": "reject", "reason": "no" })).await?;
        // Five of a hundred may fail.
        if probe.host.guests()[0]
            .canary
            .as_ref()
            .is_some_and(|canary| canary.failed == 5)
        {
            break;
        }
        probe.ok(json!({ "do": "config", "key": "k" })).await?;
    }
    let canary = probe.host.guests()[0]
        .canary
        .clone()
        .context("it is still there")?;
    let figures = settled(&probe).await?;
    assert_eq!(
        figures.get("wharf_guest_canary_share", &[("guest", "probe")]),
        Some(0.25)
    );
    let expected = [("handled", canary.handled as f64), ("failed", 5.0)];
    assert_each(
        &figures,
        "wharf_guest_canary_messages_total",
        "outcome",
        &expected,
    );
    ensure!(canary.handled > 0);
    while probe.host.guests()[0].canary.is_some() {
        failure(&probe, json!({ "do": "reject", "reason": "no" })).await?;
    }
    let figures = settled(&probe).await?;
    assert_eq!(
        figures.get(
            "wharf_guest_canaries_rolled_back_total",
            &[("guest", "probe")]
        ),
        Some(1.0)
    );
    assert_eq!(
        figures.get("wharf_guest_canary_share", &[("guest", "probe")]),
        None
    );
    let all: f64 = ["handled", "rejected"]
        .iter()
        .filter_map(|outcome| figures.of_probe("wharf_guest_messages_total", "outcome", outcome))
        .sum();
    assert_eq!(
        figures.get("wharf_guest_messages_received_total", &[("guest", "probe")]),
        Some(all)
    );
    Ok(())
}

#[tokio::test]
async fn denials_are_counted_by_the_grant_that_is_missing() -> Result<()> {
    let probe = Probe::start(|config, settings, _| {
        listening(config);
        settings
            .buckets
            .insert("ours".to_owned(), BucketAccess::ReadWrite);
        settings
            .buckets
            .insert("read".to_owned(), BucketAccess::Read);
        config.buckets.insert(
            "ours".to_owned(),
            BucketSettings {
                history: 7,
                ..BucketSettings::default()
            },
        );
    })
    .await?;
    let steps = [
        json!({ "do": "publish", "subject": "a" }),
        json!({ "do": "store", "subject": "a" }),
        json!({ "do": "request", "subject": "a" }),
        json!({ "do": "subscribe", "subject": "a" }),
        json!({ "do": "open", "bucket": "other" }),
        json!({ "do": "create", "bucket": "read", "history": 1 }),
        json!({ "do": "create", "bucket": "ours", "history": 1 }),
    ];
    for step in steps {
        assert_eq!(probe.err(step).await?.0, "denied");
    }
    let figures = settled(&probe).await?;
    assert_each(
        &figures,
        "wharf_guest_denials_total",
        "grant",
        &[
            ("publish", 2.0),
            ("request", 1.0),
            ("subscribe", 1.0),
            ("bucket", 1.0),
            ("bucket_write", 1.0),
            ("settings", 1.0),
        ],
    );
    assert_eq!(probe.host.stats("probe").context("it runs")?.denied, 7);
    assert_eq!(
        figures.get("wharf_guest_instances", &[("guest", "probe")]),
        Some(1.0)
    );
    let memory = figures
        .get("wharf_guest_memory_bytes", &[("guest", "probe")])
        .context("no memory")?;
    ensure!(
        (65_536.0..64.0 * 1024.0 * 1024.0).contains(&memory),
        "{memory}"
    );
    Ok(())
}

#[tokio::test]
async fn what_waits_and_what_is_dropped_shows_while_a_guest_spins() -> Result<()> {
    let probe = Probe::start(|config, settings, _| {
        listening(config);
        settings.instances = Instances {
            max: NonZeroU32::MIN,
            ..settings.instances
        };
        settings.limits.queue_messages = 4;
        settings.limits.time = Duration::from_secs(10);
    })
    .await?;
    let of = |figures: &Figures, name: &str| figures.get(name, &[("guest", "probe")]);
    probe
        .client
        .publish("probe", json!({ "do": "spin" }).to_string().into())
        .await?;
    once(&probe, "it spins", |figures| {
        of(figures, "wharf_guest_in_flight") == Some(1.0)
    })
    .await?;
    for _ in 0..10 {
        probe
            .client
            .publish("probe", json!({ "do": "silence" }).to_string().into())
            .await?;
    }
    round_trip(&probe.client).await?;
    let dropped =
        |figures: &Figures| figures.of_probe("wharf_guest_messages_total", "outcome", "dropped");
    let state = once(&probe, "six are dropped", |figures| {
        dropped(figures) == Some(6.0)
    })
    .await?;
    assert_eq!(get(address(&probe.host)?, "/livez").await?.status, 200);
    assert_eq!(get(address(&probe.host)?, "/readyz").await?.status, 200);
    assert_eq!(
        of(&state, "wharf_guest_messages_received_total"),
        Some(11.0)
    );
    assert_eq!(of(&state, "wharf_guest_queue_messages"), Some(4.0));
    ensure!(of(&state, "wharf_guest_queue_bytes") >= Some(4.0 * 20.0));
    assert_eq!(
        state.of_probe("wharf_guest_messages_total", "outcome", "timed_out"),
        Some(0.0),
        "it still spins"
    );
    Ok(())
}

#[tokio::test]
async fn it_is_not_ready_while_there_is_no_server_and_ready_again_after() -> Result<()> {
    let mut probe = Probe::start(|config, _, _| {
        listening(config);
        config.nats.max_reconnect = None;
    })
    .await?;
    let address = address(&probe.host)?;
    assert_eq!(get(address, "/readyz").await?.body, "ready\n");
    probe.server.kill().await?;
    let why = becomes(address, "/readyz", 503).await?;
    assert_eq!(why, "there is no connection to NATS now\n");
    assert_eq!(get(address, "/livez").await?.status, 200);
    let figures = Figures::of(&probe.host).await?;
    assert_eq!(
        figures.get("wharf_connection_state", &[("state", "disconnected")]),
        Some(1.0)
    );
    assert_eq!(
        figures.get("wharf_connection_state", &[("state", "connected")]),
        Some(0.0)
    );
    probe.server.start_again().await?;
    becomes(address, "/readyz", 200).await?;
    let figures = Figures::of(&probe.host).await?;
    assert_eq!(
        figures.get("wharf_connection_state", &[("state", "connected")]),
        Some(1.0)
    );
    assert_eq!(
        figures.get("wharf_connection_disconnects_total", &[]),
        Some(1.0)
    );
    assert_eq!(
        figures.get("wharf_connection_reconnects_total", &[]),
        Some(1.0)
    );
    ensure!(
        figures.get(
            "wharf_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))]
        ) == Some(1.0)
    );
    Ok(())
}

#[tokio::test]
async fn it_says_so_when_the_connection_is_lost_for_good() -> Result<()> {
    let mut probe = Probe::start(|config, _, _| {
        listening(config);
        config.nats.max_reconnect = Some(0);
    })
    .await?;
    probe.server.kill().await?;
    soon("it is lost", probe.host.lost()).await?;
    let answer = get(address(&probe.host)?, "/readyz").await?;
    ensure!(
        answer.status == 503 && answer.body.contains("is lost"),
        "{}",
        answer.body
    );
    assert_eq!(get(address(&probe.host)?, "/livez").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_guest_that_is_unloaded_leaves_no_figures_behind() -> Result<()> {
    let probe = Probe::start(|config, _, _| listening(config)).await?;
    let mut second = probe::probe()?;
    second.subscribe = vec!["second".into()];
    probe.host.load("second", second.clone()).await?;
    probe.describe("second").await?;
    let handled = [("guest", "second"), ("outcome", "handled")];
    assert_eq!(
        Figures::of(&probe.host)
            .await?
            .get("wharf_guest_messages_total", &handled),
        Some(1.0)
    );
    let report = probe.host.replace("second", second).await?;
    ensure!(report.is_clean(), "{report:?}");
    let figures = Figures::of(&probe.host).await?;
    assert_eq!(
        figures.get("wharf_guest_messages_total", &handled),
        Some(1.0),
        "a new version goes on counting"
    );
    probe.host.unload("second").await?;
    let figures = Figures::of(&probe.host).await?;
    ensure!(
        figures
            .0
            .samples
            .iter()
            .all(|sample| sample.labels.get("guest") != Some("second"))
    );
    ensure!(
        figures
            .of_probe("wharf_guest_messages_total", "outcome", "handled")
            .is_some()
    );
    Ok(())
}

#[tokio::test]
async fn while_it_drains_it_is_alive_and_not_ready_and_then_it_is_gone() -> Result<()> {
    let probe = Probe::start(|config, settings, _| {
        listening(config);
        settings.request = vec!["gate".into()];
        settings.limits.time = Duration::from_secs(60);
    })
    .await?;
    let address = address(&probe.host)?;
    let mut gate = probe.client.subscribe("gate").await?;
    round_trip(&probe.client).await?;
    let step = json!({ "do": "request", "subject": "gate", "timeout_ms": 60_000 });
    probe
        .client
        .publish("probe", step.to_string().into())
        .await?;
    let held = soon("it asks", gate.next())
        .await?
        .context("the gate is closed")?;
    // It asks nothing, and keeps nobody from stopping.
    let mut idle = TcpStream::connect(address).await?;
    let (host, client) = (probe.host, probe.client);
    let stopping = tokio::spawn(host.shutdown());
    assert_eq!(
        becomes(address, "/readyz", 503).await?,
        "the host is stopping\n"
    );
    assert_eq!(get(address, "/livez").await?.status, 200);
    client
        .publish(held.reply.context("a reply subject")?, "go on".into())
        .await?;
    let report = soon("it stops", stopping).await??;
    ensure!(report.is_clean() && report.finished == 1, "{report:?}");
    ensure!(
        TcpStream::connect(address).await.is_err(),
        "it listens no more"
    );
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0);
    Ok(())
}

#[tokio::test]
async fn connections_that_ask_nothing_or_do_not_read_keep_nobody_out() -> Result<()> {
    let probe = Probe::start(|config, _, _| listening(config)).await?;
    let address = address(&probe.host)?;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(address).await?);
    }
    for stream in idle.iter_mut().rev().take(20) {
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            .await?;
    }
    for path in ["/livez", "/readyz"] {
        let begun = Instant::now();
        assert_eq!(get(address, path).await?.status, 200);
        ensure!(
            begun.elapsed() < Duration::from_secs(1),
            "{path}: {:?}",
            begun.elapsed()
        );
    }
    // The oldest had to make way.
    let read = soon("it is closed", idle[0].read(&mut [0; 16])).await?;
    assert_eq!(read.unwrap_or(0), 0);
    Ok(())
}

#[tokio::test]
async fn what_is_no_question_for_it_is_refused() -> Result<()> {
    let probe = Probe::start(|config, _, _| listening(config)).await?;
    let address = address(&probe.host)?;
    for path in ["/", "/metrics/", "/livezz", "//livez"] {
        assert_eq!(get(address, path).await?.status, 404, "{path}");
    }
    assert_eq!(get(address, "/livez?verbose").await?.status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let answer = exchange(address, &request).await?;
        assert_eq!(answer.status, 405, "{method}");
        ensure!(
            answer.headers.contains("allow: get, head"),
            "{}",
            answer.headers
        );
    }
    let head = exchange(address, "HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20));
    for malformed in [
        "nonsense\r\n\r\n",
        "GET /livez HTTP/9.9\r\n\r\n",
        "GET /livez HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let answer = exchange(address, malformed).await?;
        assert_eq!(answer.status, 400, "{malformed:?}");
    }
    // It may hang up before it has read all that.
    if let Ok(answer) = exchange(address, &long).await {
        ensure!((400..500).contains(&answer.status), "{}", answer.status);
    }
    assert_eq!(get(address, "/livez").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn connections_that_ask_nothing_do_not_keep_others_out_for_long() -> Result<()> {
    let probe = Probe::start(|config, _, _| listening(config)).await?;
    let address = address(&probe.host)?;
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /livez HT").await?;
        idle.push(stream);
    }
    let answer = soon("there is room again", get(address, "/livez")).await??;
    assert_eq!(answer.status, 200);
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_keeps_the_host_from_starting() -> Result<()> {
    let server = TestServer::start("").await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut config = probe::config(&server);
    config.http.listen = Some(taken.local_addr()?);
    let error = Host::builder(config)
        .start()
        .await
        .err()
        .context("it started")?;
    ensure!(matches!(error, StartError::Http { .. }), "{error:?}");
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(
        text.contains("`[http] listen`") && text.contains(&taken.local_addr()?.to_string()),
        "{text}"
    );
    Ok(())
}
