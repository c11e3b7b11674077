//! Traces, as a collector receives them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::HeaderMap;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wharf::config::{Config, GuestSettings};
use wharf_tests::PATIENCE;
use wharf_tests::probe::Probe;
use wharf_tests::round_trip;

/// A client's span, and the trace that it belongs to.
const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CLIENT_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// A span of somebody who is not in this trace.
const STRANGER: &str = "00-11111111111111111111111111111111-2222222222222222-01";

/// A collector that takes OTLP over HTTP.
struct Collector {
    address: SocketAddr,
    spans: mpsc::UnboundedReceiver<Span>,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, spans) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request| take(request, sender.clone()));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Ok(Self { address, spans })
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next spans, the one that began first before the others.
    async fn next(&mut self, count: usize) -> Result<Vec<Span>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let next = tokio::time::timeout(PATIENCE, self.spans.recv()).await;
            let next = next.with_context(|| format!("{count} spans, but only {taken:#?}"))?;
            taken.push(next.context("the collector has ended")?);
        }
        taken.sort_by_key(|span| span.start_time_unix_nano);
        Ok(taken)
    }
}

async fn take(
    request: Request<Incoming>,
    spans: mpsc::UnboundedSender<Span>,
) -> Result<Response<Full<Bytes>>> {
    ensure!(
        request.uri().path() == "/v1/traces",
        "the path is {}",
        request.uri()
    );
    ensure!(request.headers()["content-type"] == "application/x-protobuf");
    let exported =
        ExportTraceServiceRequest::decode(request.into_body().collect().await?.to_bytes())?;
    for resource in exported.resource_spans {
        let about = resource.resource.context("a resource")?.attributes;
        ensure!(
            about.iter().any(|one| one.key == "service.name"),
            "{about:?}"
        );
        for span in resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            spans.send(span)?;
        }
    }
    Ok(Response::default())
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Which version of the guest handled the message.
fn version(span: &Span) -> Option<i64> {
    let found = span
        .attributes
        .iter()
        .find(|one| one.key == "wharf.version")?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::IntValue(version) => Some(*version),
        _ => None,
    }
}

/// The `traceparent` by which this span goes on.
fn parent_of(span: &Span) -> String {
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

fn traced(parent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", parent);
    headers.insert("tracestate", "vendor=1");
    headers
}

fn header<'a>(message: &'a async_nats::Message, name: &str) -> Option<&'a str> {
    message
        .headers
        .as_ref()?
        .get(name)
        .map(|value| value.as_str())
}

/// The probe, which may publish and request anything, and another one that hears `second`.
fn two_guests(config: &mut Config, settings: &mut GuestSettings, endpoint: Option<String>) {
    config.otlp.endpoint = endpoint;
    settings.publish = vec![">".into()];
    settings.request = vec![">".into()];
    let mut second = settings.clone();
    second.subscribe = vec!["second".into()];
    config.guests.insert("second".to_owned(), second);
}

async fn send(probe: &Probe, parent: &str, step: serde_json::Value) -> Result<async_nats::Message> {
    let request =
        probe
            .client
            .request_with_headers("probe", traced(parent), step.to_string().into());
    Ok(tokio::time::timeout(PATIENCE, request).await??)
}

