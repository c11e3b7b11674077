//! News of components: what is pushed to the object stores that guests take them from.
//!
//! Buckets are asked, once a second, whether anything was stored there. A consumer would tell at once, but bring what anybody
//! has stored there, with headers that may break the connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_nats::jetstream::Context;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::digest::Digest;
use super::object_store::{ObjectStore, StoreError, StoreMark};
use super::source::ComponentSource;

/// The time between two looks at which guests there are, and at what is in the buckets that they take their components from.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

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
        jetstream: impl Fn() -> Context + Send + Sync + 'static,
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
    /// The buckets that are followed.
    buckets: HashMap<String, FollowedBucket>,
    /// Digests that have been announced.
    announced: HashMap<Announced, String>,
}

/// A bucket that is followed.
#[derive(Default)]
struct FollowedBucket {
    /// The bucket's stand when its objects were looked at last. `None` if they are all to be looked at.
    mark: Option<StoreMark>,
    /// Digests of the objects that guests run, as the bucket has them now. `None` for one that is not there, or is a link.
    pushed: HashMap<String, Option<String>>,
    /// The bucket could not be read, and that has been logged.
    complained: bool,
}

impl<R, J> ObjectFollower<R, J>
where
    R: Fn() -> Vec<RunningObject>,
    J: Fn() -> Context,
{
    fn new(running: R, jetstream: J) -> Self {
        Self {
            running,
            jetstream,
            buckets: HashMap::new(),
            announced: HashMap::new(),
        }
    }

    async fn run(mut self, changed: mpsc::Sender<String>) {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            self.look().await;
            for guest in self.outdated() {
                if changed.send(guest).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Looks at the buckets that guests take their components from now, and at no others.
    async fn look(&mut self) {
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for RunningObject { object, .. } in (self.running)() {
            wanted.entry(object.bucket).or_default().insert(object.name);
        }
        self.buckets.retain(|bucket, _| wanted.contains_key(bucket));
        for bucket in wanted.keys() {
            self.buckets.entry(bucket.clone()).or_default();
        }
        let jetstream = (self.jetstream)();
        let looks = self.buckets.iter_mut().filter_map(|(bucket, followed)| {
            let wanted = wanted.get(bucket)?;
            Some(followed.look(&jetstream, bucket, wanted))
        });
        join_all(looks).await;
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
            let pushed = self.pushed(&running.object);
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
            let Some(pushed) = self.pushed(&object.object).cloned() else {
                continue;
            };
            if object.digest == pushed {
                // A way back to it, too, is news. A guest's canary may be the same object, of another version.
                if !others.contains(&announced) {
                    self.announced.remove(&announced);
                }
            } else if self.announced.get(&announced) != Some(&pushed) {
                self.announced.insert(announced, pushed);
                found.push(object.guest);
            }
        }
        found.dedup();
        found
    }

    /// The digest of an object as its bucket has it.
    fn pushed(&self, object: &ObjectName) -> Option<&String> {
        let bucket = self.buckets.get(&object.bucket)?;
        bucket.pushed.get(&object.name)?.as_ref()
    }
}

impl FollowedBucket {
    /// Looks at these objects, if something was stored in the bucket since the last time, or they were not looked at yet.
    async fn look(&mut self, jetstream: &Context, bucket: &str, wanted: &BTreeSet<String>) {
        self.pushed.retain(|name, _| wanted.contains(name));
        match self.try_look(jetstream, bucket, wanted).await {
            Ok(()) => self.complained = false,
            Err(why) => {
                if !self.complained {
                    tracing::warn!("cannot follow the object store {bucket:?}, and try on: {why}");
                }
                self.complained = true;
            }
        }
    }

    async fn try_look(
        &mut self,
        jetstream: &Context,
        bucket: &str,
        wanted: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let store = ObjectStore::new(jetstream, bucket)?;
        let mark = store.mark().await?;
        let is_same = self.mark.as_ref() == Some(&mark);
        // Where one cannot be read, all are to be read again.
        self.mark = None;
        for name in wanted {
            if is_same && self.pushed.contains_key(name) {
                continue;
            }
            let digest = store.meta(name).await?.and_then(|meta| meta.digest);
            if digest.is_none() && self.pushed.get(name).is_some_and(Option::is_some) {
                tracing::warn!("nats://{bucket}/{name} was deleted; guests that run it go on");
            }
            self.pushed.insert(name.clone(), digest);
        }
        self.mark = Some(mark);
        Ok(())
    }
}
