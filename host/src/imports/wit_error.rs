//! Answers to guests: errors as WIT has them.

use super::bindings::types;
use super::import_context::CtxView;
use super::ops::OpError;
use crate::error::Error;

/// The answer to an operation of a guest. The outer error is a trap.
pub(super) type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl types::Host for CtxView<'_> {}

impl From<OpError> for types::Error {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Denied(denied) => Self::Denied(denied.to_string()),
            OpError::Failed(error) => error.into(),
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(why) => Self::Invalid(why),
            Error::NotFound(what) => Self::NotFound(what),
            Error::Conflict => Self::Conflict,
            Error::Timeout => Self::Timeout,
            Error::NoResponders => Self::NoResponders,
            Error::TooLarge(most) => Self::TooLarge(most),
            Error::Unsupported(what) => Self::Unsupported(what),
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Failed(words) => Self::Failed(words),
        }
    }
}
