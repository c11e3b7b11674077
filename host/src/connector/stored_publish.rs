//! Messages that the server stores.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_MESSAGE_TTL};
use bytes::Bytes;
use serde::Serialize;

use super::{Connector, typed};
use crate::connection::PublishAck;
use crate::error::Error;
use crate::headers::{self, set, set_checked};
use crate::protocol::ttl::ttl_seconds;

/// Conditions under which a stream stores a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreOptions {
    /// A second message with this id, within the stream's duplicate window, is not stored.
    pub message_id: Option<String>,
    /// Store it only if this is the last sequence stored on its subject; otherwise `Conflict`.
    pub expected_last_subject_sequence: Option<u64>,
    /// Let the server remove it after this long; whole seconds, rounded up. The stream must allow it.
    pub ttl: Option<Duration>,
}

impl StoreOptions {
    /// Adds the headers that say so.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        if let Some(id) = &self.message_id {
            set_checked(headers, NATS_MESSAGE_ID, id, "the message id")?;
        }
        if let Some(sequence) = self.expected_last_subject_sequence {
            let name = NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
            set(headers, name, &sequence.to_string());
        }
        if let Some(ttl) = self.ttl {
            set(headers, NATS_MESSAGE_TTL, &ttl_seconds(ttl).to_string());
        }
        Ok(())
    }
}

impl Connector {
    /// Publishes a value and waits until a stream has stored it.
    ///
    /// # Errors
    /// `NotFound` where no stream listens on the subject; `Timeout`: it may have been stored, so that a retry needs a
    /// message id; `Failed`, when the stream refuses it; and as [`Connector::publish`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// let ack = connector.publish_acked("orders.new", &42).await?;
    /// println!("number {} in {}", ack.sequence, ack.stream);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_acked<T: Serialize + ?Sized>(
        &self,
        subject: &str,
        value: &T,
    ) -> Result<PublishAck, Error> {
        let payload = typed::encode(self.serializer, value)?;
        self.publish_acked_raw(subject, None, payload, &StoreOptions::default())
            .await
    }

    /// Publishes bytes as they are, with headers and options, and waits until a stream has stored them.
    ///
    /// # Errors
    /// `Conflict` when the expected sequence is not the last one; `Invalid` or `Unsupported` for a time to live that
    /// the stream does not take; and as [`Connector::publish_acked`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use wharf::StoreOptions;
    ///
    /// let once = StoreOptions { message_id: Some("order-42".into()), ..StoreOptions::default() };
    /// let ack = connector.publish_acked_raw("orders.new", None, "42", &once).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_acked_raw(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: impl Into<Bytes>,
        options: &StoreOptions,
    ) -> Result<PublishAck, Error> {
        let mut headers = headers.unwrap_or_default();
        headers::check(&headers)?;
        options.apply(&mut headers)?;
        let headers = Some(headers).filter(|headers| !headers.is_empty());
        let subject = self.on_wire(subject);
        self.shared
            .connection
            .publish_acked(subject, headers, payload.into(), self.request_timeout)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_of_two_lines_is_refused() {
        let options = StoreOptions {
            message_id: Some("a\r\nb".into()),
            ..StoreOptions::default()
        };
        assert!(matches!(
            options.apply(&mut HeaderMap::new()),
            Err(Error::Invalid(_))
        ));
    }
}
