//! Writes to a bucket: under conditions that the server checks, again and again where another writer was first.

use std::time::{Duration, Instant};

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use super::backoff::{FIRST_PAUSE, backoff};
use super::decide::{Decision, WriteOptions};
use super::handle::BucketHandle;
use super::stored::Stored;
use super::stored_headers::{EXPIRES, KV_OPERATION};
use crate::error::Error;
use crate::headers::set;
use crate::protocol::ttl;

impl BucketHandle {
    /// Decides by a key's value what to write, and writes it only if that value is still the last; otherwise decides
    /// anew. Returns what was decided, and the revision if something was written.
    pub(super) async fn compare_and_set<T>(
        &self,
        subject: &str,
        ttl: Option<Duration>,
        may_create: bool,
        decide: impl Fn(Option<&Stored>, Option<u64>) -> Result<Decision<T>, Error>,
    ) -> Result<(T, Option<u64>), Error> {
        self.on_stream(may_create, |deadline| {
            self.try_until(subject, ttl, &decide, deadline)
        })
        .await
    }

    async fn try_until<T>(
        &self,
        subject: &str,
        ttl: Option<Duration>,
        decide: &impl Fn(Option<&Stored>, Option<u64>) -> Result<Decision<T>, Error>,
        deadline: Instant,
    ) -> Result<(T, Option<u64>), Error> {
        let ttl_seconds = self.ttl_seconds(ttl, deadline).await?;
        let mut pause = FIRST_PAUSE;
        loop {
            let last = self.api.last(subject, deadline).await?;
            let expected = Some(last.as_ref().map_or(0, |last| last.sequence));
            let (value, options, outcome) =
                match decide(last.as_ref().filter(|last| last.is_value()), ttl_seconds)? {
                    Decision::Keep(outcome) => return Ok((outcome, None)),
                    Decision::Write(value, options, outcome) => (
                        value,
                        WriteOptions {
                            expected,
                            ..options
                        },
                        outcome,
                    ),
                };
            match self.put(subject, value, options, deadline).await {
                Err(Error::Conflict) if backoff(&mut pause, deadline).await => {}
                Err(Error::Conflict) => {
                    let words = "other writers were first, again and again; nothing was written";
                    return Err(Error::Unavailable(words.to_owned()));
                }
                done => return done.map(|revision| (outcome, Some(revision))),
            }
        }
    }

    /// Writes a message of a key.
    pub(super) async fn put(
        &self,
        subject: &str,
        value: Bytes,
        options: WriteOptions,
        deadline: Instant,
    ) -> Result<u64, Error> {
        let headers = options.headers();
        let info = self.info(deadline).await?;
        let for_values = info
            .max_message_bytes
            .map(|bytes| bytes.saturating_sub(wire_bytes(&headers)));
        if let Some(most) = [info.max_value_bytes, for_values]
            .into_iter()
            .flatten()
            .min()
            && value.len() > most
        {
            return Err(Error::TooLarge(most as u64));
        }
        let headers = (!headers.is_empty()).then_some(headers);
        let within = self.api.ready(deadline).await?;
        Ok(self
            .api
            .connection
            .publish_acked(subject.into(), headers, value, within)
            .await?
            .sequence)
    }

    /// A TTL as the server takes it.
    ///
    /// # Errors
    /// `Invalid` or `Unsupported` where a key of this bucket can have none.
    pub(super) async fn ttl_seconds(
        &self,
        ttl: Option<Duration>,
        deadline: Instant,
    ) -> Result<Option<u64>, Error> {
        let Some(ttl) = ttl else { return Ok(None) };
        let seconds = ttl::value_ttl_seconds(ttl)?;
        let mut info = self.info(deadline).await?;
        if info.history > 1 || !info.allows_ttl {
            // Only what is so right now is a reason to refuse.
            info = self.ask_info(deadline).await?;
        }
        let bucket = self.name();
        if info.history > 1 {
            return Err(Error::Invalid(format!(
                "bucket `{bucket}` keeps {} revisions of each key, so an expiry would bring the one before back: \
                 a TTL takes a bucket with a history of 1",
                info.history
            )));
        }
        if info.allows_ttl {
            Ok(Some(seconds))
        } else {
            Err(Error::Unsupported(self.why_no_ttl()))
        }
    }

    fn why_no_ttl(&self) -> String {
        let (client, bucket) = (self.api.connection.client(), self.name());
        if client.is_server_compatible(2, 11, 0) {
            format!(
                "bucket `{bucket}` takes no TTL per key, because its stream was made without: allow it with \
                 `nats stream edit KV_{bucket} --allow-msg-ttl`, or create the bucket once more with its settings"
            )
        } else {
            let version = client.server_info().version;
            format!("a TTL per key takes nats-server 2.11 or newer, and this is {version}")
        }
    }
}

impl WriteOptions {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(revision) = self.expected {
            let name = NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
            set(&mut headers, name, &revision.to_string());
        }
        if let Some(seconds) = self.ttl_seconds {
            set(&mut headers, NATS_MESSAGE_TTL, &seconds.to_string());
        }
        if let Some(nanos) = self.expires {
            let name = HeaderName::from_static(EXPIRES);
            set(&mut headers, name, &nanos.to_string());
        }
        if self.delete {
            set(&mut headers, HeaderName::from_static(KV_OPERATION), "DEL");
        }
        headers
    }
}

/// The bytes that header fields take: the server counts them as part of the message.
fn wire_bytes(headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let field =
        |name: &str, value: &HeaderValue| name.len() + ": \r\n".len() + value.as_str().len();
    let fields = headers.iter().map(|(name, values)| -> usize {
        let name: &str = name.as_ref();
        values.iter().map(|value| field(name, value)).sum()
    });
    "NATS/1.0\r\n\r\n".len() + fields.sum::<usize>()
}
