//! What the server keeps of a key: a value, or the mark that there is none.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_MARKER_REASON, NATS_MESSAGE_TTL};
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;

use crate::protocol::ttl;

/// Says that a message is no value: `DEL` or `PURGE`.
pub(super) const KV_OPERATION: &str = "KV-Operation";
/// Header with the expiry of a value to the nanosecond, where it was rewritten and has to keep it. `Nats-TTL` counts whole
/// seconds from the last write, so it alone would drift with every write.
pub(super) const EXPIRES: &str = "Wharf-Expires";

/// One revision of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The revision that [`Bucket::update`](super::Bucket::update) asks for.
    pub revision: u64,
    /// The time at which it was written, in nanoseconds since the Unix epoch.
    pub created: u64,
    /// The time at which it expires, likewise. `None` is never.
    pub expires: Option<u64>,
}

/// A message of a bucket's stream.
pub(super) struct Stored {
    /// The message's number in the stream, which is the key's revision.
    pub(super) sequence: u64,
    /// The time at which the server stored the message, in nanoseconds since the Unix epoch.
    created: u64,
    /// Headers that say whether the message is a value, and when it expires.
    headers: HeaderMap,
    /// The value, if the message is one.
    payload: Bytes,
}

impl From<StreamMessage> for Stored {
    fn from(message: StreamMessage) -> Self {
        Self {
            sequence: message.sequence,
            created: u64::try_from(message.time.unix_timestamp_nanos()).unwrap_or(0),
            headers: message.headers,
            payload: message.payload,
        }
    }
}

impl Stored {
    pub(super) fn is_value(&self) -> bool {
        is_value(Some(&self.headers))
    }

    pub(super) fn value(&self) -> Bytes {
        self.payload.clone()
    }

    pub(super) fn into_value(self) -> Bytes {
        self.payload
    }

    /// The entry, in a bucket whose values live for `bucket_ttl`.
    pub(super) fn into_entry(self, bucket_ttl: Option<Duration>) -> Entry {
        let bucket_expiry = bucket_ttl.map(|ttl| self.created.saturating_add(ttl::nanos(ttl)));
        let expires = [self.own_expiry(), bucket_expiry]
            .into_iter()
            .flatten()
            .min();
        Entry {
            value: self.payload,
            revision: self.sequence,
            created: self.created,
            expires,
        }
    }

    /// The end of the key's own TTL, in nanoseconds since the Unix epoch.
    pub(super) fn own_expiry(&self) -> Option<u64> {
        let ttl = ttl::parse(self.headers.get(NATS_MESSAGE_TTL)?.as_str())?;
        let by_ttl = self.created.saturating_add(ttl::nanos(ttl));
        let exact = self
            .headers
            .get(EXPIRES)
            .and_then(|header| header.as_str().parse().ok());
        Some(exact.map_or(by_ttl, |exact: u64| exact.min(by_ttl)))
    }
}

/// Whether a message with these headers is a value. The server leaves markers of its own where it removes one.
pub(super) fn is_value(headers: Option<&HeaderMap>) -> bool {
    let Some(headers) = headers else { return true };
    let deleted = headers
        .get(KV_OPERATION)
        .is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"));
    !deleted && headers.get(NATS_MARKER_REASON).is_none()
}
