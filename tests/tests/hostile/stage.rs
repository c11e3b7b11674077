//! A server, the command with two guests as a process of its own, and the measuring of the neighbour.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wharf_tests::raw::Raw;
use wharf_tests::{TestServer, Wharf, component, soon, target, wharf};

pub(crate) const MIB: usize = 1024 * 1024;

/// The most that the host's memory may grow by where a message asks for nothing that is held: what guests' instances and
/// the allocator keep.
pub(crate) const LITTLE: usize = 32 * MIB;

/// The time within which the neighbour answers.
const AT_MOST: Duration = Duration::from_secs(1);

/// The requests to the neighbour that come after the last of the messages.
const AFTERWARDS: u32 = 10;

/// Subjects that the host hears: services', orders, and a guest's.
pub(crate) const HEARD: [&str; 5] = [
    "$SRV.PING",
    "$SRV.INFO.wharf",
    "wharf.admin.here.list",
    "victim",
    "victim.a",
];

/// One host at a time: its neighbours on the machine are no part of what is measured.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A host with the guest `victim`, which hears `victim` and `victim.>`, and its neighbour, which is measured.
pub(crate) struct Stage {
    pub(crate) server: TestServer,
    host: Wharf,
    /// Where the host answers HTTP.
    pub(crate) http: SocketAddr,
    /// A client that means no harm.
    pub(crate) client: async_nats::Client,
    _directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// What the configuration says of the guests. The victim's queue is small, so that it is soon full.
const GUESTS: &str = r#"
[nats]
server = "SERVER"
filter = "FILTER"
reconnect_wait = "5ms"
[host]
name = "here"
cache = "CACHE"
[admin]
enabled = true
[http]
listen = "127.0.0.1:0"
[guests.good]
component = "PROBE"
subscribe = ["good"]
buckets = { n = "read-write" }
[guests.victim]
component = "PROBE"
subscribe = ["victim", "victim.>"]
publish = ["out.>"]
request = ["slow"]
buckets = { b = "read-write" }
limits = { queue = 1000, queue_bytes = "16MiB", time = "30s" }
"#;

impl Stage {
    pub(crate) async fn set() -> Result<Self> {
        Self::with("auto").await
    }

    /// The same, with this use of the filter.
    async fn with(filter: &str) -> Result<Self> {
        let alone = ALONE.lock().await;
        let server = TestServer::start("").await?;
        let directory = tempfile::tempdir()?;
        let cache = target()?.join("test-cache");
        let config = GUESTS
            .replace("SERVER", &server.url())
            .replace("FILTER", filter)
            .replace("CACHE", &cache.display().to_string())
            .replace("PROBE", &component("probe")?.display().to_string());
        std::fs::write(directory.path().join("wharf.toml"), config)?;
        let mut host = Wharf::spawn(wharf::command(directory.path(), &["run"])?)?;
        let line = host.says("answering /livez").await?;
        let address = line.split_once("address=").context("no address")?.1;
        let address = address.split_whitespace().next().context("no address")?;
        let http = address.parse()?;
        host.says("ready: ").await?;
        let client = server.client().await?;
        let stage = Self {
            server,
            host,
            http,
            client,
            _directory: directory,
            _alone: alone,
        };
        for bucket in ["n", "b"] {
            let create = json!({ "do": "create", "bucket": bucket, "history": 1,
                "ttl_ms": null, "max_bytes": null, "max_value_size": null });
            let guest = if bucket == "n" { "good" } else { "victim" };
            stage.ok(guest, create).await?;
        }
        let set = json!({ "do": "set", "bucket": "n", "key": "k", "value": "v" });
        stage.ok("good", set).await?;
        Ok(stage)
    }

    /// One who sends whatever bytes it likes.
    pub(crate) async fn raw(&self) -> Result<Raw> {
        Raw::connect(&self.server).await
    }

    /// Has a guest do something that must succeed, and returns what it got.
    pub(crate) async fn ok(&self, guest: &'static str, step: Value) -> Result<Value> {
        let asked = self.client.request(guest, step.to_string().into());
        let reply = soon("the guest answers", asked).await??;
        let answer: Value = serde_json::from_slice(&reply.payload)
            .with_context(|| format!("{step} was answered with {reply:?}"))?;
        ensure!(answer.get("ok").is_some(), "{step} failed: {answer}");
        Ok(answer["ok"].clone())
    }

