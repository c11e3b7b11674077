//! What the attributes expand to. Public for them alone.
//!
//! A handler may return `()`, a value, an `Option` or a `Result` of these, all of which serde can serialize: which
//! of them it is decides what is sent, so a trait cannot tell them apart. Methods can: one that is defined for a type
//! itself comes before one of a trait.

use std::error::Error as StdError;

use crate::bindings::calls::wharf::nats::types;
use crate::bindings::handling::exports::wharf::nats::handler as exports;
use crate::error::{CallError, Error};
use crate::message::{FromMessage, IntoReply, Message};

/// What `#[handler]` makes of a function.
pub trait Handler {
    /// Takes the message apart for the function, and puts together what it returned.
    ///
    /// # Errors
    /// What the function returned, or why it could not be called.
    fn handle(message: &Message) -> Handled;
}

impl<T: Handler> exports::Guest for T {
    fn handle(
        message: types::Message,
        delivery: Option<exports::Delivery>,
    ) -> Result<Option<exports::Reply>, exports::Failure> {
        Ok(T::handle(&Message::new(message, delivery))?)
    }
}

/// What a handler's body comes to, once the macro has unwrapped what it returned.
pub type Handled = Result<Option<exports::Reply>, Error>;

/// Gives a handler one parameter. A payload that cannot be read now never can.
///
/// # Errors
/// A rejection, or what the host could not tell.
pub fn argument<'a, T: FromMessage<'a>>(message: &'a Message) -> Result<T, Error> {
    T::from_message(message).map_err(|error| match error {
        CallError::Codec(_) => Error::reject(error),
        other => other.into(),
    })
}

/// What a handler returned.
pub struct Returned<T>(pub T);

impl<T, E: IntoError> Returned<Result<T, E>> {
    /// Takes a `Result` apart.
    ///
    /// # Errors
    /// The one in it.
    pub fn result(self) -> Result<T, Error> {
        self.0.map_err(IntoError::into_error)
    }
}

/// What is not a `Result` has no error.
pub trait NotResult<T> {
    /// Never an error.
    ///
    /// # Errors
    /// None.
    fn result(self) -> Result<T, Error>;
}

impl<T> NotResult<T> for Returned<T> {
    fn result(self) -> Result<T, Error> {
        Ok(self.0)
    }
}

impl Returned<()> {
    /// No reply.
    ///
    /// # Errors
    /// None.
    pub fn reply(self) -> Handled {
        Ok(None)
    }
}

impl<T: IntoReply> Returned<Option<T>> {
    /// Perhaps a reply.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn reply(self) -> Handled {
        Ok(self.0.map(IntoReply::into_reply).transpose()?.map(Into::into))
    }
}

/// What is neither `()` nor an `Option` is the reply.
pub trait Replies {
    /// The reply.
    ///
    /// # Errors
    /// If it cannot be written.
    fn reply(self) -> Handled;
}

impl<T: IntoReply> Replies for Returned<T> {
    fn reply(self) -> Handled {
        Ok(Some(self.0.into_reply()?.into()))
    }
}

/// What a handler's `Result` may hold as its error: the SDK's, a boxed or any other error, text.
#[diagnostic::on_unimplemented(
    message = "a handler cannot fail with `{Self}`",
    note = "use `wharf_guest::Error`"
)]
pub trait IntoError {
    /// As the SDK's.
    fn into_error(self) -> Error;
}

impl IntoError for Error {
    fn into_error(self) -> Error {
        self
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> IntoError for E {
    fn into_error(self) -> Error {
        Error::retry(self)
    }
}