#[tokio::test]
async fn a_trace_goes_from_the_client_through_one_guest_to_another() -> Result<()> {
    let mut collector = Collector::start().await?;
    let endpoint = collector.endpoint();
    let probe =
        Probe::start(|config, settings, _| two_guests(config, settings, Some(endpoint))).await?;
    let silence = json!({ "do": "silence" }).to_string();
    // What the guest says of the trace itself does not count, in whatever letters.
    let headers = json!([
        ["Traceparent", STRANGER],
        ["tracestate", "stranger=1"],
        ["x-a", "1"]
    ]);
    let publish =
        json!({ "do": "publish", "subject": "second", "text": silence, "headers": headers });
    let reply = send(&probe, CLIENT, publish).await?;

    let spans = collector.next(2).await?;
    let [first, second] = &spans[..] else {
        unreachable!("two spans")
    };
    assert_eq!(
        (hex(&first.trace_id), hex(&first.parent_span_id)),
        (CLIENT_TRACE.into(), CLIENT_SPAN.into())
    );
    assert_eq!(second.trace_id, first.trace_id);
    assert_eq!(second.parent_span_id, first.span_id);
    assert_eq!(
        (first.name.as_str(), second.name.as_str()),
        ("probe process", "second process")
    );
    for (span, guest) in [(first, "probe"), (second, "second")] {
        assert_eq!(span.kind, 5, "a consumer");
        assert_eq!(span.trace_state, "vendor=1");
        assert_eq!(attribute(span, "messaging.system"), Some("nats"));
        assert_eq!(attribute(span, "messaging.destination.name"), Some(guest));
        assert_eq!(attribute(span, "wharf.guest"), Some(guest));
        assert_eq!(attribute(span, "wharf.outcome"), Some("handled"));
        assert_eq!(version(span), Some(1));
        assert_eq!(span.status.as_ref().map_or(0, |status| status.code), 0);
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
    }
    assert_eq!(
        header(&reply, "traceparent"),
        Some(parent_of(first).as_str())
    );
    assert_eq!(header(&reply, "tracestate"), Some("vendor=1"));
    Ok(())
}

