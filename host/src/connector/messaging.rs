//! Core NATS: at most once, nothing stored.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_nats::message::OutboundMessage;
use async_nats::{Message, Subject};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Connector, typed};
use crate::connection::{Inbound, Stopper};
use crate::error::Error;
use crate::headers;
use crate::lock::locked;
use crate::protocol::service_error::ServiceError;

impl Connector {
    /// Publishes a value. Ok says that it is on its way, not that anybody received it.
    ///
    /// # Errors
    /// `Invalid` for a subject with wildcards or a value that cannot be written, `TooLarge`, or `Unavailable` when there
    /// has been no server for so long that nothing more can be queued.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// connector.publish("orders", &42).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        subject: &str,
        value: &T,
    ) -> Result<(), Error> {
        self.publish_raw(subject, typed::encode(self.serializer, value)?)
            .await
    }

    /// Publishes bytes as they are.
    ///
    /// # Errors
    /// As [`Connector::publish`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// connector.publish_raw("images", vec![0x89, 0x50]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_raw(&self, subject: &str, payload: impl Into<Bytes>) -> Result<(), Error> {
        self.shared
            .connection
            .publish(self.on_wire(subject), None, None, payload.into())
            .await
    }

    /// Publishes a message with headers or a subject to reply to, which gets no prefix.
    ///
    /// # Errors
    /// `Invalid` for a header that cannot travel, and as [`Connector::publish`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use async_nats::HeaderMap;
    /// use async_nats::message::OutboundMessage;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("Trace", "4bf92f35");
    /// let message =
    ///     OutboundMessage { subject: "orders".into(), reply: None, headers: Some(headers), payload: "42".into() };
    /// connector.publish_message(message).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_message(&self, message: OutboundMessage) -> Result<(), Error> {
        let OutboundMessage {
            subject,
            reply,
            headers,
            payload,
        } = message;
        headers.as_ref().map_or(Ok(()), headers::check)?;
        self.shared
            .connection
            .publish(self.on_wire(&subject), reply, headers, payload)
            .await
    }

    /// Publishes a value and waits for the first reply.
    ///
    /// # Errors
    /// `NoResponders`, `Timeout`, `Invalid` when the reply is no `R`, `Failed` when the reply is a service's error, and
    /// as [`Connector::publish`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// let price: f64 = connector.request("prices", &"tea").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request<T, R>(&self, subject: &str, value: &T) -> Result<R, Error>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let message = self
            .request_raw(subject, typed::encode(self.serializer, value)?)
            .await?;
        if let Some(failure) = service_error(&message) {
            return Err(Error::Failed(failure));
        }
        typed::decode(self.serializer, &message.payload, || {
            format!("the reply to '{subject}'")
        })
    }

    /// Publishes bytes and waits for the first reply, whatever it is.
    ///
    /// # Errors
    /// `NoResponders`, `Timeout`, and as [`Connector::publish`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// let reply = connector.request_raw("thumbnails", vec![0x89, 0x50]).await?;
    /// println!("{} bytes", reply.payload.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request_raw(
        &self,
        subject: &str,
        payload: impl Into<Bytes>,
    ) -> Result<Message, Error> {
        let subject = self.on_wire(subject);
        self.shared
            .connection
            .request(subject, None, payload.into(), self.request_timeout)
            .await
    }

    /// Subscribes to a subject. With a queue group, its members share the messages.
    ///
    /// # Errors
    /// `Invalid` for what is no subject or name of a group, or `Unavailable`.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use futures_util::StreamExt;
    ///
    /// let mut numbers = connector.subscribe::<f64>("halve", Some("workers")).await?;
    /// while let Some(number) = numbers.next().await {
    ///     let number = number?;
    ///     number.reply(&(number.value / 2.0)).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn subscribe<T: DeserializeOwned>(
        &self,
        subject: &str,
        queue: Option<&str>,
    ) -> Result<Subscription<T>, Error> {
        let raw = self.subscribe_raw(subject, queue).await?;
        Ok(Subscription {
            raw,
            connector: self.clone(),
            value: PhantomData,
        })
    }

    /// Subscribes to a subject, and takes messages as they are.
    ///
    /// # Errors
    /// As [`Connector::subscribe`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use futures_util::StreamExt;
    ///
    /// let mut images = connector.subscribe_raw("images", None).await?;
    /// while let Some(image) = images.next().await {
    ///     println!("{} bytes", image.payload.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn subscribe_raw(
        &self,
        subject: &str,
        queue: Option<&str>,
    ) -> Result<RawSubscription, Error> {
        let reader = self.shared.readers.token();
        let subject = self.on_wire(subject);
        let inbound = self
            .shared
            .connection
            .subscribe(subject, queue.map(str::to_owned))
            .await?;
        let mut subscriptions = locked(&self.shared.subscriptions);
        // Looked through only before it would grow, so that many subscriptions stay cheap.
        if subscriptions.len() == subscriptions.capacity() {
            subscriptions.retain(|stopper: &Stopper| !stopper.is_gone());
        }
        subscriptions.push(inbound.stopper());
        Ok(RawSubscription {
            inbound,
            reader: Some(reader),
        })
    }

    /// The subject as it travels.
    pub(super) fn on_wire(&self, subject: &str) -> Subject {
        if self.prefix.is_empty() {
            subject.into()
        } else {
            format!("{}{subject}", self.prefix).into()
        }
    }
}

