//! Which answer a request gets.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::Subject;

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The body of a request is not read: none of these has one.
pub(super) fn answer<B>(subject: &dyn Subject, request: &Request<B>) -> Response<Full<Bytes>> {
    let page: fn(&dyn Subject) -> Response<Full<Bytes>> = match request.uri().path() {
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
        return page(subject);
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

fn ready(subject: &dyn Subject) -> Response<Full<Bytes>> {
    match subject.ready() {
        Ok(()) => text(StatusCode::OK, "ready"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn metrics(subject: &dyn Subject) -> Response<Full<Bytes>> {
    match subject.figures().encode() {
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
