//! Requests → answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::observed::Observed;
use super::prometheus;

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The body of a request is not read: none of these has one.
pub(super) fn answer<B>(observed: &dyn Observed, request: &Request<B>) -> Response<Full<Bytes>> {
    let page: fn(&dyn Observed) -> Response<Full<Bytes>> = match request.uri().path() {
        "/livez" => |_| text(StatusCode::OK, "alive"),
        "/readyz" => ready,
        "/metrics" => metrics,
        _ => {
            return text(
                StatusCode::NOT_FOUND,
                "there are /livez, /readyz and /metrics",
            );
        }
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return page(observed);
    }
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

fn metrics(observed: &dyn Observed) -> Response<Full<Bytes>> {
    match prometheus::render(observed.status()) {
        Ok(figures) => response(StatusCode::OK, OPEN_METRICS, figures),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("the figures are no text: {error}"),
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
