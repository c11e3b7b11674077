//! How values are written: on terms that the server checks, again and again where another writer was first.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use super::bucket::Bucket;
use super::stored::{EXPIRES, KV_OPERATION, Stored};
use super::ttl;
use crate::Error;
use crate::headers::set;

pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(128);

/// What a write asks of the server besides storing the value.
#[derive(Default)]
pub(super) struct Terms {
    /// Store it only if this is the key's last revision, 0 for none.
    pub(super) expected: Option<u64>,
    pub(super) ttl_seconds: Option<u64>,
    /// When the TTL ends to the nanosecond, where the value was rewritten and has to keep it.
    pub(super) expires: Option<u64>,
    /// It marks that there is no value any more.
    pub(super) delete: bool,
}

/// What to do about a key, given its value.
pub(super) enum Step<T> {
    /// Nothing.
    Leave(T),
    /// Write this, unless another writer is first.
    Write(Bytes, Terms, T),
}

impl Bucket {
    /// Decides by a key's value what to write, and writes it only if that value is still the last; otherwise decides
    /// anew. Returns what was decided, and the revision if something was written.
    pub(super) async fn compare_and_set<T>(
        &self,
        key: &str,
        ttl: Option<Duration>,
        decide: impl Fn(Option<&Stored>, Option<u64>) -> Result<Step<T>, Error>,
    ) -> Result<(T, Option<u64>), Error> {
        let subject = self.subject(key)?;
        self.on_stream(|deadline| self.try_until(&subject, ttl, &decide, deadline))
            .await
    }

    async fn try_until<T>(
        &self,
        subject: &str,
        ttl: Option<Duration>,
        decide: &impl Fn(Option<&Stored>, Option<u64>) -> Result<Step<T>, Error>,
        deadline: Instant,
    ) -> Result<(T, Option<u64>), Error> {
        let ttl_seconds = self.ttl_seconds(ttl, deadline).await?;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let last = self.api().last(subject, deadline).await?;
            let expected = Some(last.as_ref().map_or(0, |last| last.sequence));
            let (value, terms, outcome) =
                match decide(last.as_ref().filter(|last| last.is_value()), ttl_seconds)? {
                    Step::Leave(outcome) => return Ok((outcome, None)),
                    Step::Write(value, terms, outcome) => {
                        (value, Terms { expected, ..terms }, outcome)
                    }
                };
            match self.put(subject, value, terms, deadline).await {
                Err(Error::Conflict) if rest(&mut pause, deadline).await => {}
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
        terms: Terms,
        deadline: Instant,
    ) -> Result<u64, Error> {
        let headers = terms.headers();
        let shape = self.shared.shape(deadline).await?;
        let for_values = shape
            .max_message_bytes
            .map(|bytes| bytes.saturating_sub(wire_bytes(&headers)));
        if let Some(most) = [shape.max_value_bytes, for_values]
            .into_iter()
            .flatten()
            .min()
            && value.len() > most
        {
            return Err(Error::TooLarge(most as u64));
        }
        let headers = (!headers.is_empty()).then_some(headers);
        let within = self.api().ready(deadline).await?;
        Ok(self
            .api()
            .connection
            .store(subject.into(), headers, value, within)
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
        let seconds = ttl::whole_seconds(ttl)?;
        let mut shape = self.shared.shape(deadline).await?;
        if shape.history > 1 || !shape.allows_ttl {
            // Only what is so right now is a reason to refuse.
            shape = self.shared.ask_shape(deadline).await?;
        }
        let bucket = self.name();
        if shape.history > 1 {
            return Err(Error::Invalid(format!(
                "bucket `{bucket}` keeps {} revisions of each key, so an expiry would bring the one before back: \
                 a TTL takes a bucket with a history of 1",
                shape.history
            )));
        }
        if shape.allows_ttl {
            Ok(Some(seconds))
        } else {
            Err(Error::Unsupported(self.why_no_ttl()))
        }
    }

    fn why_no_ttl(&self) -> String {
        let (client, bucket) = (self.api().connection.client(), self.name());
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

impl Terms {
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

/// Waits before the next attempt, so that others get done: a random time, longer with every attempt. False where there
/// is no time left.
pub(super) async fn rest(pause: &mut Duration, deadline: Instant) -> bool {
    let share = RandomState::new().hash_one(()) % 1000;
    let this_time = pause.mul_f64(share as f64 / 1000.0);
    let in_time = Instant::now() + this_time < deadline;
    if in_time {
        tokio::time::sleep(this_time).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }
    in_time
}

/// The step that adds to an integer.
pub(super) fn sum(key: &str, last: Option<&Stored>, by: i64) -> Result<Step<i64>, Error> {
    let expires = last.and_then(Stored::own_expiry);
    let left = expires.map(|expires| expires.saturating_sub(ttl::now_nanos()));
    // The server takes up to a second more to remove an expired value. Kept alive by additions it would never go.
    let live = last.filter(|_| left != Some(0));
    let from = live.map_or(Ok(0), |last| integer(key, &last.value()))?;
    let sum = from.checked_add(by).ok_or_else(|| {
        Error::Invalid(format!(
            "`{key}` is {from}: adding {by} would exceed what 64 bits hold"
        ))
    })?;
    let terms = match (live, left) {
        (Some(_), Some(left)) => Terms {
            ttl_seconds: Some(ttl::whole_seconds(Duration::from_nanos(left))?),
            expires,
            ..Terms::default()
        },
        _ => Terms::default(),
    };
    Ok(Step::Write(sum.to_string().into(), terms, sum))
}

fn integer(key: &str, value: &[u8]) -> Result<i64, Error> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| {
            Error::Invalid(format!(
                "the value of `{key}` is no decimal integer of 64 bits"
            ))
        })
}
