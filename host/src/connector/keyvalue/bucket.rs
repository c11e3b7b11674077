//! A bucket, as callers see it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::api::{Api, TIME_ALLOWED};
use super::decide::{Decision, WriteOptions, sum};
use super::handle::BucketHandle;
use super::stored::{Entry, Stored};
use super::{key, scan};
use crate::config::Serializer;
use crate::error::Error;

/// A bucket: values by key, kept by the server.
///
/// Any non-empty text is a key, up to 768 bytes as it travels, where letters, digits, `-`, `/`, `_` and most dots take
/// one byte, and other bytes three. Two clones are one bucket. A caller reads what it has written; only a listing
/// ([`keys`](Self::keys), [`count`](Self::count)) may still have a key that was just deleted where several servers keep
/// the bucket.
///
/// Where the bucket was deleted meanwhile, an operation makes it again if this handle may create it.
///
/// # Errors
/// Of every operation: `Invalid` for a key that is empty or too long, `NotFound` where the bucket is gone,
/// `Unavailable` while no server can be reached, `Timeout` after five seconds, `Unsupported` where the server has no
/// JetStream. Of those that write a value: `TooLarge` where it exceeds what the bucket or the server takes. Of those
/// that take a TTL: `Invalid` where the bucket keeps more than one revision, because there an expiry would bring the
/// one before back, and `Unsupported` where the server or the bucket takes none.
///
/// ```no_run
/// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
/// let bucket = connector.bucket(Some("documents")).await?;
/// let revision = bucket.set("user:1", &"draft", None).await?;
/// bucket.update("user:1", &"final", revision).await?;
/// assert_eq!(bucket.keys(Some("user:")).await?, ["user:1"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The bucket's requests and configuration, shared by all who have it open over one connection.
    handle: Arc<BucketHandle>,
    /// May make the bucket where it turns out to be gone.
    may_create: bool,
    /// The form in which values of any type are written and read.
    pub(super) serializer: Serializer,
}

impl Bucket {
    pub(super) fn new(handle: Arc<BucketHandle>, may_create: bool) -> Self {
        Self {
            handle,
            may_create,
            serializer: Serializer::default(),
        }
    }

    /// Reads and writes values of any type in this form.
    #[must_use]
    pub fn with_serializer(mut self, serializer: Serializer) -> Self {
        self.serializer = serializer;
        self
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// The value of a key.
    pub async fn get_raw(&self, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.stored(key).await?.map(Stored::into_value))
    }

