//! Guests that do their worst by what every guest may call, and the neighbour that goes on meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use wharf::config::{BucketAccess, GuestSettings};
use wharf_tests::component;
use wharf_tests::probe::{Probe, service_error};

const MIB: usize = 1024 * 1024;

/// A deed is done, or refused, within this time: an instance is made again after a trap, and others want the machine,
/// too.
const AT_ONCE: Duration = Duration::from_secs(2);

/// One host at a time: memory and time are those of all tests in this process.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Stage {
    probe: Probe,
    _alone: MutexGuard<'static, ()>,
}

/// How a deed came out.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The guest was told, and says what.
    Told(String),
    /// It trapped.
    Trapped,
}

impl Stage {
    /// A host with the hostile guest, which is granted little, and a probe as its neighbour.
    async fn set() -> Result<Self> {
        let alone = ALONE.lock().await;
        let hostile = component("hostile")?;
        let probe = Probe::start(|config, _, _| {
            let mut settings = GuestSettings::new(hostile);
            settings.subscribe = vec!["hostile".into()];
            settings.publish = vec!["out".into()];
            settings.may_subscribe = vec!["in".into()];
            settings
                .buckets
                .insert("b".to_owned(), BucketAccess::ReadWrite);
            settings.limits.memory_bytes = 128 * MIB as u64;
            config.guests.insert("hostile".to_owned(), settings);
        })
        .await?;
        Ok(Self {
            probe,
            _alone: alone,
        })
    }

    /// Has the guest do it, and a neighbour answer meanwhile.
    async fn run(&self, deed: Value) -> Result<Outcome> {
        let begun = Instant::now();
        let deed_done = self.probe.send("hostile", &deed);
        let (reply, neighbour) = tokio::join!(deed_done, self.probe.describe("probe"));
        ensure!(neighbour?["subject"] == "probe", "the neighbour is silent");
        let took = begun.elapsed();
        ensure!(took < AT_ONCE, "{deed} took {took:?}");
        let reply = reply?;
        if reply.headers.is_none() {
            let text = String::from_utf8(reply.payload.into())?;
            return Ok(Outcome::Told(text));
        }
        let (code, words) = service_error(&reply)?;
        ensure!(code == "500", "{deed} was answered with {code}: {words}");
        Ok(Outcome::Trapped)
    }

    /// What the guest is told about a deed that is refused.
    async fn told(&self, deed: Value) -> Result<String> {
        match self.run(deed.clone()).await? {
            Outcome::Told(text) => Ok(text),
            Outcome::Trapped => anyhow::bail!("{deed} is a trap"),
        }
    }

    async fn refused(&self, deed: Value, kind: &str) -> Result<()> {
        let text = self.told(deed.clone()).await?;
        let starts = format!("Err(\"Error::{kind}(");
        ensure!(text.starts_with(&starts), "{deed} came out as {text}");
        // The text is escaped twice here: by the host, as Rust writes text, and by the guest.
        ensure!(text.len() < 2000, "{} bytes: {text}", text.len());
        Ok(())
    }

    async fn traps(&self, deed: Value) -> Result<()> {
        let came_out = self.run(deed.clone()).await?;
        ensure!(came_out == Outcome::Trapped, "{deed}: {came_out:?}");
        Ok(())
    }
}

/// What this process, and the host in it, holds of memory that no file backs.
fn anonymous_bytes() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: usize = kib.context("no RssAnon")?.trim().parse()?;
    Ok(kib * 1024)
}

#[tokio::test]
async fn http_that_is_imported_unasked_traps_when_called_and_holds_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    stage
        .told(json!({ "do": "reply_long", "bytes": 1 }))
        .await?;
    let before = anonymous_bytes()?;
    for _ in 0..4 {
        let deed = json!({ "do": "http_methods", "bytes": MIB, "count": 200 });
        stage.traps(deed).await?;
        stage.traps(json!({ "do": "http_body" })).await?;
    }
    // 200 MiB each, if they were held. What is left are pages of the guest's own memory.
    let grown = anonymous_bytes()?.saturating_sub(before);
    ensure!(grown < 256 * MIB, "the host has grown by {grown} bytes");
    Ok(())
}

