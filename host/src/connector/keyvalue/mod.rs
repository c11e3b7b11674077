//! Key/value: buckets of values, each a JetStream stream with a subject per key.
//!
//! | file | what |
//! |---|---|
//! | `bucket.rs`, `typed_bucket.rs` | a bucket as callers see it: bytes, and values of any type |
//! | `buckets.rs`, `handle.rs` | the buckets that are open, and each one's stream |
//! | `write.rs`, `decide.rs`, `backoff.rs` | writes: what to write, tried again where another writer was first |
//! | `scan.rs`, `last_messages.rs` | the listing and the count of keys, and what a consumer tells of them |
//! | `api.rs` | requests to the server |
//! | `key.rs`, `stored.rs`, `stored_headers.rs`, `settings.rs` | keys, messages and settings as NATS has them; all pure |

mod api;
mod backoff;
mod bucket;
mod buckets;
mod decide;
mod handle;
mod key;
mod last_messages;
mod scan;
mod settings;
mod stored;
mod stored_headers;
mod typed_bucket;
mod write;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Connector;
use crate::config::BucketSettings;
use crate::error::Error;

pub use bucket::Bucket;
pub(crate) use buckets::Buckets;
pub use stored::Entry;
#[cfg(test)]
pub(crate) use {key::fuzz as fuzz_key, stored_headers::fuzz as fuzz_stored_headers};

impl Connector {
    /// Opens a bucket, by default the one that the settings name. Where there is none, it is made with the settings
    /// that are configured for its name, or the defaults.
    ///
    /// # Errors
    /// `Invalid` for a name that no bucket can have, `Unsupported` where the server has no JetStream, `Unavailable`,
    /// `Timeout`, or `Failed` with the server's words.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// let visits = connector.bucket(Some("visits")).await?;
    /// let count = visits.increment("user:1", 1).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bucket(&self, name: Option<&str>) -> Result<Bucket, Error> {
        self.open_bucket(name.unwrap_or(&self.shared.default_bucket), true)
            .await
    }

    /// Opens a bucket, and makes it only if `create` says so: now, and when it turns out to have been deleted.
    ///
    /// # Errors
    /// `NotFound` where there is none and it is not to be made, and as [`Connector::bucket`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use wharf::Error;
    ///
    /// match connector.open_bucket("visits", false).await {
    ///     Ok(visits) => println!("{} visitors", visits.count().await?),
    ///     Err(Error::NotFound(_)) => println!("nobody was here"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_bucket(&self, name: &str, create: bool) -> Result<Bucket, Error> {
        Ok(self
            .shared
            .buckets
            .open(name, create)
            .await?
            .with_serializer(self.serializer))
    }

    /// Creates a bucket with these settings, or updates it to them. What they do not name stays as it is.
    ///
    /// # Errors
    /// `Invalid` for a setting that servers do not take, `Unsupported` for replicas where there is no cluster, `Failed`
    /// where the server does not change a setting, such as the storage; and as [`Connector::bucket`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use wharf::config::BucketSettings;
    ///
    /// let settings = BucketSettings { history: 5, ..BucketSettings::default() };
    /// let documents = connector.create_bucket("documents", settings).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_bucket(
        &self,
        name: &str,
        settings: BucketSettings,
    ) -> Result<Bucket, Error> {
        Ok(self
            .shared
            .buckets
            .create(name, settings)
            .await?
            .with_serializer(self.serializer))
    }

    /// The value of a key in the default bucket.
    ///
    /// # Errors
    /// As [`Bucket::get`] and [`Connector::bucket`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// let name: Option<String> = connector.get("user:1").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.bucket(None).await?.get(key).await
    }

    /// Sets a value in the default bucket, and returns its revision. Without a `ttl` it does not expire by itself.
    ///
    /// # Errors
    /// As [`Bucket::set`] and [`Connector::bucket`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use std::time::Duration;
    ///
    /// connector.set("user:1", &"Ada", Some(Duration::from_secs(3600))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: Option<Duration>,
    ) -> Result<u64, Error> {
        self.bucket(None).await?.set(key, value, ttl).await
    }

    /// Deletes a value in the default bucket; nothing happens where there is none.
    ///
    /// # Errors
    /// As [`Bucket::delete`] and [`Connector::bucket`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// connector.delete("user:1").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.bucket(None).await?.delete(key).await
    }
}
