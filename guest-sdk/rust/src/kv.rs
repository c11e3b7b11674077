//! JetStream key/value buckets. A key may be any text that is not empty.
//!
//! ```no_run
//! # fn main() -> Result<(), wharf_guest::CallError> {
//! use wharf_guest::kv;
//!
//! let visits = kv::bucket("visits")?;
//! visits.increment("user:1", 1)?;
//! visits.modify("longest", |longest: Option<u32>| longest.is_none_or(|longest| longest < 7).then_some(7))?;
//! # Ok(())
//! # }
//! ```

use std::time::{Duration, SystemTime};

use crate::bindings::calls::wharf::nats::keyvalue as wit;
use crate::codec::{Decode, Encode};
use crate::error::CallError;
use crate::millis;

#[doc(inline)]
pub use wit::{BucketConfig, Storage};

/// One revision, kept a file, for ever, without a limit.
impl Default for BucketConfig {
    fn default() -> Self {
        Self {
            description: String::new(),
            history: 1,
            ttl_ms: None,
            replicas: 1,
            storage: Storage::File,
            max_bytes: None,
            max_value_size: None,
        }
    }
}

/// Opens a bucket. Creates it with default settings if there is none and the guest's grant allows that.
///
/// # Errors
/// [`CallError::Denied`] without a grant for this bucket, and what else [`CallError`] names.
pub fn bucket(name: &str) -> Result<Bucket, CallError> {
    Ok(Bucket(wit::Bucket::open(Some(name))?))
}

/// Opens the host's default bucket.
///
/// # Errors
/// Those of [`bucket`].
pub fn default() -> Result<Bucket, CallError> {
    Ok(Bucket(wit::Bucket::open(None)?))
}

/// Creates a bucket with these settings, or updates it to them.
///
/// # Errors
/// Those of [`bucket`].
pub fn create(name: &str, config: &BucketConfig) -> Result<Bucket, CallError> {
    Ok(Bucket(wit::Bucket::create(name, config)?))
}

/// A value, with its place in its key's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// The entry's revision, for [`Bucket::update`].
    pub revision: u64,
    /// Time at which it was written, by the server's clock.
    pub created: SystemTime,
    /// Time at which it expires, if it does.
    pub expires: Option<SystemTime>,
}

impl<T: for<'a> Decode<'a>> Entry<T> {
    fn read(entry: wit::Entry) -> Result<Self, CallError> {
        Ok(Self {
            value: T::decode(&entry.value)?,
            revision: entry.revision,
            created: time(entry.created),
            expires: entry.expires.map(time),
        })
    }
}

fn time(since_epoch_ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(since_epoch_ns)
}

/// An open bucket.
///
/// Every call can fail with [`CallError::Denied`], if the grant is only to read, and with what else [`CallError`]
/// names; what is special to a call is said there. Values that expire take a bucket with a history of 1; elsewhere they
/// are [`CallError::Invalid`].
#[derive(Debug)]
pub struct Bucket(wit::Bucket);

#[allow(clippy::missing_errors_doc)] // said once, above
impl Bucket {
    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The value of a key, if it has one.
    pub fn get<T: for<'a> Decode<'a>>(&self, key: &str) -> Result<Option<T>, CallError> {
        self.0.get(key)?.map(|value| T::decode(&value)).transpose()
    }

    /// The value of a key with its revision, if it has one.
    pub fn get_entry<T: for<'a> Decode<'a>>(
        &self,
        key: &str,
    ) -> Result<Option<Entry<T>>, CallError> {
        self.0.get_entry(key)?.map(Entry::read).transpose()
    }

    /// Sets a value that does not expire by itself, and returns its revision.
    pub fn set(&self, key: &str, value: &(impl Encode + ?Sized)) -> Result<u64, CallError> {
        Ok(self.0.set(key, &value.encode()?, None)?)
    }

    /// Sets a value that expires when `ttl` has passed.
    pub fn set_with_ttl(
        &self,
        key: &str,
        value: &(impl Encode + ?Sized),
        ttl: Duration,
    ) -> Result<u64, CallError> {
        Ok(self.0.set(key, &value.encode()?, Some(millis(ttl)))?)
    }

