//! Settings of guests: every value is valid, every default is filled in.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::canary_settings::CanarySettings;
use crate::component::ComponentSource;

/// Settings of one guest: what it runs, hears, may do and may use. Made by [`GuestSettings::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestSettings {
    /// The source of the guest's component.
    pub component: ComponentSource,
    /// Put before the guest's subjects instead of the host's prefix.
    pub prefix: Option<String>,
    /// The subjects that the host subscribes the guest to.
    pub subscribe: Vec<SubscriptionSettings>,
    /// The subjects that the guest may subscribe itself to.
    pub may_subscribe: Vec<SubjectGrant>,
    /// The subjects that the guest may publish on.
    pub publish: Vec<SubjectGrant>,
    /// The subjects that the guest may send requests to.
    pub request: Vec<SubjectGrant>,
    /// The buckets that the guest may use.
    pub buckets: BTreeMap<String, BucketAccess>,
    /// Values that the guest reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// The form in which the guest's SDK writes values where the guest does not say.
    pub serializer: Serializer,
    /// The guest's environment variables.
    pub env: BTreeMap<String, String>,
    /// The directories that the guest sees.
    pub dirs: Vec<DirectoryGrant>,
    /// Bounds of the guest's instances.
    pub instances: Instances,
    /// Bounds of what the guest may use up.
    pub limits: Limits,
    /// Another version of the guest, tried beside the one in service.
    pub canary: Option<CanarySettings>,
}

impl GuestSettings {
    /// A guest that runs this component, hears nothing and may do nothing.
    pub fn new(component: impl Into<ComponentSource>) -> Self {
        Self {
            component: component.into(),
            prefix: None,
            subscribe: Vec::new(),
            may_subscribe: Vec::new(),
            publish: Vec::new(),
            request: Vec::new(),
            buckets: BTreeMap::new(),
            config: BTreeMap::new(),
            serializer: Serializer::default(),
            env: BTreeMap::new(),
            dirs: Vec::new(),
            instances: Instances::default(),
            limits: Limits::default(),
            canary: None,
        }
    }
}

impl GuestSettings {
    /// The settings of the guest's version in service: the same without a canary.
    pub(crate) fn in_service(&self) -> Self {
        Self {
            canary: None,
            ..self.clone()
        }
    }

    /// The settings of a canary.
    pub(crate) fn of_canary(&self, canary: &CanarySettings) -> Self {
        Self {
            component: canary.component.clone(),
            ..self.in_service()
        }
    }

    /// The most instances of all its versions together.
    pub(crate) fn max_instances_of_all_versions(&self) -> u64 {
        let versions = 1 + u64::from(self.canary.is_some());
        u64::from(self.instances.max.get()) * versions
    }

    /// The components that the settings name: the guest's, and its canary's.
    pub fn components(&self) -> impl Iterator<Item = &ComponentSource> {
        std::iter::once(&self.component).chain(self.canary.as_ref().map(|canary| &canary.component))
    }
}

/// One subscription of a guest. Made by [`SubscriptionSettings::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionSettings {
    /// The subject, with wildcards.
    pub subject: String,
    /// The queue group whose members share the messages.
    pub queue: Option<String>,
    /// Take the subject as it is, without a prefix.
    pub ignore_prefix: bool,
}

impl SubscriptionSettings {
    /// A subscription behind the prefix, without a queue group.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            queue: None,
            ignore_prefix: false,
        }
    }
    /// Shares the messages with the other members of a queue group.
    #[must_use]
    pub fn with_queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Takes the subject as it is, without a prefix.
    #[must_use]
    pub fn without_prefix(mut self) -> Self {
        self.ignore_prefix = true;
        self
    }
}

impl From<&str> for SubscriptionSettings {
    fn from(subject: &str) -> Self {
        Self::new(subject)
    }
}

/// Subjects that a guest may use. Made by [`SubjectGrant::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubjectGrant {
    /// The subjects, with wildcards. Wildcards never cover `$…`, `_INBOX.…` and `wharf.admin.…`.
    pub subject: String,
    /// Take the subject as it is, without a prefix.
    pub ignore_prefix: bool,
}

