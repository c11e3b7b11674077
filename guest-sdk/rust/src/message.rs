//! Messages and replies.

use crate::bindings::calls::wharf::nats::types;
use crate::bindings::handling::exports::wharf::nats::handler;
use crate::codec::{Decode, Encode};
use crate::error::CallError;

#[doc(inline)]
pub use handler::Delivery;

/// Header fields in the order they travel in. A name may repeat.
pub type Headers = Vec<(String, String)>;

/// One message, as it travels over NATS.
#[derive(Clone, Debug)]
pub struct Message {
    /// The subject that it was published on, without the guest's prefix.
    pub subject: String,
    /// The subject on which the sender waits for a reply, if it does.
    pub reply_to: Option<String>,
    /// The header fields.
    pub headers: Headers,
    /// The bytes.
    pub payload: Vec<u8>,
    /// The message's place in its stream, if it comes from one.
    pub delivery: Option<Delivery>,
}

impl Message {
    pub(crate) fn new(message: types::Message, delivery: Option<Delivery>) -> Self {
        let types::Message {
            subject,
            reply_to,
            headers,
            payload,
        } = message;
        Self {
            subject,
            reply_to,
            headers,
            payload,
            delivery,
        }
    }

    /// The first value of a header field. Case matters, as everywhere in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The payload as a value.
    ///
    /// # Errors
    /// If it is not such a value.
    pub fn decode<'a, T: Decode<'a>>(&'a self) -> Result<T, CallError> {
        T::decode(&self.payload)
    }
}

/// Types that a handler's parameters can have: the payload as a value, and `&Message` or `Message`.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    note = "it takes `&Message`, and what implements `serde::Deserialize`, read from the payload"
)]
pub trait FromMessage<'a>: Sized {
    /// Takes the parameter from the message.
    ///
    /// # Errors
    /// If the payload is not such a value.
    fn from_message(message: &'a Message) -> Result<Self, CallError>;
}

impl<'a, T: Decode<'a>> FromMessage<'a> for T {
    fn from_message(message: &'a Message) -> Result<Self, CallError> {
        message.decode()
    }
}

impl<'a> FromMessage<'a> for &'a Message {
    fn from_message(message: &'a Message) -> Result<Self, CallError> {
        Ok(message)
    }
}

/// A copy: `&Message` costs nothing.
impl<'a> FromMessage<'a> for Message {
    fn from_message(message: &'a Message) -> Result<Self, CallError> {
        Ok(message.clone())
    }
}

/// A reply with header fields. One without is just the value that a handler returns.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    headers: Headers,
    payload: Vec<u8>,
}

impl Reply {
    /// A reply with this value.
    ///
    /// # Errors
    /// If the value cannot be written.
    pub fn new(value: &(impl Encode + ?Sized)) -> Result<Self, CallError> {
        Ok(Self {
            headers: Headers::new(),
            payload: value.encode()?.into_owned(),
        })
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<Reply> for handler::Reply {
    fn from(Reply { headers, payload }: Reply) -> Self {
        Self { headers, payload }
    }
}

/// Types that a message can be answered with: a value, or a [`Reply`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "it returns `()`, what implements `serde::Serialize`, a `Reply`, an `Option` or a `Result` of these"
)]
pub trait IntoReply {
    /// Writes the reply.
    ///
    /// # Errors
    /// If the value cannot be written.
    fn into_reply(self) -> Result<Reply, CallError>;
}

impl<T: Encode> IntoReply for T {
    fn into_reply(self) -> Result<Reply, CallError> {
        Reply::new(&self)
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, CallError> {
        Ok(self)
    }
}
