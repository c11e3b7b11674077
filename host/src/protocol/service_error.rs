//! The error answer of a service: two headers, `Nats-Service-Error-Code` and `Nats-Service-Error`.
//! <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>

use async_nats::HeaderMap;

/// The header with the error in words, one line.
pub const SERVICE_ERROR: &str = "Nats-Service-Error";

/// The header with the error's number; the numbers are HTTP's, by custom.
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";

/// A service's error, as a message's headers say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceError<'a> {
    /// The error's number as text, by custom one of HTTP's.
    pub(crate) code: &'a str,
    /// Empty where the service gives none.
    pub(crate) words: &'a str,
}

impl<'a> ServiceError<'a> {
    /// Reads the headers of a message. `None` if it is no error.
    pub(crate) fn of(headers: Option<&'a HeaderMap>) -> Option<Self> {
        let headers = headers?;
        let code = headers.get(SERVICE_ERROR_CODE)?.as_str();
        let words = headers
            .get(SERVICE_ERROR)
            .map_or("", |words| words.as_str());
        Some(Self { code, words })
    }
}
