//! Keeping one handler busy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::{Client, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use hdrhistogram::Histogram;

use crate::cpu;
use crate::report::{Figure, Kind};

/// How many messages are on their way at once, for throughput.
const IN_FLIGHT: u32 = 256;
const PAYLOAD: Bytes = Bytes::from_static(&[b'x'; 128]);
/// A reply that takes longer was lost: the figures would be wrong.
const LOST: Duration = Duration::from_secs(10);

/// One client's way to a handler and back.
struct Line<'a> {
    client: &'a Client,
    subject: Subject,
    inbox: Subject,
    replies: Subscriber,
}

/// Measures throughput for `duration`, then the time of a round trip for a third of it.
pub(crate) async fn measure(
    client: &Client,
    kind: Kind,
    pid: u32,
    duration: Duration,
) -> Result<Figure> {
    let inbox: Subject = client.new_inbox().into();
    let replies = client.subscribe(inbox.clone()).await?;
    let mut line = Line {
        client,
        subject: kind.subject().into(),
        inbox,
        replies,
    };
    let before = cpu::used(pid)?;
    let (messages, took) = line.flood(duration).await?;
    let used = cpu::used(pid)?
        .zip(before)
        .map(|(after, before)| after - before);
    let times = line.one_at_a_time(duration / 3).await?;
    line.replies.unsubscribe().await?;
    let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
    Ok(Figure {
        kind,
        messages_per_second: f64::from(messages) / took.as_secs_f64(),
        cpu_micros_per_message: used.map(|used| used.as_secs_f64() * 1e6 / f64::from(messages)),
        p50_micros: micros(times.value_at_quantile(0.5)),
        p99_micros: micros(times.value_at_quantile(0.99)),
    })
}

impl Line<'_> {
    /// Keeps `IN_FLIGHT` messages on their way. Returns how many came back, and in which time.
    async fn flood(&mut self, duration: Duration) -> Result<(u32, Duration)> {
        let start = Instant::now();
        let (mut sent, mut received) = (0, 0);
        while start.elapsed() < duration {
            while sent - received < IN_FLIGHT {
                self.send().await?;
                sent += 1;
            }
            self.receive().await?;
            received += 1;
            // All that has arrived meanwhile, without waiting.
            while let Some(reply) = self.replies.next().now_or_never() {
                reply.context("the connection was lost")?;
                received += 1;
            }
        }
        while received < sent {
            self.receive().await?;
            received += 1;
        }
        Ok((received, start.elapsed()))
    }

    async fn one_at_a_time(&mut self, duration: Duration) -> Result<Histogram<u64>> {
        let mut times = Histogram::new(3)?;
        let start = Instant::now();
        while start.elapsed() < duration {
            let sent = Instant::now();
            self.send().await?;
            self.receive().await?;
            times.record(u64::try_from(sent.elapsed().as_nanos())?)?;
        }
        Ok(times)
    }

    async fn send(&self) -> Result<()> {
        let (subject, inbox) = (self.subject.clone(), self.inbox.clone());
        Ok(self
            .client
            .publish_with_reply(subject, inbox, PAYLOAD)
            .await?)
    }

    async fn receive(&mut self) -> Result<()> {
        let reply = tokio::time::timeout(LOST, self.replies.next())
            .await
            .context("a reply was lost")?;
        let reply = reply.context("the connection was lost")?;
        anyhow::ensure!(reply.payload == PAYLOAD, "no echo: {reply:?}");
        Ok(())
    }
}
