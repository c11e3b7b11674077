//! Values of any type, read and written with the bucket's serializer.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bucket::Bucket;
use crate::connector::typed::{decode, encode};
use crate::error::Error;

/// Values of any type: like the functions of the same names with `_raw`, which take bytes.
impl Bucket {
    /// The value of a key.
    ///
    /// # Errors
    /// `Invalid` where it is no `T`, and as [`Bucket::get_raw`].
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.get_raw(key).await? else {
            return Ok(None);
        };
        decode(self.serializer, &value, || format!("the value of '{key}'")).map(Some)
    }

    /// Sets a value, and returns its revision.
    ///
    /// # Errors
    /// `Invalid` where it cannot be written, and as [`Bucket::set_raw`].
    pub async fn set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: Option<Duration>,
    ) -> Result<u64, Error> {
        self.set_raw(key, self.bytes(value)?, ttl).await
    }

    /// Sets a value only if the key has none; otherwise `Conflict`.
    ///
    /// # Errors
    /// `Invalid` where it cannot be written, and as [`Bucket::add_raw`].
    pub async fn add<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: Option<Duration>,
    ) -> Result<u64, Error> {
        self.add_raw(key, self.bytes(value)?, ttl).await
    }

    /// Sets a value only if the key has one; none if it has not.
    ///
    /// # Errors
    /// `Invalid` where it cannot be written, and as [`Bucket::replace_raw`].
    pub async fn replace<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<Option<u64>, Error> {
        self.replace_raw(key, self.bytes(value)?).await
    }

    /// Sets a value only if the key is at this revision; otherwise `Conflict`.
    ///
    /// # Errors
    /// `Invalid` where it cannot be written, and as [`Bucket::update_raw`].
    pub async fn update<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<u64, Error> {
        self.update_raw(key, self.bytes(value)?, revision).await
    }

    fn bytes<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, Error> {
        encode(self.serializer, value)
    }
}