/// The words of a service's error, if the message is one.
fn service_error(message: &Message) -> Option<String> {
    let ServiceError { code, words } = ServiceError::of(message.headers.as_ref())?;
    Some(format!("the service answered with error {code}: {words}"))
}

/// The messages of a subscription, as they are: a stream. Dropping it unsubscribes.
///
/// Up to 65,536 messages wait in it; when it is full, the newest are dropped and counted as
/// [`slow_consumers`](crate::ConnectionCounters::slow_consumers).
#[derive(Debug)]
pub struct RawSubscription {
    /// The messages as the connection gives them. Ends the subscription when dropped.
    inbound: Inbound,
    /// Given back when the end was seen.
    reader: Option<TaskTrackerToken>,
}

impl Stream for RawSubscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let next = self.inbound.poll_next_unpin(context);
        if let Poll::Ready(None) = next {
            self.reader = None;
        }
        next
    }
}

/// The messages of a subscription, read as values: a stream. Dropping it unsubscribes.
///
/// A message that is no `T` is an error `Invalid`; the subscription goes on after it.
#[derive(Debug)]
pub struct Subscription<T> {
    /// The messages that are yet to be read as values.
    raw: RawSubscription,
    /// The clone of the connector that reads values, and that each message gets to reply with.
    connector: Connector,
    /// The type that payloads are read as. Holds nothing.
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Stream for Subscription<T> {
    type Item = Result<Received<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(next) = self.raw.poll_next_unpin(context) else {
            return Poll::Pending;
        };
        let connector = &self.connector;
        Poll::Ready(next.map(|message| {
            let what = || format!("the message on '{}'", message.subject);
            let value = typed::decode(connector.serializer, &message.payload, what)?;
            Ok(Received {
                value,
                message,
                connector: connector.clone(),
            })
        }))
    }
}

/// A message that was received, and its value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received<T> {
    /// The value of the payload.
    pub value: T,
    /// The message itself.
    pub message: Message,
    /// The connector that replies are sent with, and whose prefix the subject begins with.
    connector: Connector,
}

impl<T> Received<T> {
    /// The subject that it was published on, without the prefix.
    #[must_use]
    pub fn subject(&self) -> &str {
        let subject = self.message.subject.as_str();
        subject
            .strip_prefix(&*self.connector.prefix)
            .unwrap_or(subject)
    }

    /// Answers the sender. Nothing happens if it does not wait for a reply.
    ///
    /// # Errors
    /// As [`Connector::publish`].
    pub async fn reply<R: Serialize + ?Sized>(&self, value: &R) -> Result<(), Error> {
        let Some(reply) = self.message.reply.clone() else {
            return Ok(());
        };
        let payload = typed::encode(self.connector.serializer, value)?;
        self.connector
            .shared
            .connection
            .publish(reply, None, None, payload)
            .await
    }
}
