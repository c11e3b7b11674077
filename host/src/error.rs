//! The error that every operation on NATS has in common.

/// Errors of operations on NATS. One for one the `error` that guests see, without `denied`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A subject, key, bucket name, header, value or option that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The bucket or stream does not exist, and this call does not create it.
    #[error("{0}")]
    NotFound(String),
    /// Another writer was first: the key exists, or has another revision.
    #[error("another writer was first")]
    Conflict,
    /// No answer within the time allowed. It may have been carried out.
    #[error("no answer within the time allowed; it may have been carried out")]
    Timeout,
    /// Nobody subscribes to the subject of a request.
    #[error("nobody subscribes to the subject of the request")]
    NoResponders,
    /// The payload exceeds this many bytes, the most that the server takes.
    #[error("the payload exceeds the {0} bytes that the server takes")]
    TooLarge(u64),
    /// The connected server lacks the feature. Says what it takes.
    #[error("{0}")]
    Unsupported(String),
    /// No server can be reached, or it cannot take the operation now. Nothing was done.
    #[error("{0}")]
    Unavailable(String),
    /// The server refused, with these words.
    #[error("the server refused: {0}")]
    Failed(String),
}

/// An error and its causes in one line: `cannot start: no such file`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