#[tokio::test]
async fn names_beyond_all_bounds_are_refused_at_once_and_in_few_words() -> Result<()> {
    let stage = Stage::set().await?;
    let invalid = [
        json!({ "do": "key_long", "bucket": "b", "bytes": MIB }),
        json!({ "do": "prefix_long", "bucket": "b", "bytes": MIB }),
        json!({ "do": "describe_long", "bucket": "b", "bytes": MIB }),
        json!({ "do": "subject_long", "bytes": MIB }),
        json!({ "do": "queue_long", "subject": "in", "bytes": MIB }),
        json!({ "do": "id_long", "subject": "out", "bytes": MIB }),
        json!({ "do": "header_long", "subject": "out", "bytes": MIB }),
        json!({ "do": "header_long", "subject": "out", "bytes": 60_000 }),
        json!({ "do": "headers", "subject": "out", "count": 20_000 }),
    ];
    stage
        .refused(json!({ "do": "open_long", "bytes": MIB }), "Denied")
        .await?;
    for deed in invalid {
        stage.refused(deed, "Invalid").await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_no_call_takes_is_a_trap_before_it_is_copied() -> Result<()> {
    let stage = Stage::set().await?;
    stage
        .told(json!({ "do": "reply_long", "bytes": 1 }))
        .await?;
    let before = anonymous_bytes()?;
    for deed in [
        json!({ "do": "open_long", "bytes": 50 * MIB }),
        json!({ "do": "key_long", "bucket": "b", "bytes": 50 * MIB }),
        json!({ "do": "prefix_long", "bucket": "b", "bytes": 50 * MIB }),
        json!({ "do": "value_long", "bucket": "b", "bytes": 50 * MIB }),
        json!({ "do": "payload_long", "subject": "out", "bytes": 50 * MIB }),
        json!({ "do": "headers", "subject": "out", "count": 800_000 }),
        json!({ "do": "reply_long", "bytes": 50 * MIB }),
        json!({ "do": "write", "bytes": 50 * MIB }),
        json!({ "do": "poll", "count": 4_000_000 }),
    ] {
        stage.traps(deed).await?;
    }
    let grown = anonymous_bytes()?.saturating_sub(before);
    ensure!(grown < 256 * MIB, "the host has grown by {grown} bytes");
    Ok(())
}

#[tokio::test]
async fn a_payload_that_is_somewhat_larger_than_the_server_takes_is_an_error() -> Result<()> {
    let stage = Stage::set().await?;
    for deed in [
        json!({ "do": "payload_long", "subject": "out", "bytes": 2 * MIB }),
        json!({ "do": "value_long", "bucket": "b", "bytes": 2 * MIB }),
    ] {
        stage.refused(deed, "TooLarge").await?;
    }
    let deed = json!({ "do": "payload_long", "subject": "out", "bytes": MIB });
    assert_eq!(stage.told(deed).await?, "Ok(\"\")");
    Ok(())
}

#[tokio::test]
async fn streams_and_random_numbers_give_and_take_little_at_once() -> Result<()> {
    let stage = Stage::set().await?;
    for deed in [
        json!({ "do": "random", "bytes": 20 * MIB }),
        json!({ "do": "insecure", "bytes": 20 * MIB }),
        json!({ "do": "write", "bytes": 65_536 }),
        json!({ "do": "zeros", "bytes": u64::MAX }),
        json!({ "do": "zeros", "bytes": 65_536 }),
    ] {
        stage.traps(deed).await?;
    }
    for (deed, outcome) in [
        (json!({ "do": "random", "bytes": 65_536 }), "65536"),
        (json!({ "do": "insecure", "bytes": 65_536 }), "65536"),
        (json!({ "do": "write", "bytes": 4096 }), "Ok(())"),
        (json!({ "do": "zeros", "bytes": 4096 }), "Ok(())"),
        (
            json!({ "do": "read_long", "bytes": u64::MAX }),
            "Err(StreamError::Closed)",
        ),
        (json!({ "do": "poll", "count": 500 }), "500"),
    ] {
        let told = stage.told(deed.clone()).await?;
        ensure!(told == outcome, "{deed} came out as {told}");
    }
    Ok(())
}

#[tokio::test]
async fn log_lines_beyond_a_guests_limits_are_dropped_and_counted_and_hold_up_nobody() -> Result<()>
{
    let stage = Stage::set().await?;
    let logged = |stats: wharf::GuestStats| stats.log_lines_dropped;
    for (count, bytes) in [(20_000, 0), (20_000, 40), (1000, 8000)] {
        let host = &stage.probe.host;
        let before = host.stats("hostile").map(logged).context("it runs")?;
        let deed = json!({ "do": "lines", "count": count, "bytes": bytes });
        ensure!(stage.told(deed).await? == "true");
        let after = host.stats("hostile").map(logged).context("it runs")?;
        // A thousand lines a second, or a mebibyte, and it took less than two.
        let dropped = after - before;
        ensure!(dropped > 500, "{dropped} of {count} were dropped");
    }
    let neighbour = stage.probe.host.stats("probe").context("it runs")?;
    assert_eq!(neighbour.log_lines_dropped, 0);
    Ok(())
}
