//! Buckets by name: opened or created once, then kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::TIME_ALLOWED;
use super::api::{Api, Created};
use super::bucket::Bucket;
use super::settings::{self, Shape};
use crate::config::BucketSettings;
use crate::connection::{Connection, locked};
use crate::error::Error;

/// Somebody else may change a bucket's settings: what is known of them is asked again after so long.
const SHAPE_IS_FRESH_FOR: Duration = Duration::from_secs(10);

/// The buckets of one connection.
#[derive(Debug)]
pub(crate) struct Buckets {
    connection: Connection,
    configured: BTreeMap<String, BucketSettings>,
    handles: Mutex<HashMap<String, Arc<Shared>>>,
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
        if let Some(shared) = kept {
            return Ok(Bucket::new(shared, create));
        }
        let shared = self.handle(name);
        shared.open(create, Instant::now() + TIME_ALLOWED).await?;
        Ok(Bucket::new(self.keep(shared), create))
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
        let shared = kept.unwrap_or_else(|| self.handle(name));
        shared
            .create_or_update(settings, Instant::now() + TIME_ALLOWED)
            .await?;
        Ok(Bucket::new(self.keep(shared), true))
    }

    /// Gives back the handles that nobody holds. A bucket that is used again is asked about again. What one was made with
    /// that a program has described is kept: it may have to be made again.
    pub(crate) fn forget_unused(&self) {
        let is_described = |name: &str, shared: &Shared| {
            let configured = self.configured.get(name).cloned().unwrap_or_default();
            *locked(&shared.settings) != configured
        };
        locked(&self.handles)
            .retain(|name, shared| Arc::strong_count(shared) > 1 || is_described(name, shared));
    }

    fn handle(&self, name: &str) -> Arc<Shared> {
        let api = Api {
            connection: self.connection.clone(),
            bucket: name.to_owned(),
        };
        let settings = self.configured.get(name).cloned().unwrap_or_default();
        Arc::new(Shared {
            api,
            settings: Mutex::new(settings),
            shape: Mutex::new(None),
        })
    }

    /// The handle that was kept first, if two callers open a bucket at once.
    fn keep(&self, shared: Arc<Shared>) -> Arc<Shared> {
        locked(&self.handles)
            .entry(shared.api.bucket.clone())
            .or_insert(shared)
            .clone()
    }
}

/// What all handles to one bucket share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) api: Api,
    /// What the bucket is made with where there is none.
    settings: Mutex<BucketSettings>,
    shape: Mutex<Option<(Shape, Instant)>>,
}

impl Shared {
    /// Makes sure that the bucket is there.
    ///
    /// # Errors
    /// `NotFound` where it is not and `create` is false.
    pub(super) async fn open(&self, create: bool, deadline: Instant) -> Result<(), Error> {
        match self.ask_shape(deadline).await {
            Err(Error::NotFound(_)) if create => {}
            done => return done.map(drop),
        }
        let settings = locked(&self.settings).clone();
        settings::check(&self.api.bucket, &settings)?;
        match self
            .api
            .create(&settings::new_stream(&self.api.bucket, &settings), deadline)
            .await?
        {
            Created::Stream(config) => self.learn(&config).map(drop),
            // Another host was first, with settings of its own: what it made will do.
            Created::NameInUse => self.ask_shape(deadline).await.map(drop),
        }
    }

    async fn create_or_update(
        &self,
        settings: BucketSettings,
        deadline: Instant,
    ) -> Result<(), Error> {
        let config = loop {
            match self.api.info(deadline).await {
                Ok(current) => match self.update(current, &settings, deadline).await {
                    // Deleted since: create it after all.
                    Err(Error::NotFound(_)) => {}
                    done => break done?,
                },
                Err(Error::NotFound(_)) => {
                    let config = settings::new_stream(&self.api.bucket, &settings);
                    if let Created::Stream(config) = self.api.create(&config, deadline).await? {
                        break config;
                    }
                }
                Err(error) => return Err(error),
            }
        };
        *locked(&self.settings) = settings;
        self.learn(&config).map(drop)
    }

    async fn update(
        &self,
        current: serde_json::Value,
        settings: &BucketSettings,
        deadline: Instant,
    ) -> Result<serde_json::Value, Error> {
        Shape::of(&self.api.bucket, &current)?;
        let mut wanted = current.clone();
        settings::apply(&mut wanted, settings);
        if wanted == current {
            Ok(current)
        } else {
            self.api.update(&wanted, deadline).await
        }
    }

    /// The bucket's shape, as it was a moment ago.
    pub(super) async fn shape(&self, deadline: Instant) -> Result<Shape, Error> {
        let known = *locked(&self.shape);
        match known {
            Some((shape, asked)) if asked.elapsed() < SHAPE_IS_FRESH_FOR => Ok(shape),
            _ => self.ask_shape(deadline).await,
        }
    }

    /// The bucket's shape, as it is now.
    pub(super) async fn ask_shape(&self, deadline: Instant) -> Result<Shape, Error> {
        let config = self.api.info(deadline).await?;
        self.learn(&config)
    }

    fn learn(&self, config: &serde_json::Value) -> Result<Shape, Error> {
        let shape = Shape::of(&self.api.bucket, config)?;
        *locked(&self.shape) = Some((shape, Instant::now()));
        Ok(shape)
    }
}
