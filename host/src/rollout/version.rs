//! One version of a guest: a component with its settings, from its start to its end.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::guest_context::{GuestContext, HostContext};
use crate::canary_analysis::CanaryAnalysis;
use crate::component::Digest;
use crate::config::GuestSettings;
use crate::dispatch::{Dispatcher, Drained};
use crate::guest::{CompiledComponent, Guest, GuestStartError, InstanceTemplate};
use crate::imports::{GrantedDir, ImportContext};
use crate::policy::Policy;
use crate::queue::ReaderId;
use crate::trigger::VersionSubscriptions;

/// A version that has started, and is given no messages yet.
pub(super) struct Candidate {
    /// The version as its workers call it, whose `start` has returned.
    guest: Arc<Guest>,
    /// The version's view of the guest's subscriptions, shared with its imports.
    subscriptions: Arc<VersionSubscriptions>,
    /// The settings that the version runs with, among them the bounds of its queue.
    settings: GuestSettings,
    /// The component that the version runs, kept so that a change need not compile it again.
    component: CompiledComponent,
    /// The version's part of the instances that all guests share. Given back last.
    instances: OwnedSemaphorePermit,
}

/// A version that is given messages.
pub(super) struct Version {
    /// The version as it started, with its guest, its settings and its component.
    candidate: Candidate,
    /// The workers that give the version its messages.
    dispatcher: Dispatcher,
}

/// A version that gets no more messages, and finishes those that it has.
pub(super) struct Retiring {
    /// The guest that the version is of, named in the report of the drain.
    pub(super) context: GuestContext,
    /// The version, whose workers finish what is in hand, or in the queue if the guest ends.
    version: Version,
    /// Messages that the version had settled by the time it got no more.
    settled_before: u64,
    /// Given back when the version has ended.
    _token: TaskTrackerToken,
}

/// A version's end: what became of its last messages, and what its `stop` said.
pub(super) type VersionEnd = (Drained, Result<(), String>);

impl Candidate {
    /// Makes the first instance, and calls the guest's `start`.
    pub(super) async fn start(
        host: &HostContext,
        context: &GuestContext,
        number: u32,
        settings: GuestSettings,
        component: CompiledComponent,
        dirs: Vec<GrantedDir>,
        instances: OwnedSemaphorePermit,
    ) -> Result<Self, GuestStartError> {
        let name = &context.name;
        let replies = host.replies.clone();
        let policy = Policy::new(name, &settings, &host.prefix, replies);
        let subscriptions = context
            .intake
            .of_version(number, policy.prefix(), &settings);
        let subscriptions = Arc::new(subscriptions);
        let imports = ImportContext {
            policy,
            connection: host.connection.clone(),
            connector: host.connector.clone(),
            default_bucket: host.default_bucket.clone(),
            bucket_settings: host.bucket_settings.clone(),
            counters: Arc::clone(&context.counters),
            subscriptions: Arc::clone(&subscriptions) as _,
        };
        let template = Arc::new(InstanceTemplate::new(
            name,
            number,
            settings.clone(),
            imports,
            dirs,
            Arc::clone(&context.file_threads),
        ));
        let guest = Guest::new(Arc::clone(&host.engine), component.clone(), template);
        let guest = Arc::new(guest);
        guest.start().await?;
        Ok(Self {
            guest,
            subscriptions,
            settings,
            component,
            instances,
        })
    }

    /// The version's number.
    pub(super) fn number(&self) -> u32 {
        self.guest.version()
    }

    /// The version's view of the guest's subscriptions.
    pub(super) fn subscriptions(&self) -> &Arc<VersionSubscriptions> {
        &self.subscriptions
    }

    /// Ends a version that does not come into service after all.
    pub(super) async fn discard(self, deadline: Instant) {
        let Self {
            guest, instances, ..
        } = self;
        if let Err(why) = guest.stop(deadline).await {
            tracing::warn!(guest = %guest.name(), "a version that did not come into service: {why}");
        }
        drop(instances);
    }

    /// Hands the guest's queue over to this version.
    pub(super) fn into_service(self, context: &GuestContext) -> Version {
        let limits = &self.settings.limits;
        let queue = &context.queue;
        let reader = queue.replace_readers(limits.queue_messages, limits.queue_bytes);
        self.work(context, reader, None)
    }

    /// Gives this version a share of what comes into the guest's queue from now on.
    pub(super) fn into_canary(
        self,
        context: &GuestContext,
        share: f64,
        analysis: Arc<CanaryAnalysis>,
    ) -> Version {
        let reader = context.queue.open_lane(share);
        self.work(context, reader, Some(analysis))
    }

    fn work(
        self,
        context: &GuestContext,
        reader: ReaderId,
        analysis: Option<Arc<CanaryAnalysis>>,
    ) -> Version {
        let guest = Arc::clone(&self.guest);
        let queue = Arc::clone(&context.queue);
        Version {
            candidate: self,
            dispatcher: Dispatcher::start(guest, queue, reader, analysis),
        }
    }
}

impl Version {
    /// The version's number.
    pub(super) fn number(&self) -> u32 {
        self.candidate.number()
    }

    /// The settings that the version runs with.
    pub(super) fn settings(&self) -> &GuestSettings {
        &self.candidate.settings
    }

    /// The component that the version runs.
    pub(super) fn component(&self) -> &CompiledComponent {
        &self.candidate.component
    }

    /// The digest of the component that the version runs.
    pub(super) fn digest(&self) -> Digest {
        self.candidate.component.digest()
    }

    /// The version's view of the guest's subscriptions.
    pub(super) fn subscriptions(&self) -> &Arc<VersionSubscriptions> {
        self.candidate.subscriptions()
    }

    /// The queue reader of the version's workers.
    pub(super) fn reader(&self) -> ReaderId {
        self.dispatcher.reader()
    }

    /// Keeps the version from changing what the guest is subscribed to. It may finish its messages.
    pub(super) fn retire(&self) {
        self.candidate.subscriptions.retire();
    }

    /// Messages that the version has settled.
    pub(super) fn settled(&self) -> u64 {
        self.dispatcher.settled()
    }

    /// Messages that the version is handling.
    pub(super) fn in_flight(&self) -> usize {
        self.dispatcher.in_flight()
    }
}

impl Retiring {
    /// A version that gets no messages from now on, or will in a moment: what it settles from here on counts as finished.
    pub(super) fn new(context: GuestContext, version: Version, settled_before: u64) -> Self {
        let token = context.retiring.token();
        Self {
            context,
            version,
            settled_before,
            _token: token,
        }
    }

    /// Waits until what is the version's to handle is handled, then calls the guest's `stop`.
    pub(super) async fn end(self, deadline: Instant) -> (GuestContext, VersionEnd) {
        let Self {
            context,
            version,
            settled_before,
            _token,
        } = self;
        let Version {
            candidate,
            mut dispatcher,
        } = version;
        let drained = dispatcher.drain(settled_before, deadline).await;
        let stopped = candidate.guest.stop(deadline).await;
        (context, (drained, stopped))
    }
}
