//! Sends spans to a collector, by OTLP over HTTP. A collector that is slow or away costs spans, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{RandomIdGenerator, SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Tracer, TracerInner};
use crate::config::check_otlp_endpoint;

/// Spans that may wait for the collector: some megabytes.
const QUEUE: usize = 8192;

/// Spans sent at once.
const BATCH: usize = 512;

/// The time that the first span of a batch waits for more.
const BATCH_DELAY: Duration = Duration::from_millis(500);

/// The time that the collector may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that the last spans may take when the host stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The least time between two log lines on lost spans.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Owns the queue of spans, and the task that sends them.
pub(crate) struct Exporter {
    /// The queue's only lasting sender. When it is dropped, the task sends what is left and ends.
    spans: mpsc::Sender<SpanData>,
    /// Spans for which there was no room, since the task last counted them. Shared with tracers.
    dropped: Arc<AtomicU64>,
    /// The task that sends spans to the collector, awaited at the end of the host.
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts the task on the current runtime.
    ///
    /// # Errors
    ///
    /// The endpoint is none, in words.
    pub(crate) fn start(endpoint: &str) -> Result<Self, String> {
        check_otlp_endpoint(endpoint).map_err(|reason| format!("the endpoint {reason}"))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(ANSWER_TIMEOUT)
            // While it tried again the queue would fill with newer spans that are lost instead.
            .with_retry_policy(RetryPolicy::disabled())
            .build();
        let mut exporter = exporter.map_err(|error| error.to_string())?;
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", "wharf"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ]);
        exporter.set_resource(&resource.build());
        let (spans, queue) = mpsc::channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        #[expect(
            clippy::disallowed_methods,
            reason = "`Exporter` keeps it and awaits it"
        )]
        let task = tokio::spawn(export(queue, exporter, Arc::clone(&dropped)));
        Ok(Self {
            spans,
            dropped,
            task,
        })
    }

    /// Makes spans that are sent here.
    pub(crate) fn tracer(&self) -> Tracer {
        let scope = InstrumentationScope::builder("wharf")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Tracer(Arc::new(TracerInner {
            spans: self.spans.downgrade(),
            dropped: Arc::clone(&self.dropped),
            scope,
            ids: RandomIdGenerator::default(),
        }))
    }

    /// Sends what is left, as far as there is time. Spans that end later are lost.
    pub(crate) async fn finish(self) {
        let Self {
            spans, mut task, ..
        } = self;
        drop(spans);
        match timeout(FLUSH_TIMEOUT, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the exporter of traces has ended: {error}"),
            Err(_elapsed) => {
                task.abort();
                tracing::warn!(
                    "the collector of traces did not take the last spans in time: they are lost"
                );
            }
        }
    }
}

/// Until there are no more spans, and nobody who could make any.
async fn export(
    mut queue: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    dropped: Arc<AtomicU64>,
) {
    let mut complaints = Complaints::default();
    loop {
        let batch = next_batch(&mut queue).await;
        if batch.is_empty() {
            return complaints.make("the host stops");
        }
        let count = batch.len() as u64;
        let failed = exporter.export(batch).await.err();
        complaints.lost += dropped.swap(0, Ordering::Relaxed);
        match failed {
            Some(error) => {
                complaints.lost += count;
                complaints.now_and_then(&error.to_string());
            }
            None => complaints.now_and_then("they came faster than the collector takes them"),
        }
    }
}

/// Waits for a span, and takes those that come within a moment after it. Nothing once the queue has ended.
async fn next_batch(queue: &mut mpsc::Receiver<SpanData>) -> Vec<SpanData> {
    let mut batch = Vec::new();
    queue.recv_many(&mut batch, BATCH).await;
    let until = Instant::now() + BATCH_DELAY;
    while batch.len() < BATCH && !queue.is_closed() {
        let room = BATCH - batch.len();
        if !matches!(
            timeout_at(until, queue.recv_many(&mut batch, room)).await,
            Ok(1..)
        ) {
            break;
        }
    }
    batch
}

/// Log lines on lost spans, fewer than one for each batch.
#[derive(Default)]
struct Complaints {
    /// Spans that have been lost since the last log line.
    lost: u64,
    /// The time of the last log line. None before the first.
    last: Option<Instant>,
}

impl Complaints {
    fn now_and_then(&mut self, why: &str) {
        if self
            .last
            .is_none_or(|last| last.elapsed() >= COMPLAINT_PAUSE)
        {
            self.make(why);
        }
    }

    fn make(&mut self, why: &str) {
        if self.lost > 0 {
            tracing::warn!(
                spans = self.lost,
                "spans did not reach the collector of traces: {why}"
            );
            (self.lost, self.last) = (0, Some(Instant::now()));
        }
    }
}
