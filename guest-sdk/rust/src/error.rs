//! Two kinds of error: [`CallError`], of calls to the host, and [`Error`], of a message that was not handled.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::bindings::calls::wasi::config::store;
use crate::bindings::calls::wharf::nats::types;
use crate::bindings::handling::exports::wharf::nats::handler::{Failure, Retry};
use crate::millis;

/// The result of a handler. `?` takes any error into it.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// An error of a call to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The guest's grants do not cover it. Says which grant is missing.
    Denied(String),
    /// A subject, key, bucket name, header or option that NATS does not allow.
    Invalid(String),
    /// The bucket or stream does not exist, and the call does not create it.
    NotFound(String),
    /// Another writer was first: the key exists, or has another revision.
    Conflict,
    /// No answer within the time allowed. It may have been carried out.
    Timeout,
    /// Nobody subscribes to the subject of a request.
    NoResponders,
    /// The payload exceeds this many bytes, the most that the server takes.
    TooLarge(u64),
    /// The connected server lacks the feature. Says what it takes.
    Unsupported(String),
    /// No server can be reached, or it cannot take the operation now. Nothing was done.
    Unavailable(String),
    /// The server refused, with these words.
    Failed(String),
    /// Whoever answered a request answered with an error, in NATS's headers for it.
    Service {
        /// `Nats-Service-Error-Code`, empty where there is none.
        code: String,
        /// `Nats-Service-Error`.
        message: String,
    },
    /// A value that cannot be written, or a payload that is not the type it is read as.
    Codec(CodecError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "denied: {why}"),
            Self::Invalid(what) => write!(f, "invalid: {what}"),
            Self::NotFound(what) => write!(f, "not found: {what}"),
            Self::Conflict => f.write_str("another writer was first"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::NoResponders => f.write_str("nobody subscribes to the subject of the request"),
            Self::TooLarge(most) => {
                write!(
                    f,
                    "the payload exceeds {most} bytes, the most that the server takes"
                )
            }
            Self::Unsupported(what) => write!(f, "the server does not support it: {what}"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
            Self::Failed(words) => write!(f, "the server refused: {words}"),
            Self::Service { code, message } => {
                write!(f, "the service answered with error {code}: {message}")
            }
            Self::Codec(error) => error.fmt(f),
        }
    }
}

impl StdError for CallError {}

impl From<types::Error> for CallError {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(why) => Self::Denied(why),
            types::Error::Invalid(what) => Self::Invalid(what),
            types::Error::NotFound(what) => Self::NotFound(what),
            types::Error::Conflict => Self::Conflict,
            types::Error::Timeout => Self::Timeout,
            types::Error::NoResponders => Self::NoResponders,
            types::Error::TooLarge(most) => Self::TooLarge(most),
            types::Error::Unsupported(what) => Self::Unsupported(what),
            types::Error::Unavailable(why) => Self::Unavailable(why),
            types::Error::Failed(words) => Self::Failed(words),
        }
    }
}

impl From<store::Error> for CallError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Upstream(why) | store::Error::Io(why) => Self::Unavailable(why),
        }
    }
}

impl From<CodecError> for CallError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// A value that cannot be written, or a payload that is not the type it is read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(String);

impl CodecError {
    pub(crate) fn new(doing: &str, format: &str, cause: impl fmt::Display) -> Self {
        Self(format!("cannot {doing} {format}: {cause}"))
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for CodecError {}

/// The reason why a message was not handled, and whether to try again.
///
/// Any error becomes one with `?`, and then asks for a retry:
///
/// ```
/// use wharf_guest::prelude::*;
///
/// fn magnitude(text: &str) -> Result<f64> {
///     let magnitude = text.parse()?;
///     if magnitude > 10.0 {
///         return Err(Error::reject(format!("no earthquake has magnitude {magnitude}")));
///     }
///     Ok(magnitude)
/// }
/// ```
pub struct Error {
    next: Next,
    cause: Box<dyn StdError + Send + Sync>,
}

#[derive(Debug)]
enum Next {
    Retry { after: Option<Duration> },
    Reject,
}

impl Error {
    /// An error that asks for a retry: a stream delivers the message again, when its host sees fit.
    pub fn retry(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            next: Next::Retry { after: None },
            cause: reason.into(),
        }
    }

    /// An error that asks for a retry, but not before `after` has passed.
    pub fn retry_after(
        reason: impl Into<Box<dyn StdError + Send + Sync>>,
        after: Duration,
    ) -> Self {
        Self {
            next: Next::Retry { after: Some(after) },
            cause: reason.into(),
        }
    }

    /// An error that no retry will mend: a stream's message goes to the guest's dead letters.
    pub fn reject(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            next: Next::Reject,
            cause: reason.into(),
        }
    }

    /// Whether the error says that no retry will mend it.
    #[must_use]
    pub fn is_reject(&self) -> bool {
        matches!(self.next, Next::Reject)
    }

    /// The cause, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.cause.downcast_ref()
    }
}

/// The cause, and what caused that.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        let mut source = self.cause.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.next)
    }
}

// This is why `Error` is no `std::error::Error` itself: it would convert from itself twice.
impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        match error.next {
            Next::Retry { after } => Self::Retry(Retry {
                reason,
                after: after.map(millis),
            }),
            Next::Reject => Self::Reject(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_any_type_asks_for_a_retry() {
        let error = Error::from(CallError::Timeout);
        assert_eq!(error.downcast_ref(), Some(&CallError::Timeout));
        assert!(
            matches!(error.into(), Failure::Retry(Retry { reason, after: None }) if reason == "no answer in time")
        );
    }

    #[test]
    fn a_retry_can_say_when() {
        let error = Error::retry_after("busy", Duration::from_secs(2));
        assert!(matches!(
            error.into(),
            Failure::Retry(Retry {
                after: Some(2000),
                ..
            })
        ));
    }

    #[test]
    fn a_rejection_keeps_its_reason() {
        let error = Error::reject("no such order");
        assert!(error.is_reject());
        assert!(matches!(error.into(), Failure::Reject(reason) if reason == "no such order"));
    }

    #[test]
    fn the_reason_names_every_cause() {
        #[derive(Debug)]
        struct Outer(CallError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("order 7 was not kept")
            }
        }
        impl StdError for Outer {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let error = Error::from(Outer(CallError::Conflict));
        assert_eq!(
            error.to_string(),
            "order 7 was not kept: another writer was first"
        );
    }
}
