//! The intake of one guest: everything that brings it messages, as those see it who change and stop guests.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::core_nats::{Gate, SubscribeRefused, Subscriptions};
use super::incoming::{Incoming, SubscriptionContext};
use super::refusals::Refusals;
use super::version_subscriptions::VersionSubscriptions;
use crate::config::GuestSettings;
use crate::connection::Connection;
use crate::error::Error;
use crate::metrics::GuestCounters;
use crate::policy::ReplySubjects;
use crate::queue::Queue;
use crate::trace::Tracer;

/// All triggers of one guest, over all its versions.
pub(crate) struct Intake {
    /// The guest's subscriptions, shared with each version's view of them.
    subscriptions: Arc<Subscriptions>,
}

/// Subscriptions of a version that have begun, and wait until it is in service: see [`Intake::prepare`].
#[must_use = "messages wait until it is committed or cancelled"]
pub(crate) struct Prepared(Gate);

impl Intake {
    /// An intake that hears nothing yet. What arrives will go into the queue.
    pub(crate) fn new(
        guest: &str,
        connection: Connection,
        replies: ReplySubjects,
        counters: Arc<GuestCounters>,
        queue: Arc<Queue<Incoming>>,
        tracer: Option<Tracer>,
    ) -> Self {
        let context = SubscriptionContext {
            guest: guest.into(),
            connection,
            refusals: Refusals::new(replies),
            counters,
            tracer,
        };
        Self {
            subscriptions: Arc::new(Subscriptions::new(context, queue)),
        }
    }

    /// The subscriptions of a new version of the guest.
    pub(crate) fn of_version(
        &self,
        version: u32,
        prefix: &str,
        settings: &GuestSettings,
    ) -> VersionSubscriptions {
        let subscriptions = Arc::clone(&self.subscriptions);
        VersionSubscriptions::new(subscriptions, version, prefix, settings)
    }

    /// Begins what a version wants to hear and the guest does not hear yet. What arrives there waits.
    ///
    /// # Errors
    /// What could not be begun, and why. Then nothing has changed.
    pub(crate) async fn prepare(
        &self,
        wants: &VersionSubscriptions,
    ) -> Result<Prepared, SubscribeRefused> {
        let wanted = wants.wanted();
        let prepared = self
            .subscriptions
            .prepare(&wanted, wants.version(), wants.gate());
        Ok(Prepared(prepared.await?))
    }

    /// Brings a version into service that has the guest's queue by now: what waited goes into the queue, and what only
    /// versions before this one wanted to hear ends.
    pub(crate) async fn commit(&self, wants: &VersionSubscriptions, prepared: Prepared) {
        let Prepared(gate) = prepared;
        let wanted = || wants.come_into_service();
        self.subscriptions.adopt(wanted, &gate).await;
        gate.open();
        self.subscriptions.unsubscribe_older(wants.version()).await;
    }

    /// Ends what was begun for a version that does not come into service after all.
    pub(crate) async fn cancel(&self, prepared: Prepared) {
        self.subscriptions.cancel(prepared.0).await;
    }

    /// Stops the intakes of many guests at once, with one round trip to the server for all. What the server had sent by
    /// then is in the guests' queues when this returns, and the queues are closed.
    ///
    /// # Errors
    /// The server did not answer by the deadline: messages on their way may be lost. The intakes are stopped all the same.
    pub(crate) async fn stop_all(
        intakes: &[Arc<Self>],
        connection: &Connection,
        deadline: Instant,
    ) -> Result<(), Error> {
        let all = || intakes.iter().map(|intake| &intake.subscriptions);
        let stoppers = join_all(all().map(|one| one.begin_stop())).await.concat();
        let left = deadline.saturating_duration_since(Instant::now());
        let stopped = connection.quiesce(&stoppers, left).await;
        join_all(all().map(|one| one.finish_stop())).await;
        stopped
    }
}
