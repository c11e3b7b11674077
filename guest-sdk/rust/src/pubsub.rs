//! Core NATS: at most once, nothing stored.

use std::time::Duration;

use crate::bindings::calls::wharf::nats::pubsub as wit;
use crate::codec::{Encode, Raw};
use crate::error::CallError;
use crate::message::{FromMessage, Headers, Message};
use crate::millis;

const SERVICE_ERROR: &str = "Nats-Service-Error";
const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";

/// Publishes a value. `Ok` says that it is on its way, not that anybody received it.
///
/// # Errors
/// [`CallError::Denied`] without a grant to publish on this subject, and what else [`CallError`] names.
pub fn publish(subject: &str, value: &(impl Encode + ?Sized)) -> Result<(), CallError> {
    Ok(wit::publish(subject, &value.encode()?, None)?)
}

/// Publishes bytes as they are.
///
/// # Errors
/// Those of [`publish`].
pub fn publish_raw(subject: &str, payload: impl AsRef<[u8]>) -> Result<(), CallError> {
    publish(subject, &Raw(payload))
}

/// Publishes a value and waits for the first reply, as long as the host allows.
///
/// # Errors
/// [`CallError::NoResponders`] if nobody subscribes to the subject, [`CallError::Service`] if the reply is an error,
/// [`CallError::Codec`] if it is not an `R`, and what else [`CallError`] names.
pub fn request<R: for<'a> FromMessage<'a>>(
    subject: &str,
    value: &(impl Encode + ?Sized),
) -> Result<R, CallError> {
    Request::to(subject).send(value)
}

/// Subscribes the guest (not this instance) to a subject; its handler gets the messages. Doing it again does nothing.
///
/// # Errors
/// [`CallError::Denied`] without a grant to subscribe itself, and what else [`CallError`] names.
pub fn subscribe(subject: &str) -> Result<(), CallError> {
    Subscription::to(subject).start()
}

/// Ends a subscription. Messages that have arrived are still handled.
///
/// # Errors
/// What [`CallError`] names.
pub fn unsubscribe(subject: &str) -> Result<(), CallError> {
    Subscription::to(subject).end()
}

/// A message to publish, with options.
///
/// ```no_run
/// # fn main() -> Result<(), wharf_guest::CallError> {
/// use wharf_guest::Publish;
///
/// Publish::to("alerts.us").header("severity", "high").send("6.4 near Hualian")?;
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
            reply_to: None,
            ignore_prefix: false,
        };
        Self { subject, options }
    }

    /// Adds a header field.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the subject that replies go to.
    pub fn reply_to(mut self, subject: impl Into<String>) -> Self {
        self.options.reply_to = Some(subject.into());
        self
    }

    /// Takes the subject as it is, without the guest's prefix.
    pub fn ignore_prefix(mut self) -> Self {
        self.options.ignore_prefix = true;
        self
    }

    /// Publishes a value.
    ///
    /// # Errors
    /// Those of [`publish`].
    pub fn send(self, value: &(impl Encode + ?Sized)) -> Result<(), CallError> {
        Ok(wit::publish(
            self.subject,
            &value.encode()?,
            Some(&self.options),
        )?)
    }
}

/// A request, with options.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before `send`"]
pub struct Request<'a> {
    subject: &'a str,
    options: wit::RequestOptions,
}

impl<'a> Request<'a> {
    /// A request to this subject.
    pub fn to(subject: &'a str) -> Self {
        let options = wit::RequestOptions {
            headers: Headers::new(),
            timeout_ms: None,
            ignore_prefix: false,
        };
        Self { subject, options }
    }

    /// Adds a header field.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the time to wait, instead of as long as the host sees fit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout_ms = Some(u32::try_from(millis(timeout)).unwrap_or(u32::MAX));
        self
    }

    /// Takes the subject as it is, without the guest's prefix.
    pub fn ignore_prefix(mut self) -> Self {
        self.options.ignore_prefix = true;
        self
    }

    /// Sends a value and waits for the first reply. `R` may be [`Message`], for its headers.
    ///
    /// # Errors
    /// Those of [`request`].
    pub fn send<R: for<'r> FromMessage<'r>>(
        self,
        value: &(impl Encode + ?Sized),
    ) -> Result<R, CallError> {
        let reply = wit::request(self.subject, &value.encode()?, Some(&self.options))?;
        let reply = Message::new(reply, None);
        match reply.header(SERVICE_ERROR) {
            None => R::from_message(&reply),
            Some(message) => Err(CallError::Service {
                code: reply
                    .header(SERVICE_ERROR_CODE)
                    .unwrap_or_default()
                    .to_owned(),
                message: message.to_owned(),
            }),
        }
    }
}

/// A subscription to start or to end, with options.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start` or `end`"]
pub struct Subscription<'a> {
    subject: &'a str,
    options: wit::SubscribeOptions,
}

impl<'a> Subscription<'a> {
    /// A subscription to this subject.
    pub fn to(subject: &'a str) -> Self {
        Self {
            subject,
            options: wit::SubscribeOptions {
                queue: None,
                ignore_prefix: false,
            },
        }
    }

    /// Shares the messages with the other members of this queue group.
    pub fn queue(mut self, group: impl Into<String>) -> Self {
        self.options.queue = Some(group.into());
        self
    }

    /// Takes the subject as it is, without the guest's prefix.
    pub fn ignore_prefix(mut self) -> Self {
        self.options.ignore_prefix = true;
        self
    }

    /// Subscribes.
    ///
    /// # Errors
    /// Those of [`subscribe`].
    pub fn start(self) -> Result<(), CallError> {
        Ok(wit::subscribe(self.subject, Some(&self.options))?)
    }

    /// Unsubscribes.
    ///
    /// # Errors
    /// Those of [`unsubscribe`].
    pub fn end(self) -> Result<(), CallError> {
        Ok(wit::unsubscribe(self.subject, Some(&self.options))?)
    }
}
