//! New versions of components, as they are pushed to the object stores that guests take them from.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::object_store::Watch;
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::guests::Guests;
use crate::config::ComponentSource;
use crate::connection::Connection;
use crate::guest::Digest;

/// How often it is looked whether guests have come, or take their components from somewhere else.
const LOOK: Duration = Duration::from_secs(1);

/// How long to wait before a bucket is tried again that cannot be watched: it may be made later.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// A watch does not notice that its bucket was deleted and made again: each is followed by another after so long.
const AFRESH: Duration = Duration::from_secs(60);

/// News that may wait.
const WAITING: usize = 16;

/// Which guests have a new version of their component. Made by [`super::Host::component_changes`].
#[derive(Debug)]
pub struct ComponentChanges {
    changed: mpsc::Receiver<String>,
    // Ends what follows the buckets when nobody wants to know any more.
    _following: JoinSet<()>,
}

impl ComponentChanges {
    pub(super) fn new(guests: Arc<Guests>, connection: Connection, runtime: &Handle) -> Self {
        let (sender, changed) = mpsc::channel(WAITING);
        let mut following = JoinSet::new();
        following.spawn_on(Following::new(guests, connection).run(sender), runtime);
        Self {
            changed,
            _following: following,
        }
    }

    /// The name of the next guest of whose component there is a new version; [`super::Host::apply`], with the
    /// settings that the guest has, brings it into service.
    /// `None` when the host has stopped. A new version is told once: what does not come up is not tried again.
    ///
    /// No name is lost if this is given up before it returns.
    pub async fn next(&mut self) -> Option<String> {
        self.changed.recv().await
    }
}

/// A version that a bucket has now.
struct Latest {
    bucket: String,
    name: String,
    digest: String,
}

/// A guest, and a bucket and a name in it.
type Told = (String, String, String);

struct Following {
    guests: Arc<Guests>,
    connection: Connection,
    /// What each bucket that is followed has, by bucket and name.
    latest: HashMap<(String, String), String>,
    /// What has been told of each guest, by its components.
    told: HashMap<Told, String>,
    tasks: JoinSet<()>,
    buckets: HashMap<String, AbortHandle>,
}

impl Following {
    fn new(guests: Arc<Guests>, connection: Connection) -> Self {
        let (latest, told, tasks, buckets) = Default::default();
        Self {
            guests,
            connection,
            latest,
            told,
            tasks,
            buckets,
        }
    }

    async fn run(mut self, changed: mpsc::Sender<String>) {
        let (sender, mut news) = mpsc::channel(WAITING);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(Latest { bucket, name, digest }) = news.recv() => {
                    self.latest.insert((bucket, name), digest);
                }
                _ = look.tick() => self.follow_buckets(&sender),
            }
            for guest in self.outdated() {
                if changed.send(guest).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Follows the buckets that guests take their components from now, and no others.
    fn follow_buckets(&mut self, sender: &mpsc::Sender<Latest>) {
        while self.tasks.try_join_next().is_some() {}
        let wanted: BTreeSet<String> = self
            .guests
            .objects()
            .into_iter()
            .map(|object| object.bucket)
            .collect();
        self.latest.retain(|(bucket, _), _| wanted.contains(bucket));
        self.buckets.retain(|bucket, task| {
            wanted.contains(bucket) || {
                task.abort();
                false
            }
        });
        for bucket in wanted {
            let (connection, tasks) = (&self.connection, &mut self.tasks);
            self.buckets
                .entry(bucket.clone())
                .or_insert_with(|| tasks.spawn(follow(connection.clone(), bucket, sender.clone())));
        }
    }

    /// The guests that run another version than there is, each version once.
    fn outdated(&mut self) -> Vec<String> {
        let objects = self.guests.objects();
        self.told
            .retain(|told, _| objects.iter().any(|object| object.told() == *told));
        let is_other = |object: &&RunningObject| {
            let latest = self
                .latest
                .get(&(object.bucket.clone(), object.name.clone()));
            latest.is_some_and(|latest| object.digest != *latest)
        };
        let others: BTreeSet<Told> = objects
            .iter()
            .filter(is_other)
            .map(RunningObject::told)
            .collect();
        let mut found = Vec::new();
        for object in objects {
            let told = object.told();
            let Some(latest) = self.latest.get(&(object.bucket, object.name)) else {
                continue;
            };
            if object.digest == *latest {
                // A way back to it, too, is news. A guest's canary may be the same object, of another version.
                if !others.contains(&told) {
                    self.told.remove(&told);
                }
            } else if self.told.get(&told) != Some(latest) {
                self.told.insert(told, latest.clone());
                found.push(object.guest);
            }
        }
        found.dedup();
        found
    }
}

/// Follows one bucket. Each watch begins with what is there, so that nothing is missed while there was none.
async fn follow(connection: Connection, bucket: String, news: mpsc::Sender<Latest>) {
    let mut complained = false;
    loop {
        let ended = match watch(&connection.jetstream(), &bucket).await {
            Ok(watch) => {
                complained = false;
                match timeout(AFRESH, tell(watch, &bucket, &news)).await {
                    Ok(ended) => ended,
                    Err(_elapsed) => continue,
                }
            }
            Err(why) => why,
        };
        if !complained {
            tracing::warn!("cannot follow the object store {bucket:?}, and try on: {ended}");
            complained = true;
        }
        sleep(TRY_AGAIN).await;
    }
}

async fn watch(jetstream: &Context, bucket: &str) -> Result<Watch, String> {
    let store = jetstream
        .get_object_store(bucket)
        .await
        .map_err(|error| error.to_string())?;
    store
        .watch_with_history()
        .await
        .map_err(|error| error.to_string())
}

/// Tells what a watch yields, until it ends; then why.
async fn tell(mut watch: Watch, bucket: &str, news: &mpsc::Sender<Latest>) -> String {
    while let Some(object) = watch.next().await {
        let info = match object {
            Ok(info) => info,
            Err(error) => return error.to_string(),
        };
        if info.deleted {
            tracing::warn!(
                "nats://{bucket}/{} was deleted; guests that run it go on",
                info.name
            );
        } else if let Some(digest) = info.digest {
            // A link has none: what it leads to is read, and not followed.
            let latest = Latest {
                bucket: bucket.to_owned(),
                name: info.name,
                digest,
            };
            if news.send(latest).await.is_err() {
                return "nobody listens".to_owned();
            }
        }
    }
    "the watch ended".to_owned()
}

/// A component of a guest that is an object.
pub(super) struct RunningObject {
    pub(super) guest: String,
    pub(super) bucket: String,
    pub(super) name: String,
    /// The version of it that the guest was given.
    pub(super) digest: String,
}

impl RunningObject {
    /// `None` for a file.
    pub(super) fn new(guest: &str, component: &ComponentSource, digest: Digest) -> Option<Self> {
        let ComponentSource::Object { bucket, name } = component else {
            return None;
        };
        let (guest, bucket, name) = (guest.to_owned(), bucket.clone(), name.clone());
        Some(Self {
            guest,
            bucket,
            name,
            digest: digest.in_object_store(),
        })
    }

    fn told(&self) -> Told {
        (self.guest.clone(), self.bucket.clone(), self.name.clone())
    }
}