    /// The value of a key, with its revision and times. Its expiry is that of its own TTL or that of the bucket's,
    /// whichever is first.
    pub async fn get_entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        let Some(stored) = self.stored(key).await? else {
            return Ok(None);
        };
        let info = self.handle.info(Instant::now() + TIME_ALLOWED).await?;
        Ok(Some(stored.into_entry(info.ttl)))
    }

    /// Sets a value, and returns its revision. Without a `ttl` it does not expire by itself, even if the one before
    /// did. A TTL is rounded up to whole seconds, at least one.
    pub async fn set_raw(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<u64, Error> {
        let (subject, value) = (self.subject(key)?, value.into());
        self.on_stream(|deadline| {
            let (subject, value) = (&subject, value.clone());
            async move {
                let ttl_seconds = self.handle.ttl_seconds(ttl, deadline).await?;
                self.handle
                    .put(
                        subject,
                        value,
                        WriteOptions {
                            ttl_seconds,
                            ..WriteOptions::default()
                        },
                        deadline,
                    )
                    .await
            }
        })
        .await
    }

    /// Sets a value only if the key has none.
    ///
    /// # Errors
    /// `Conflict` where it has one.
    pub async fn add_raw(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<u64, Error> {
        let value = value.into();
        let ((), revision) = self
            .compare_and_set(key, ttl, |last, ttl_seconds| {
                Ok(match last {
                    Some(_) => Decision::Keep(()),
                    None => Decision::Write(
                        value.clone(),
                        WriteOptions {
                            ttl_seconds,
                            ..WriteOptions::default()
                        },
                        (),
                    ),
                })
            })
            .await?;
        revision.ok_or(Error::Conflict)
    }

    /// Sets a value only if the key has one, and returns its revision; none if it has not. Like [`set_raw`](Self::set_raw)
    /// it ends the key's own TTL.
    pub async fn replace_raw(
        &self,
        key: &str,
        value: impl Into<Bytes>,
    ) -> Result<Option<u64>, Error> {
        let value = value.into();
        let ((), revision) = self
            .compare_and_set(key, None, |last, _| {
                Ok(match last {
                    Some(_) => Decision::Write(value.clone(), WriteOptions::default(), ()),
                    None => Decision::Keep(()),
                })
            })
            .await?;
        Ok(revision)
    }

    /// Sets a value only if the key is at this revision.
    ///
    /// # Errors
    /// `Conflict` where it is at another, or has no value.
    pub async fn update_raw(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        revision: u64,
    ) -> Result<u64, Error> {
        let (subject, value) = (self.subject(key)?, value.into());
        if revision == 0 {
            // To the server that would mean a key that was never written.
            return Err(Error::Conflict);
        }
        self.on_stream(|deadline| {
            let options = WriteOptions {
                expected: Some(revision),
                ..WriteOptions::default()
            };
            self.handle.put(&subject, value.clone(), options, deadline)
        })
        .await
    }

    /// Lets a key expire this long from now; none ends its own TTL, so that it lives as long as the bucket lets it.
    /// False if it has no value. The value gets a new revision.
    pub async fn expire(&self, key: &str, ttl: Option<Duration>) -> Result<bool, Error> {
        let (exists, _) = self
            .compare_and_set(key, ttl, |last, ttl_seconds| {
                Ok(match last {
                    None => Decision::Keep(false),
                    Some(last) if ttl_seconds.is_none() && last.own_expiry().is_none() => {
                        Decision::Keep(true)
                    }
                    Some(last) => Decision::Write(
                        last.value(),
                        WriteOptions {
                            ttl_seconds,
                            ..WriteOptions::default()
                        },
                        true,
                    ),
                })
            })
            .await?;
        Ok(exists)
    }

    /// Adds to a decimal integer, from 0 where the key has no value, and returns the sum. Never loses an addition.
    /// The key keeps its TTL: it expires when it would have, by this host's clock.
    ///
    /// # Errors
    /// `Invalid` where the value is no integer or the sum overflows; `Unavailable` where so many write the key that
    /// five seconds are not enough: nothing was added. After a `Timeout` it may have been.
    pub async fn increment(&self, key: &str, by: i64) -> Result<i64, Error> {
        let (sum, _) = self
            .compare_and_set(key, None, |last, _| sum(key, last, by))
            .await?;
        Ok(sum)
    }

    /// Deletes a value; nothing happens where there is none.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let subject = self.subject(key)?;
        self.on_stream(|deadline| {
            let subject = &subject;
            async move {
                if self
                    .api()
                    .last(subject, deadline)
                    .await?
                    .is_some_and(|last| last.is_value())
                {
                    let options = WriteOptions {
                        delete: true,
                        ..WriteOptions::default()
                    };
                    self.handle
                        .put(subject, Bytes::new(), options, deadline)
                        .await?;
                }
                Ok(())
            }
        })
        .await
    }

    /// The keys that have a value, all or those that begin with a prefix, in no order. A key that another client
    /// chose and that no text travels as, for instance one with a bare `=`, is left out.
    ///
    /// # Errors
    /// `Invalid` where there are more than 100,000: use a prefix, or a longer one.
    pub async fn keys(&self, prefix: Option<&str>) -> Result<Vec<String>, Error> {
        let prefix = prefix.unwrap_or_default();
        let history = &self.handle.listings;
        self.on_stream(|_| scan::keys(self.api(), history, prefix))
            .await
    }

    /// The number of keys that have a value: as many as [`keys`](Self::keys) would list, had it no limit. What is written
    /// or deleted meanwhile may be counted as it was before.
    pub async fn count(&self) -> Result<u64, Error> {
        let history = &self.handle.listings;
        self.on_stream(|_| scan::count(self.api(), history)).await
    }

    /// The revisions kept of a key, oldest first. Deletions have no value and are left out.
    pub async fn history(&self, key: &str) -> Result<Vec<Entry>, Error> {
        let subject = self.subject(key)?;
        self.on_stream(|deadline| {
            let subject = &subject;
            async move {
                let ttl = self.handle.info(deadline).await?.ttl;
                let mut entries = Vec::new();
                let Some(last) = self.api().last(subject, deadline).await? else {
                    return Ok(entries);
                };
                // What is written from now on is not waited for.
                let mut from = 1;
                while let Some(stored) = self.api().next(subject, from, deadline).await? {
                    from = stored.sequence + 1;
                    if stored.is_value() {
                        entries.push(stored.into_entry(ttl));
                    }
                    if from > last.sequence {
                        break;
                    }
                }
                Ok(entries)
            }
        })
        .await
    }

    /// Deletes every value, with its history.
    pub async fn flush(&self) -> Result<(), Error> {
        self.on_stream(|deadline| self.api().purge(deadline)).await
    }

    async fn stored(&self, key: &str) -> Result<Option<Stored>, Error> {
        let subject = self.subject(key)?;
        let last = self
            .on_stream(|deadline| self.api().last(&subject, deadline))
            .await?;
        Ok(last.filter(Stored::is_value))
    }

    async fn on_stream<T, F>(&self, operation: impl Fn(Instant) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.handle.on_stream(self.may_create, operation).await
    }

    async fn compare_and_set<T>(
        &self,
        key: &str,
        ttl: Option<Duration>,
        decide: impl Fn(Option<&Stored>, Option<u64>) -> Result<Decision<T>, Error>,
    ) -> Result<(T, Option<u64>), Error> {
        let subject = self.subject(key)?;
        self.handle
            .compare_and_set(&subject, ttl, self.may_create, decide)
            .await
    }

    fn api(&self) -> &Api {
        &self.handle.api
    }

    fn subject(&self, key: &str) -> Result<String, Error> {
        Ok(format!("$KV.{}.{}", self.name(), key::encode(key)?))
    }
}
