//! Requests → answers.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::observed::Observed;
use super::places::Place;
use super::prometheus;

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a request. Its body is not read: none of these has one.
pub(super) async fn answer<B>(
    observed: &Arc<dyn Observed>,
    place: &Place,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    Ok(match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" if !is_read => not_allowed(),
        "/livez" => text(StatusCode::OK, "alive"),
        "/readyz" => ready(&**observed),
        "/metrics" => metrics(observed, place).await,
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz and /metrics",
        ),
    })
}

fn not_allowed() -> Response<Full<Bytes>> {
    let mut refused = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this can only be read, with GET or HEAD",
    );
    refused
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refused
}

fn ready(observed: &dyn Observed) -> Response<Full<Bytes>> {
    match observed.ready() {
        Ok(()) => text(StatusCode::OK, "ready"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// The figures of all guests, rendered on another thread: other answers need not wait for them.
async fn metrics(observed: &Arc<dyn Observed>, place: &Place) -> Response<Full<Bytes>> {
    if !place.take_figures() {
        let words = "the figures are being fetched too often at once: try again";
        return text(StatusCode::SERVICE_UNAVAILABLE, words);
    }
    let observed = Arc::clone(observed);
    let rendering = tokio::task::spawn_blocking(move || prometheus::render(observed.status()));
    match rendering.await {
        Ok(Ok(figures)) => response(StatusCode::OK, OPEN_METRICS, figures),
        Ok(Err(error)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("the figures are no text: {error}"),
        ),
        Err(panicked) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("the figures cannot be rendered: {panicked}"),
        ),
    }
}

fn text(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    response(status, TEXT, format!("{words}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