    /// Sets a value only if the key has none; otherwise [`CallError::Conflict`].
    pub fn add(&self, key: &str, value: &(impl Encode + ?Sized)) -> Result<u64, CallError> {
        Ok(self.0.add(key, &value.encode()?, None)?)
    }

    /// Sets a value that expires when `ttl` has passed, only if the key has none; otherwise [`CallError::Conflict`].
    pub fn add_with_ttl(
        &self,
        key: &str,
        value: &(impl Encode + ?Sized),
        ttl: Duration,
    ) -> Result<u64, CallError> {
        Ok(self.0.add(key, &value.encode()?, Some(millis(ttl)))?)
    }

    /// Sets a value only if the key has one, and returns its revision; none if it has not.
    pub fn replace(
        &self,
        key: &str,
        value: &(impl Encode + ?Sized),
    ) -> Result<Option<u64>, CallError> {
        Ok(self.0.replace(key, &value.encode()?)?)
    }

    /// Sets a value only if the key is at this revision; otherwise [`CallError::Conflict`].
    pub fn update(
        &self,
        key: &str,
        value: &(impl Encode + ?Sized),
        revision: u64,
    ) -> Result<u64, CallError> {
        Ok(self.0.update(key, &value.encode()?, revision)?)
    }

    /// Makes a value from the one that the key has, and tries again when another writer was first, so that no change is
    /// lost. `change` may be called several times; it returns none to leave the key as it is. True if the key changed.
    pub fn modify<T, U>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Option<U>,
    ) -> Result<bool, CallError>
    where
        T: for<'a> Decode<'a>,
        U: Encode,
    {
        // Ends: a conflict means that another writer got on, and the host limits a message's time.
        loop {
            let (value, revision) = self
                .get_entry(key)?
                .map(|entry| (entry.value, entry.revision))
                .unzip();
            let Some(value) = change(value) else {
                return Ok(false);
            };
            let written = match revision {
                Some(revision) => self.update(key, &value, revision),
                None => self.add(key, &value),
            };
            match written {
                Ok(_) => return Ok(true),
                Err(CallError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets a key expire when `ttl` has passed; none lets it live for ever. False if it has no value.
    pub fn expire(&self, key: &str, ttl: Option<Duration>) -> Result<bool, CallError> {
        Ok(self.0.expire(key, ttl.map(millis))?)
    }

    /// Adds to a decimal integer, from 0 where the key has no value, and returns the sum. Never loses an addition.
    /// [`CallError::Invalid`] where the value is no integer or the sum overflows.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64, CallError> {
        Ok(self.0.increment(key, by)?)
    }

    /// Deletes a value; nothing happens where there is none.
    pub fn delete(&self, key: &str) -> Result<(), CallError> {
        Ok(self.0.delete(key)?)
    }

    /// The keys that have a value, in no order. More than 100,000 are an error: use [`keys_with_prefix`](Self::keys_with_prefix).
    pub fn keys(&self) -> Result<Vec<String>, CallError> {
        Ok(self.0.keys(None)?)
    }

    /// The keys that begin with `prefix` and have a value, in no order. More than 100,000 are an error: use a longer prefix.
    pub fn keys_with_prefix(&self, prefix: &str) -> Result<Vec<String>, CallError> {
        Ok(self.0.keys(Some(prefix))?)
    }

    /// The number of keys that have a value.
    pub fn count(&self) -> Result<u64, CallError> {
        Ok(self.0.count()?)
    }

    /// The revisions kept of a key, oldest first.
    pub fn history<T: for<'a> Decode<'a>>(&self, key: &str) -> Result<Vec<Entry<T>>, CallError> {
        self.0.history(key)?.into_iter().map(Entry::read).collect()
    }

    /// Deletes every value, with its history.
    pub fn flush(&self) -> Result<(), CallError> {
        Ok(self.0.flush()?)
    }
}
