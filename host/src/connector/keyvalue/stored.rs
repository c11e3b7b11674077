//! What the server keeps of a key: a value, or the mark that there is none.

use std::time::Duration;

use async_nats::jetstream::stream::RawMessage;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::stored_headers::StoredHeaders;
use crate::error::Error;
use crate::protocol::ttl;

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
#[derive(Debug)]
pub(super) struct Stored {
    /// The message's number in the stream, which is the key's revision.
    pub(super) sequence: u64,
    /// The time at which the server stored the message, in nanoseconds since the Unix epoch.
    created: u64,
    /// Headers that say whether the message is a value, and when it expires.
    headers: StoredHeaders,
    /// The value, if the message is one.
    payload: Bytes,
}

/// Reads the API's answer itself: the client would not take a message whose headers it cannot read, or panic.
impl TryFrom<RawMessage> for Stored {
    type Error = Error;

    fn try_from(message: RawMessage) -> Result<Self, Error> {
        let decode = |text: &str| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| Error::Failed(format!("a message that cannot be read: {error}")))
        };
        let headers = decode(message.headers.as_deref().unwrap_or_default())?;
        Ok(Self {
            sequence: message.sequence,
            created: u64::try_from(message.time.unix_timestamp_nanos()).unwrap_or(0),
            headers: StoredHeaders::read(&headers),
            payload: decode(&message.payload)?.into(),
        })
    }
}

impl Stored {
    pub(super) fn is_value(&self) -> bool {
        self.headers.is_value
    }

    /// Whether the client could read the message's headers.
    pub(super) fn is_readable(&self) -> bool {
        self.headers.is_readable
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
        let by_ttl = self.created.saturating_add(ttl::nanos(self.headers.ttl?));
        let exact = self.headers.expires;
        Some(exact.map_or(by_ttl, |exact| exact.min(by_ttl)))
    }
}
