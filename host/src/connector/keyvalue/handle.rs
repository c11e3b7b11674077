//! A bucket's handle: makes sure that its stream is there, and knows its settings.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::api::{Api, Created, TIME_ALLOWED};
use super::backoff::{FIRST_PAUSE, backoff};
use super::scan::ListingHistory;
use super::settings::{self, BucketInfo};
use crate::config::BucketSettings;
use crate::error::Error;
use crate::lock::locked;

/// Somebody else may change a bucket's settings: what is known of them is asked again after so long.
const INFO_IS_FRESH_FOR: Duration = Duration::from_secs(10);

/// A bucket on the server, shared by all that have it open.
#[derive(Debug)]
pub(super) struct BucketHandle {
    /// Requests about the bucket's stream.
    pub(super) api: Api,
    /// The listings that broke the connection.
    pub(super) listings: ListingHistory,
    /// The settings that the bucket is made with where there is none.
    settings: Mutex<BucketSettings>,
    /// The stream's configuration, and the time at which it was asked for.
    info: Mutex<Option<(BucketInfo, Instant)>>,
}

impl BucketHandle {
    pub(super) fn new(api: Api, settings: BucketSettings) -> Self {
        Self {
            api,
            listings: ListingHistory::default(),
            settings: Mutex::new(settings),
            info: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.api.bucket
    }

    /// The settings that the bucket is made with where there is none.
    pub(super) fn settings(&self) -> BucketSettings {
        locked(&self.settings).clone()
    }

    /// Makes sure that the bucket is there.
    ///
    /// # Errors
    /// `NotFound` where it is not and `create` is false.
    pub(super) async fn open(&self, create: bool, deadline: Instant) -> Result<(), Error> {
        match self.ask_info(deadline).await {
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
            Created::NameInUse => self.ask_info(deadline).await.map(drop),
        }
    }

    /// Makes the bucket with these settings, or updates it to them.
    pub(super) async fn create_or_update(
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
        BucketInfo::of(&self.api.bucket, &current)?;
        let mut wanted = current.clone();
        settings::apply(&mut wanted, settings);
        if wanted == current {
            Ok(current)
        } else {
            self.api.update(&wanted, deadline).await
        }
    }

    /// The bucket's info, as it was a moment ago.
    pub(super) async fn info(&self, deadline: Instant) -> Result<BucketInfo, Error> {
        let known = *locked(&self.info);
        match known {
            Some((info, asked)) if asked.elapsed() < INFO_IS_FRESH_FOR => Ok(info),
            _ => self.ask_info(deadline).await,
        }
    }

    /// The bucket's info, as it is now.
    pub(super) async fn ask_info(&self, deadline: Instant) -> Result<BucketInfo, Error> {
        let config = self.api.info(deadline).await?;
        self.learn(&config)
    }

    fn learn(&self, config: &serde_json::Value) -> Result<BucketInfo, Error> {
        let info = BucketInfo::of(&self.api.bucket, config)?;
        *locked(&self.info) = Some((info, Instant::now()));
        Ok(info)
    }

    /// Does an operation; anew where the bucket turned out to be gone and could be made again, or where it is there but
    /// takes nothing for a moment, because its servers are choosing a leader.
    pub(super) async fn on_stream<T, F>(
        &self,
        may_create: bool,
        operation: impl Fn(Instant) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + TIME_ALLOWED;
        let mut pause = FIRST_PAUSE;
        loop {
            match operation(deadline).await {
                Err(Error::NotFound(_)) => self.open(may_create, deadline).await?,
                done => return done,
            }
            if !backoff(&mut pause, deadline).await {
                return Err(Error::Unavailable(format!(
                    "bucket `{}` has no leader; nothing was done",
                    self.name()
                )));
            }
        }
    }
}
