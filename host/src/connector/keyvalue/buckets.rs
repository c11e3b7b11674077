//! Buckets by name: opened or created once, then kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::api::{Api, TIME_ALLOWED};
use super::bucket::Bucket;
use super::handle::BucketHandle;
use super::settings;
use crate::config::BucketSettings;
use crate::connection::Connection;
use crate::error::Error;
use crate::lock::locked;

/// The buckets of one connection.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// The connection that each handle gets a clone of.
    connection: Connection,
    /// The settings that buckets of these names are created with.
    configured: BTreeMap<String, BucketSettings>,
    /// Handles of the buckets that are or were open, by name.
    handles: Mutex<HashMap<String, Arc<BucketHandle>>>,
}

impl Buckets {
    /// `configured` are the settings that buckets of these names are created with.
    pub(crate) fn new(
        connection: Connection,
        configured: BTreeMap<String, BucketSettings>,
    ) -> Self {
        Self {
            connection,
            configured,
            handles: Mutex::default(),
        }
    }

    /// Opens a bucket. Where there is none it is made with the configured settings or the defaults if `create` allows
    /// that, now or when it is found to be gone.
    ///
    /// # Errors
    /// `Invalid` for a name that no bucket has, `NotFound` where there is none and `create` is false; or what the
    /// server says.
    pub(crate) async fn open(&self, name: &str, create: bool) -> Result<Bucket, Error> {
        settings::check_name(name)?;
        let kept = locked(&self.handles).get(name).cloned();
        if let Some(handle) = kept {
            return Ok(Bucket::new(handle, create));
        }
        let handle = self.handle(name);
        handle.open(create, Instant::now() + TIME_ALLOWED).await?;
        Ok(Bucket::new(self.keep(handle), create))
    }

    /// Creates a bucket with these settings, or updates it to them. What they do not name stays as it is.
    ///
    /// # Errors
    /// `Invalid` for a name or a setting that servers do not take; or what the server says, for instance where the
    /// storage of a bucket would change.
    pub(crate) async fn create(
        &self,
        name: &str,
        settings: BucketSettings,
    ) -> Result<Bucket, Error> {
        settings::check(name, &settings)?;
        let kept = locked(&self.handles).get(name).cloned();
        let handle = kept.unwrap_or_else(|| self.handle(name));
        handle
            .create_or_update(settings, Instant::now() + TIME_ALLOWED)
            .await?;
        Ok(Bucket::new(self.keep(handle), true))
    }

    /// Gives back the handles that nobody holds. A bucket that is used again is asked about again. What one was made with
    /// that a program has described is kept: it may have to be made again.
    pub(crate) fn forget_unused(&self) {
        let is_described = |name: &str, handle: &BucketHandle| {
            let configured = self.configured.get(name).cloned().unwrap_or_default();
            handle.settings() != configured
        };
        locked(&self.handles)
            .retain(|name, handle| Arc::strong_count(handle) > 1 || is_described(name, handle));
    }

    fn handle(&self, name: &str) -> Arc<BucketHandle> {
        let api = Api {
            connection: self.connection.clone(),
            bucket: name.to_owned(),
        };
        let settings = self.configured.get(name).cloned().unwrap_or_default();
        Arc::new(BucketHandle::new(api, settings))
    }

    /// The handle that was kept first, if two callers open a bucket at once.
    fn keep(&self, handle: Arc<BucketHandle>) -> Arc<BucketHandle> {
        locked(&self.handles)
            .entry(handle.name().to_owned())
            .or_insert(handle)
            .clone()
    }
}
