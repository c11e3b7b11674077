//! Contexts: what every guest of a host has around it, and what stays of one guest from version to version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::config::{BucketSettings, ProtectedPaths};
use crate::connection::Connection;
use crate::connector::Connector;
use crate::guest::Engine;
use crate::imports::FileThreads;
use crate::metrics::GuestCounters;
use crate::policy::ReplySubjects;
use crate::queue::Queue;
use crate::trace::Tracer;
use crate::trigger::{Incoming, Intake};

/// The host, as its guests have it around them.
pub(crate) struct HostContext {
    /// The engine that compiles and runs every guest.
    pub(crate) engine: Arc<Engine>,
    /// The host's connection, which guests share. Closed once they have ended.
    pub(crate) connection: Connection,
    /// A connector over the host's connection, which guests share.
    pub(crate) connector: Connector,
    /// The prefix of subjects of guests that have none of their own.
    pub(crate) prefix: String,
    /// Subjects that answers may go to.
    pub(crate) replies: ReplySubjects,
    /// The bucket that a guest means where it names none.
    pub(crate) default_bucket: String,
    /// The settings of buckets that the host's configuration has.
    pub(crate) bucket_settings: BTreeMap<String, BucketSettings>,
    /// The time that a version or a guest may take to finish its messages.
    pub(crate) drain_timeout: Duration,
    /// Files and directories of the host's own, which no guest may have.
    pub(crate) protected: ProtectedPaths,
    /// The tracer. There is none if the host records no traces.
    pub(crate) tracer: Option<Tracer>,
}

/// A guest, apart from its versions. A clone is the same guest's.
#[derive(Clone)]
pub(super) struct GuestContext {
    /// The guest's name, which no other guest of the host has.
    pub(super) name: Arc<str>,
    /// The way of messages into the queue.
    pub(super) intake: Arc<Intake>,
    /// Messages that wait for the guest. Each version in service takes them over from the one before.
    pub(super) queue: Arc<Queue<Incoming>>,
    /// Counts and gauges of all versions together, since the guest was loaded.
    pub(super) counters: Arc<GuestCounters>,
    /// The threads on which the guest's calls on files wait for disks.
    pub(super) file_threads: Arc<FileThreads>,
    /// Woken when a canary has failed.
    pub(super) canary_failure: Arc<Notify>,
    /// Versions that get no more messages, and have not ended.
    pub(super) retiring: TaskTracker,
}

impl GuestContext {
    /// A guest that has no version yet.
    pub(super) fn new(name: &str, host: &HostContext, canary_failure: Arc<Notify>) -> Self {
        let counters = Arc::<GuestCounters>::default();
        // Nothing fits until a version takes the queue over.
        let queue = Arc::new(Queue::new(0, 0));
        let intake = Intake::new(
            name,
            host.connection.clone(),
            host.replies.clone(),
            Arc::clone(&counters),
            Arc::clone(&queue),
            host.tracer.clone(),
        );
        Self {
            name: name.into(),
            intake: Arc::new(intake),
            queue,
            file_threads: Arc::new(FileThreads::new(&counters.file_calls)),
            counters,
            canary_failure,
            retiring: TaskTracker::new(),
        }
    }
}