impl SubjectGrant {
    /// A grant of subjects behind the prefix.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            ignore_prefix: false,
        }
    }
    /// Takes the subjects as they are, without a prefix.
    #[must_use]
    pub fn without_prefix(mut self) -> Self {
        self.ignore_prefix = true;
        self
    }
}

impl From<&str> for SubjectGrant {
    fn from(subject: &str) -> Self {
        Self::new(subject)
    }
}

/// Rights of a guest to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketAccess {
    /// Read keys and values.
    Read,
    /// Read and write, and create the bucket where there is none.
    ReadWrite,
}

/// The form in which values are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serializer {
    /// JSON.
    #[default]
    Json,
    /// MessagePack, with field names.
    Msgpack,
}

/// A directory of the host that a guest sees. Made by [`DirectoryGrant::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryGrant {
    /// The directory on the host.
    pub host: PathBuf,
    /// The absolute path at which the guest sees it.
    pub guest: String,
    /// Rights of the guest there.
    pub access: DirectoryAccess,
}

impl DirectoryGrant {
    /// A directory of the host, the path at which the guest sees it, and what the guest may do there.
    pub fn new(
        host: impl Into<PathBuf>,
        guest: impl Into<String>,
        access: DirectoryAccess,
    ) -> Self {
        Self {
            host: host.into(),
            guest: guest.into(),
            access,
        }
    }
}

/// Rights of a guest in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryAccess {
    /// Read files and list directories.
    Read,
    /// Read, write, create and remove.
    ReadWrite,
}

/// Instances that may live at once, of all guests together. Each has its memories, tables and stack set aside, so that no
/// guest can use up what another was promised: the sum of the guests' [`Instances::max`] may not exceed it.
pub const MAX_INSTANCES: u32 = 1000;

/// Bounds of a guest's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instances {
    /// The most messages that are handled at once, each by an instance of its own.
    pub max: NonZeroU32,
    /// The messages that one instance handles before it is replaced. 1 is a fresh instance for every message.
    pub reuse: NonZeroU32,
}

impl Default for Instances {
    fn default() -> Self {
        const EIGHT: NonZeroU32 = NonZeroU32::new(8).expect("8 is not 0");
        const THOUSAND: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not 0");
        Self {
            max: EIGHT,
            reuse: THOUSAND,
        }
    }
}

/// Bounds of what a guest may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All memories and tables of one instance together, in bytes.
    pub memory_bytes: u64,
    /// The time that one message may take, waiting included.
    pub time: Duration,
    /// The most messages that wait for an instance.
    pub queue_messages: usize,
    /// The most bytes that the waiting messages hold.
    pub queue_bytes: usize,
    /// The most subscriptions that a guest makes by itself. None may overlap another of the same guest.
    pub subscriptions: usize,
    /// The most subscriptions that a guest makes and ends by itself in a second, once it is in service.
    pub subscription_changes: u32,
    /// The most log lines a second, by the guest and on it. Others are dropped and counted.
    pub log_lines: u64,
    /// The most bytes of log lines a second.
    pub log_bytes: u64,
    /// The most descriptors that a guest has open, in all of its instances: files, directories that it reads, streams.
    pub descriptors: u64,
    /// The most calls on files that a guest makes at once. Others wait.
    pub file_calls: u64,
    /// The most bytes by which a guest makes its directories grow, since it was loaded. A name counts as 4 KiB.
    pub disk_bytes: u64,
    /// The most resources that one instance holds: open files and buckets, streams, timers.
    pub resources: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            time: Duration::from_secs(5),
            queue_messages: 65_536,
            queue_bytes: 64 << 20,
            subscriptions: 64,
            subscription_changes: 10,
            log_lines: 1000,
            log_bytes: 1 << 20,
            descriptors: 256,
            file_calls: 4,
            disk_bytes: 1 << 30,
            resources: 512,
        }
    }
}
