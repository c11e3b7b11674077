//! Items that the attributes expand to. Public for them alone.
//!
//! A handler may return `()`, a value, an `Option` or a `Result` of these, all of which serde can serialize: which
//! of them it is decides what is sent, so a trait cannot tell them apart. Methods can: one that is defined for a type
//! itself comes before one of a trait.

use std::error::Error as StdError;

use crate::bindings::calls::wharf::nats::types;
use crate::bindings::handling::exports::wharf::nats::handler as exports;
use crate::error::{CallError, Error};
use crate::message::{FromMessage, IntoReply, Message};

/// The handler that `#[handler]` makes of a function.
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

/// The result of a handler's body, once the macro has unwrapped what it returned.
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

/// The value that a handler returned.
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

/// Returned values that are no `Result`, and so have no error.
pub trait NotResult<T> {
    /// The value itself.
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
        Ok(self
            .0
            .map(IntoReply::into_reply)
            .transpose()?
            .map(Into::into))
    }
}

/// Returned values that are neither `()` nor an `Option`, and so are the reply.
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

/// Errors that a handler's `Result` may hold: the SDK's, a boxed or any other error, text.
#[diagnostic::on_unimplemented(
    message = "a handler cannot fail with `{Self}`",
    note = "use `wharf_guest::Error`"
)]
pub trait IntoError {
    /// Converts it to the SDK's error.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Json, Raw};
    use crate::message::Reply;

    /// Makes the payload of a reply of a returned value, as the attribute does.
    macro_rules! replied {
        ($returned:expr) => {
            (|| Returned(Returned($returned).result()?).reply())()
                .map(|reply| reply.map(|reply| reply.payload))
        };
    }

    fn message(payload: &str) -> Message {
        let (subject, payload) = ("orders.new".to_owned(), payload.as_bytes().to_vec());
        Message {
            subject,
            reply_to: None,
            headers: vec![],
            payload,
            delivery: None,
        }
    }

    #[test]
    fn nothing_returned_is_no_reply() {
        let nothing: [Handled; 3] = [
            (|| Returned(Returned(()).result()?).reply())(),
            (|| Returned(Returned(Ok::<(), Error>(())).result()?).reply())(),
            (|| Returned(Returned(Ok::<Option<u8>, Error>(None)).result()?).reply())(),
        ];
        assert!(nothing.iter().all(|handled| matches!(handled, Ok(None))));
    }

    #[test]
    fn a_value_returned_is_the_reply() {
        assert_eq!(replied!(Json(7)).ok(), Some(Some(b"7".to_vec())));
        assert_eq!(
            replied!(Some(Raw(b"seven"))).ok(),
            Some(Some(b"seven".to_vec()))
        );
        assert_eq!(
            replied!(Ok::<_, CallError>(Json("x"))).ok(),
            Some(Some(br#""x""#.to_vec()))
        );
        assert_eq!(
            replied!(Ok::<_, String>(Some(Json(1.5)))).ok(),
            Some(Some(b"1.5".to_vec()))
        );
    }

    #[test]
    fn a_reply_keeps_its_headers() {
        let reply = Reply::new(&Json(7)).map(|reply| reply.header("Unit", "km"));
        let sent: Handled = (|| Returned(Returned(reply).result()?).reply())();
        assert!(
            matches!(sent, Ok(Some(reply)) if reply.headers == [("Unit".to_owned(), "km".to_owned())])
        );
    }

    #[test]
    fn errors_of_every_kind_become_the_sdks() {
        assert!(
            replied!(Err::<(), _>(Error::reject("never"))).is_err_and(|error| error.is_reject())
        );
        assert!(replied!(Err::<(), _>("later")).is_err_and(|error| !error.is_reject()));
        assert!(replied!(Err::<u8, _>(CallError::Timeout)).is_err_and(|error| !error.is_reject()));
        let boxed: Box<dyn StdError + Send + Sync> = "later".into();
        assert!(
            replied!(Err::<Option<u8>, _>(boxed)).is_err_and(|error| error.to_string() == "later")
        );
    }

    #[test]
    fn parameters_are_the_payload_and_the_message() {
        let message = message("41");
        assert_eq!(argument::<Json<u8>>(&message).ok(), Some(Json(41)));
        assert_eq!(
            argument::<&Message>(&message)
                .ok()
                .map(|message| &*message.subject),
            Some("orders.new")
        );
    }

    #[test]
    fn a_payload_of_another_type_is_rejected() {
        let error = argument::<Json<u8>>(&message("4100")).expect_err("is no u8");
        assert!(error.is_reject(), "{error:?}");
    }
}
