//! What the host itself takes in is bounded: whatever is sent to it, a guest's sender is answered, and memory stays.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use wharf_tests::PATIENCE;
use wharf_tests::probe::Probe;
use wharf_tests::raw::Raw;

/// Bytes of each large message. The server takes a little more.
const LARGE: usize = 1_000_000;

/// Large messages of one flood: more than what may be held, many times over.
const MANY: usize = 400;

/// Bytes by which the process, the host and its senders together, may grow. The client reads up to 128 messages before other
/// tasks of its thread have their turn.
const MAX_GROWTH: usize = 192 << 20;

/// One host at a time: memory is that of all tests in this process.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What this process, and the host in it, holds of memory that no file backs.
fn anonymous_bytes() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: usize = kib.context("no RssAnon")?.trim().parse()?;
    Ok(kib * 1024)
}

async fn host() -> Result<Probe> {
    Probe::start(|config, _, _| {
        config.host.name = Some("here".to_owned());
        config.admin.enabled = true;
    })
    .await
}

/// Sends a flood to a subject, each message with a subject for its answer, while a guest is asked again and again. Returns
/// the longest time that the guest's answer took, and by how much memory has grown at most.
async fn flood(
    probe: &Probe,
    subject: &str,
    payload: &[u8],
    many: usize,
) -> Result<(Duration, usize)> {
    let mut raw = Raw::connect(&probe.server).await?;
    let before = anonymous_bytes()?;
    let (done, mut is_done) = watch::channel(false);
    let sending = async {
        for number in 0..many {
            let reply = format!("_INBOX.nobody.{number}");
            raw.publish(subject, reply, b"NATS/1.0\r\n\r\n", payload)
                .await?;
        }
        raw.flush().await?;
        done.send_replace(true);
        anyhow::Ok(())
    };
    let asking = async {
        let (mut longest, mut grown) = (Duration::ZERO, 0);
        loop {
            let begun = Instant::now();
            ensure!(probe.describe("probe").await?["subject"] == "probe");
            longest = longest.max(begun.elapsed());
            grown = grown.max(anonymous_bytes()?.saturating_sub(before));
            if *is_done.borrow_and_update() {
                return Ok((longest, grown));
            }
        }
    };
    let (sent, asked) = tokio::join!(sending, asking);
    sent?;
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_to_the_host_itself_hold_up_nobody_and_fill_no_memory() -> Result<()> {
    let _alone = ALONE.lock().await;
    let probe = host().await?;
    let large = vec![b'x'; LARGE];
    for (subject, payload, many) in [
        ("$SRV.PING", &large[..], MANY),
        ("$SRV.STATS.wharf", &large[..], MANY),
        ("wharf.admin.here.list", &large[..], MANY),
        ("wharf.admin.here.load", &large[..], MANY),
        ("wharf.admin.here.what", &large[..], MANY),
        ("$SRV.PING", &b""[..], 20_000),
        ("wharf.admin.here.list", &b""[..], 20_000),
    ] {
        let (longest, grown) = flood(&probe, subject, payload, many).await?;
        ensure!(longest < Duration::from_secs(1), "{subject}: {longest:?}");
        ensure!(grown < MAX_GROWTH, "{subject}: {grown} bytes");
    }
    assert_eq!(probe.host.connection_counters().disconnects, 0);
    assert_eq!(probe.host.connection_counters().slow_consumers, 0);
    // It still hears. Those that were sent before are answered first, and some that are too many are not.
    for subject in ["$SRV.PING.wharf", "wharf.admin.here.list"] {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = probe.client.request(subject, "".into());
            let answer = timeout(Duration::from_secs(1), asked).await;
            if matches!(answer, Ok(Ok(answer)) if answer.headers.is_none()) {
                break;
            }
            ensure!(Instant::now() < deadline, "{subject} is not answered");
        }
    }
    Ok(())
}