    /// Sends one such message to the victim, and waits until the interruption that it may cause is over.
    pub(crate) async fn interrupt(&self, raw: &mut Raw, headers: &[u8]) -> Result<()> {
        raw.publish("victim", "", headers, b"{}").await?;
        // What is asked from now on comes to the host after that message, if it is heard at all.
        raw.flush().await?;
        let back = async {
            while !matches!(timeout(AT_MOST, ask(&self.client)).await, Ok(Ok(()))) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the neighbour answers again", back).await
    }

    /// Asks the neighbour again and again while somebody does this, and a while longer: all answers come in time, and the
    /// host's memory does not grow by more than this bound, in bytes. Returns what the attack does.
    pub(crate) async fn measure<T>(
        &self,
        bound: usize,
        attack: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (before, over) = (self.memory()?, CancellationToken::new());
        // On a thread of its own, so that the one who attacks does not hold it up.
        let asking = tokio::spawn(ask_until(self.client.clone(), over.clone()));
        let asking = AbortOnDropHandle::new(asking);
        let attacking = async {
            let done = attack.await;
            over.cancel();
            done
        };
        let watching = async {
            let mut most = before;
            while !over.is_cancelled() {
                most = most.max(self.memory()?);
                sleep(Duration::from_millis(10)).await;
            }
            Ok(most)
        };
        let asked = async { asking.await? };
        let (done, most, slowest) = tokio::try_join!(attacking, watching, asked)?;
        let grown = most.max(self.memory()?).saturating_sub(before);
        println!("grown by {} KiB, slowest {slowest:?}", grown / 1024);
        ensure!(grown <= bound, "the host has grown by {grown} bytes");
        Ok(done)
    }

    /// Asserts how often the connection was lost, at most, as the host counts it.
    pub(crate) async fn lost_at_most(&self, times: u64) -> Result<()> {
        let lost = self
            .figure("wharf_connection_disconnects_total", "")
            .await?;
        ensure!(lost <= times, "the connection was lost {lost} times");
        Ok(())
    }

    /// The messages that the host could not have read, as it counts them.
    pub(crate) async fn malformed(&self) -> Result<u64> {
        self.figure("wharf_connection_malformed_messages_total", "")
            .await
    }

    /// The messages to a guest that were dropped for want of room.
    pub(crate) async fn dropped(&self) -> Result<u64> {
        self.figure("wharf_guest_messages_total", "outcome=\"dropped\"")
            .await
    }

    /// Waits until no guest has messages that wait.
    pub(crate) async fn emptied(&self) -> Result<()> {
        let emptied = async {
            while self.figure("wharf_guest_queue_messages", "").await? > 0 {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        soon("the queues are empty", emptied).await?
    }

    /// A figure of the host: the sum over all labels that have this in them.
    async fn figure(&self, name: &str, labels: &str) -> Result<u64> {
        let figures = self.get("/metrics").await?;
        let mut found = None;
        for line in figures.lines() {
            let Some((labelled, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if labelled.split('{').next() == Some(name) && labelled.contains(labels) {
                found = Some(found.unwrap_or(0) + value.parse::<u64>()?);
            }
        }
        found.with_context(|| format!("no {name} in:\n{figures}"))
    }

    /// The answer over HTTP, which must come within a second.
    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        let answered = async {
            let mut stream = TcpStream::connect(self.http).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = timeout(AT_MOST, answered)
            .await
            .context(path.to_owned())??;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        Ok(answer)
    }

    /// Stops the host, and returns what it has logged.
    pub(crate) async fn log(self) -> Result<String> {
        self.host.stop().await?.well()
    }

    /// What the host holds of memory that no file backs, in bytes.
    fn memory(&self) -> Result<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.host.pid()?))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: usize = kib.context("no RssAnon")?.trim().parse()?;
        Ok(kib * 1024)
    }
}

/// Has the neighbour read its bucket, for which the host asks the server.
async fn ask(client: &async_nats::Client) -> Result<()> {
    let step = r#"{ "do": "get", "bucket": "n", "key": "k" }"#;
    let reply = client.request("good", step.into()).await?;
    let answer: Value = serde_json::from_slice(&reply.payload)?;
    ensure!(answer["ok"] == "v", "{reply:?}");
    Ok(())
}

/// Asks until then and a while longer, and returns the longest time that an answer took.
async fn ask_until(client: async_nats::Client, over: CancellationToken) -> Result<Duration> {
    let (mut slowest, mut left) = (Duration::ZERO, AFTERWARDS);
    while left > 0 {
        left -= u32::from(over.is_cancelled());
        let begun = Instant::now();
        let answered = timeout(AT_MOST, ask(&client)).await;
        answered.context("the neighbour's answer is late")??;
        slowest = slowest.max(begun.elapsed());
        sleep(Duration::from_millis(2)).await;
    }
    Ok(slowest)
}

/// Sends messages with each of these blocks of headers to all that hear. The first costs one interruption at most, all
/// others none; where the filter is always on, all cost none.
pub(crate) async fn malformed(blocks: &[&[u8]]) -> Result<()> {
    malformed_with("auto", 1, blocks).await?;
    malformed_with("always", 0, blocks).await
}

async fn malformed_with(filter: &str, losses: u64, blocks: &[&[u8]]) -> Result<()> {
    let stage = Stage::with(filter).await?;
    let mut raw = stage.raw().await?;
    for headers in blocks {
        stage.interrupt(&mut raw, headers).await?;
        stage.lost_at_most(losses).await?;
    }
    stage
        .measure(LITTLE, async {
            for _ in 0..10 {
                for headers in blocks {
                    for subject in HEARD {
                        raw.publish(subject, "", headers, b"{}").await?;
                    }
                }
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    stage
        .ok("victim", json!({ "do": "config", "key": "k" }))
        .await?;
    let counted = stage.malformed().await?;
    let sent = 10 * (blocks.len() * HEARD.len()) as u64;
    ensure!(counted >= sent, "{counted} of {sent} are counted");
    stage.lost_at_most(losses).await
}