#[tokio::test]
async fn what_a_guest_requests_and_stores_carries_its_trace_too() -> Result<()> {
    let mut collector = Collector::start().await?;
    let endpoint = collector.endpoint();
    let probe =
        Probe::start(|config, settings, _| two_guests(config, settings, Some(endpoint))).await?;
    let jetstream = async_nats::jetstream::new(probe.client.clone());
    let stream = jetstream.create_stream(async_nats::jetstream::stream::Config {
        name: "KEPT".to_owned(),
        subjects: vec!["kept".to_owned()],
        ..Default::default()
    });
    let stream = stream.await?;
    let describe = json!({ "do": "describe" }).to_string();
    let steps = json!([
        { "do": "request", "subject": "second", "text": describe },
        { "do": "store", "subject": "kept", "text": "one" },
        { "do": "store", "subject": "kept", "text": "two", "message_id": "2" },
    ]);
    probe.ok(json!({ "do": "all", "steps": steps })).await?;

    let spans = collector.next(2).await?;
    let [first, second] = &spans[..] else {
        unreachable!("two spans")
    };
    assert!(
        first.parent_span_id.is_empty(),
        "a client without a trace begins none: {first:?}"
    );
    assert_eq!(
        (&second.trace_id, &second.parent_span_id),
        (&first.trace_id, &first.span_id)
    );
    for sequence in [1, 2] {
        let kept = stream.get_raw_message(sequence).await?;
        assert_eq!(
            kept.headers.get("traceparent").map(|value| value.as_str()),
            Some(&*parent_of(first))
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_failure_is_in_its_span_with_the_reason() -> Result<()> {
    let mut collector = Collector::start().await?;
    let endpoint = collector.endpoint();
    let probe = Probe::start(|config, settings, _| {
        two_guests(config, settings, Some(endpoint));
        settings.limits.time = Duration::from_millis(500);
    })
    .await?;
    for (step, outcome, reason) in [
        (
            json!({ "do": "reject", "reason": "no such quake" }),
            "rejected",
            "no such quake",
        ),
        (
            json!({ "do": "retry", "reason": "not now" }),
            "retried",
            "not now",
        ),
        (json!({ "do": "trap" }), "trapped", "unreachable"),
        (json!({ "do": "spin" }), "timed_out", "500ms"),
    ] {
        let reply = probe.send("probe", &step).await?;
        let span = collector.next(1).await?.remove(0);
        assert_eq!(attribute(&span, "wharf.outcome"), Some(outcome), "{step}");
        assert_eq!(
            header(&reply, "traceparent"),
            Some(parent_of(&span).as_str()),
            "{step}"
        );
        let status = span.status.context("a status")?;
        assert_eq!(status.code, 2, "{step}: an error");
        assert!(
            status.message.contains(reason),
            "{step}: {}",
            status.message
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_trace_that_its_sender_does_not_record_is_passed_on_and_not_exported() -> Result<()> {
    let mut collector = Collector::start().await?;
    let endpoint = collector.endpoint();
    let probe =
        Probe::start(|config, settings, _| two_guests(config, settings, Some(endpoint))).await?;
    let mut out = probe.client.subscribe("out").await?;
    round_trip(&probe.client).await?;
    let unrecorded = CLIENT.replace("-01", "-00");
    send(
        &probe,
        &unrecorded,
        json!({ "do": "publish", "subject": "out" }),
    )
    .await?;
    let message = tokio::time::timeout(PATIENCE, out.next())
        .await?
        .context("a message")?;
    assert_eq!(header(&message, "traceparent"), Some(unrecorded.as_str()));
    assert_eq!(header(&message, "tracestate"), Some("vendor=1"));
    send(&probe, STRANGER, json!({ "do": "describe" })).await?;
    let recorded = collector.next(1).await?.remove(0);
    assert_eq!(
        hex(&recorded.trace_id),
        STRANGER[3..35],
        "only the other one is exported"
    );
    Ok(())
}

#[tokio::test]
async fn without_a_collector_headers_are_the_guests_own() -> Result<()> {
    let probe = Probe::start(|config, settings, _| two_guests(config, settings, None)).await?;
    let mut out = probe.client.subscribe("out").await?;
    round_trip(&probe.client).await?;
    let headers = json!([["traceparent", STRANGER]]);
    let reply = send(
        &probe,
        CLIENT,
        json!({ "do": "publish", "subject": "out", "headers": headers }),
    )
    .await?;
    let message = tokio::time::timeout(PATIENCE, out.next())
        .await?
        .context("a message")?;
    assert_eq!(header(&message, "traceparent"), Some(STRANGER));
    assert_eq!(header(&reply, "traceparent"), None);
    Ok(())
}

#[tokio::test]
async fn the_last_spans_arrive_before_the_host_has_stopped() -> Result<()> {
    let mut collector = Collector::start().await?;
    let endpoint = collector.endpoint();
    let probe =
        Probe::start(|config, settings, _| two_guests(config, settings, Some(endpoint))).await?;
    for _ in 0..20 {
        probe.ok(json!({ "do": "describe" })).await?;
    }
    assert!(probe.host.shutdown().await.is_clean());
    let arrived = std::iter::from_fn(|| collector.spans.try_recv().ok()).count();
    assert_eq!(arrived, 20);
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_holds_up_neither_messages_nor_the_stop() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let away = {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listener.local_addr()?
    };
    for address in [away, silent.local_addr()?] {
        let endpoint = Some(format!("http://{address}"));
        let probe =
            Probe::start(|config, settings, _| two_guests(config, settings, endpoint)).await?;
        for _ in 0..20 {
            probe.ok(json!({ "do": "describe" })).await?;
        }
        let began = Instant::now();
        let report = probe.host.shutdown().await;
        assert!(report.is_clean(), "{report:?}");
        // The last spans may take 2 s. The rest is for a machine that is busy.
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "the stop took {:?}",
            began.elapsed()
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_is_none_keeps_the_host_from_starting() -> Result<()> {
    let bad = |endpoint: &str| {
        let endpoint = Some(endpoint.to_owned());
        Probe::start(|config, settings, _| two_guests(config, settings, endpoint))
    };
    for endpoint in [
        "127.0.0.1:4318",
        "https://collector:4318",
        "http://u:secret@c:1",
        "http://c/v1/traces",
    ] {
        let error = format!("{:#}", bad(endpoint).await.err().context("it started")?);
        assert!(
            error.contains("cannot export traces: the endpoint "),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
    Ok(())
}
