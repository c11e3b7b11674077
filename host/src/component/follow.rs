//! News of components: what is pushed to the object stores that guests take them from.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::object_store::Watch;
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::digest::Digest;
use super::source::ComponentSource;

/// The time between two looks at which guests there are, and where they take their components from.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The time before a bucket is tried again that cannot be watched: it may be made later.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The life of one watch. A watch does not notice that its bucket was deleted and made again: another one does.
const WATCH_LIFE: Duration = Duration::from_secs(60);

/// News that may wait.
const MAX_WAITING: usize = 16;

/// News of guests' components that are objects: made by [`Host::component_changes`](crate::Host::component_changes).
#[derive(Debug)]
pub struct ComponentChanges {
    /// Names of guests whose component has a new version. Ends with the task.
    changed: mpsc::Receiver<String>,
    /// The task that follows the buckets. It ends when nobody wants to know any more.
    _following: JoinSet<()>,
}

impl ComponentChanges {
    /// Follows the objects that run, as `running` names them now and later.
    pub(crate) fn new(
        running: impl Fn() -> Vec<RunningObject> + Send + Sync + 'static,
        jetstream: impl Fn() -> Context + Clone + Send + Sync + 'static,
        runtime: &Handle,
    ) -> Self {
        let (sender, changed) = mpsc::channel(MAX_WAITING);
        let mut following = JoinSet::new();
        let follower = ObjectFollower::new(running, jetstream);
        following.spawn_on(follower.run(sender), runtime);
        Self {
            changed,
            _following: following,
        }
    }

    /// The name of the next guest of whose component there is a new version;
    /// [`Host::apply`](crate::Host::apply), with the settings that the guest has, brings it into service.
    /// `None` when the host has stopped. A new version is told once: what does not come up is not tried again.
    ///
    /// No name is lost if this is given up before it returns.
    pub async fn next(&mut self) -> Option<String> {
        self.changed.recv().await
    }
}

/// A guest's component that is an object.
pub(crate) struct RunningObject {
    /// The guest's name. A guest has two such objects if its canary's component is one, too.
    guest: String,
    /// The object that is the component of the guest, or of its canary.
    object: ObjectName,
    /// The digest of the version that the guest was given, as object stores write it.
    digest: String,
}

/// An object, by its bucket and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ObjectName {
    /// The name of the object store.
    bucket: String,
    /// The name of the object within its object store.
    name: String,
}

/// An object that a guest was announced to have a new version of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Announced {
    /// The name of the guest, as it was announced.
    guest: String,
    /// The object with the new version: the component of the guest, or of its canary.
    object: ObjectName,
}

/// The version of an object that its bucket has now.
struct Pushed {
    /// The object, by the bucket that is watched and its name there.
    object: ObjectName,
    /// The digest of the version, as object stores write it.
    digest: String,
}

impl RunningObject {
    /// `None` for a file.
    pub(crate) fn new(guest: &str, component: &ComponentSource, digest: Digest) -> Option<Self> {
        let ComponentSource::Object { bucket, name } = component else {
            return None;
        };
        Some(Self {
            guest: guest.to_owned(),
            object: ObjectName {
                bucket: bucket.clone(),
                name: name.clone(),
            },
            digest: digest.in_object_store(),
        })
    }

    fn announced(&self) -> Announced {
        Announced {
            guest: self.guest.clone(),
            object: self.object.clone(),
        }
    }
}

/// The task that follows buckets, and announces guests whose object has another version.
struct ObjectFollower<R, J> {
    /// The objects that guests run now.
    running: R,
    /// The current `JetStream` context.
    jetstream: J,
    /// Digests of what the followed buckets have.
    pushed: HashMap<ObjectName, String>,
    /// Digests that have been announced.
    announced: HashMap<Announced, String>,
    /// One task for each bucket.
    tasks: JoinSet<()>,
    /// The tasks by bucket, to end them.
    buckets: HashMap<String, AbortHandle>,
}

