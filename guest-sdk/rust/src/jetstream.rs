//! JetStream: stored by the server, at least once.

use std::time::Duration;

use crate::bindings::calls::wharf::nats::jetstream as wit;
use crate::codec::Encode;
use crate::error::CallError;
use crate::message::Headers;
use crate::millis;

#[doc(inline)]
pub use wit::Ack;

/// Publishes a value and waits until the server has stored it.
///
/// # Errors
/// [`CallError::NotFound`] if no stream listens on the subject, [`CallError::Timeout`] if it may have been stored or
/// not, and what else [`CallError`] names.
pub fn publish(subject: &str, value: &(impl Encode + ?Sized)) -> Result<Ack, CallError> {
    Ok(wit::publish(subject, &value.encode()?, None)?)
}

/// A message to store, with options.
///
/// ```no_run
/// # fn main() -> Result<(), wharf_guest::CallError> {
/// use wharf_guest::jetstream;
///
/// let ack = jetstream::Publish::to("orders.new").message_id("order-7").send("a chair")?;
/// assert!(!ack.duplicate);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is published before `send`"]
pub struct Publish<'a> {
    subject: &'a str,
    options: wit::PublishOptions,
}

impl<'a> Publish<'a> {
    /// A message to this subject.
    pub fn to(subject: &'a str) -> Self {
        let options = wit::PublishOptions {
            headers: Headers::new(),
            ignore_prefix: false,
            message_id: None,
            expected_last_subject_sequence: None,
            ttl_ms: None,
        };
        Self { subject, options }
    }

    /// Adds a header field.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// Takes the subject as it is, without the guest's prefix.
    pub fn ignore_prefix(mut self) -> Self {
        self.options.ignore_prefix = true;
        self
    }

    /// Sets an id. A second message with the same one, within the stream's duplicate window, is not stored.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.options.message_id = Some(id.into());
        self
    }

    /// Stores the message only if this is the last sequence stored on its subject, 0 for none; otherwise
    /// [`CallError::Conflict`].
    pub fn expect_last_sequence(mut self, sequence: u64) -> Self {
        self.options.expected_last_subject_sequence = Some(sequence);
        self
    }

    /// Lets the server remove the message when `ttl` has passed, at least a second.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl_ms = Some(millis(ttl));
        self
    }

    /// Publishes a value and waits until the server has stored it.
    ///
    /// # Errors
    /// Those of [`publish`], and [`CallError::Conflict`].
    pub fn send(self, value: &(impl Encode + ?Sized)) -> Result<Ack, CallError> {
        Ok(wit::publish(
            self.subject,
            &value.encode()?,
            Some(&self.options),
        )?)
    }
}
