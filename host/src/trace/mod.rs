//! Traces: one span for each message that a guest handles, and the headers by which a trace goes on from guest to guest.
//! Without a collector to send them to there is no tracer, and nothing here runs.

mod export;
mod trace_headers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_nats::{HeaderMap, Subject};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc::WeakSender;

pub(crate) use self::export::Exporter;
pub(crate) use self::trace_headers::{TraceHeaders, is_trace_header};

use self::trace_headers::remote_parent;
use crate::message::Outcome;

/// Makes spans. A clone makes them for the same collector.
#[derive(Clone)]
pub(crate) struct Tracer(Arc<TracerInner>);

/// The part of a tracer that its clones share.
struct TracerInner {
    /// Weak, so that the queue ends when its owner lets go of it.
    spans: WeakSender<SpanData>,
    /// Spans for which there was no room.
    dropped: Arc<AtomicU64>,
    /// The name and the version of this library, which every span carries.
    scope: InstrumentationScope,
    /// The source of random ids for traces and spans.
    ids: RandomIdGenerator,
}

/// A message that is being handled, as its trace sees it.
pub(crate) struct Traced {
    /// Trace headers of all that the guest sends while it handles the message, recorded or not.
    headers: TraceHeaders,
    /// The span. There is none if the sender chose not to record this trace.
    span: Option<Span>,
}

/// Open while the message is handled. What is dropped without an outcome was abandoned, which is recorded, too.
struct Span {
    /// The tracer that takes the span at its end.
    tracer: Tracer,
    /// The name of the guest that the message is for.
    guest: Arc<str>,
    /// The subject as it travelled, with the guest's prefix.
    subject: Subject,
    /// The ids of the trace and of the span, and the state that the trace carries.
    context: SpanContext,
    /// The id of the sender's span, invalid if the message came without a trace.
    parent: SpanId,
    /// The time at which the message was taken from the queue.
    start: SystemTime,
    /// The version of the guest that it was given to.
    version: Option<u32>,
    /// The label of the message's outcome, `abandoned` as long as there is none.
    outcome: &'static str,
    /// The status that collectors show: an error with its reason, unset if the message was handled.
    status: Status,
}

impl Tracer {
    /// Begins the span of a message, within its sender's trace if it has one.
    pub(crate) fn begin(
        &self,
        guest: &Arc<str>,
        subject: &Subject,
        headers: Option<&HeaderMap>,
    ) -> Traced {
        let parent = headers.and_then(remote_parent);
        if let Some(parent) = &parent
            && !parent.is_sampled()
        {
            return Traced {
                headers: TraceHeaders::new(parent),
                span: None,
            };
        }
        let ids = &self.0.ids;
        let trace = parent
            .as_ref()
            .map_or_else(|| ids.new_trace_id(), SpanContext::trace_id);
        let state = parent
            .as_ref()
            .map(|parent| parent.trace_state().clone())
            .unwrap_or_default();
        let context = SpanContext::new(trace, ids.new_span_id(), TraceFlags::SAMPLED, false, state);
        let headers = TraceHeaders::new(&context);
        let span = Span {
            tracer: self.clone(),
            guest: Arc::clone(guest),
            subject: subject.clone(),
            context,
            parent: parent.map_or(SpanId::INVALID, |parent| parent.span_id()),
            start: SystemTime::now(),
            version: None,
            outcome: "abandoned",
            status: Status::error("the host stopped before the message was handled"),
        };
        Traced {
            headers,
            span: Some(span),
        }
    }

    fn record(&self, span: SpanData) {
        // A span that does not fit is lost: messages do not wait for a collector.
        let sent = self
            .0
            .spans
            .upgrade()
            .is_some_and(|spans| spans.try_send(span).is_ok());
        if !sent {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Traced {
    /// Trace headers of everything that the guest sends while it handles the message.
    pub(crate) fn headers(&self) -> &TraceHeaders {
        &self.headers
    }

    /// Ends the span with a message's outcome, as this version of the guest handled it.
    pub(crate) fn end(&mut self, version: u32, outcome: &Outcome) {
        let Some(mut span) = self.span.take() else {
            return;
        };
        span.version = Some(version);
        span.outcome = outcome.kind().label();
        span.status = match outcome {
            Outcome::Handled(_) => Status::Unset,
            Outcome::Failed(failure) => Status::error(failure.reason.clone()),
        };
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let mut attributes = vec![
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", self.subject.to_string()),
            KeyValue::new("wharf.guest", Arc::clone(&self.guest)),
            KeyValue::new("wharf.outcome", self.outcome),
        ];
        attributes.extend(
            self.version
                .map(|version| KeyValue::new("wharf.version", i64::from(version))),
        );
        self.tracer.record(SpanData {
            span_context: self.context.clone(),
            parent_span_id: self.parent,
            parent_span_is_remote: self.parent != SpanId::INVALID,
            span_kind: SpanKind::Consumer,
            name: format!("{} process", self.guest).into(),
            start_time: self.start,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: std::mem::take(&mut self.status),
            instrumentation_scope: self.tracer.0.scope.clone(),
        });
    }
}