impl<R, J> ObjectFollower<R, J>
where
    R: Fn() -> Vec<RunningObject>,
    J: Fn() -> Context + Clone + Send + Sync + 'static,
{
    fn new(running: R, jetstream: J) -> Self {
        Self {
            running,
            jetstream,
            pushed: HashMap::new(),
            announced: HashMap::new(),
            tasks: JoinSet::new(),
            buckets: HashMap::new(),
        }
    }

    async fn run(mut self, changed: mpsc::Sender<String>) {
        let (sender, mut news) = mpsc::channel(MAX_WAITING);
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(Pushed { object, digest }) = news.recv() => {
                    self.pushed.insert(object, digest);
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
    fn follow_buckets(&mut self, sender: &mpsc::Sender<Pushed>) {
        while self.tasks.try_join_next().is_some() {}
        let wanted: BTreeSet<String> = (self.running)()
            .into_iter()
            .map(|running| running.object.bucket)
            .collect();
        self.pushed
            .retain(|object, _| wanted.contains(&object.bucket));
        self.buckets.retain(|bucket, task| {
            wanted.contains(bucket) || {
                task.abort();
                false
            }
        });
        for bucket in wanted {
            let (jetstream, tasks) = (&self.jetstream, &mut self.tasks);
            self.buckets
                .entry(bucket.clone())
                .or_insert_with(|| tasks.spawn(follow(jetstream.clone(), bucket, sender.clone())));
        }
    }

    /// Guests that run another version than their bucket has, each version once.
    fn outdated(&mut self) -> Vec<String> {
        let running = (self.running)();
        self.announced.retain(|announced, _| {
            running
                .iter()
                .any(|object| object.announced() == *announced)
        });
        let is_other = |running: &&RunningObject| {
            let pushed = self.pushed.get(&running.object);
            pushed.is_some_and(|pushed| running.digest != *pushed)
        };
        let others: BTreeSet<Announced> = running
            .iter()
            .filter(is_other)
            .map(RunningObject::announced)
            .collect();
        let mut found = Vec::new();
        for object in running {
            let announced = object.announced();
            let Some(pushed) = self.pushed.get(&object.object) else {
                continue;
            };
            if object.digest == *pushed {
                // A way back to it, too, is news. A guest's canary may be the same object, of another version.
                if !others.contains(&announced) {
                    self.announced.remove(&announced);
                }
            } else if self.announced.get(&announced) != Some(pushed) {
                self.announced.insert(announced, pushed.clone());
                found.push(object.guest);
            }
        }
        found.dedup();
        found
    }
}

/// Follows one bucket. Each watch begins with what is there, so that nothing is missed while there was none.
async fn follow<J>(jetstream: J, bucket: String, news: mpsc::Sender<Pushed>)
where
    J: Fn() -> Context + Send + Sync,
{
    let mut complained = false;
    loop {
        let ended = match watch(jetstream(), &bucket).await {
            Ok(watch) => {
                complained = false;
                match timeout(WATCH_LIFE, report(watch, &bucket, &news)).await {
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
        sleep(RETRY_INTERVAL).await;
    }
}

async fn watch(jetstream: Context, bucket: &str) -> Result<Watch, String> {
    let store = jetstream
        .get_object_store(bucket)
        .await
        .map_err(|error| error.to_string())?;
    store
        .watch_with_history()
        .await
        .map_err(|error| error.to_string())
}

/// Reports what a watch yields, until it ends; then why.
async fn report(mut watch: Watch, bucket: &str, news: &mpsc::Sender<Pushed>) -> String {
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
            let object = ObjectName {
                bucket: bucket.to_owned(),
                name: info.name,
            };
            if news.send(Pushed { object, digest }).await.is_err() {
                return "nobody listens".to_owned();
            }
        }
    }
    "the watch ended".to_owned()
}
