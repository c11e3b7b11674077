//! The host, as those see it who answer for it over NATS.

use std::sync::Arc;
use std::time::SystemTime;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::order_files::OrderFiles;
use super::stats::EndpointStats;
use crate::config::{AdminSettings, HostSettings};
use crate::connection::Connection;
use crate::error::Error;
use crate::policy::ReplySubjects;
use crate::rollout::RunningGuests;

/// The host, as those see it who answer for it.
pub(crate) struct AdminContext {
    /// The host's name.
    pub(super) name: String,
    /// The instance's id among micro services.
    pub(super) id: String,
    /// The time at which the configured guests were in service and operators could be answered.
    pub(super) started: SystemTime,
    /// The host takes orders.
    pub(super) takes_orders: bool,
    /// The files of the host that orders may name.
    pub(super) files: OrderFiles,
    /// Subjects that answers may go to.
    replies: ReplySubjects,
    /// Counts of the orders so far.
    pub(super) stats: EndpointStats,
    /// The host's connection, on which orders come and answers go.
    pub(super) connection: Connection,
    /// The guests that orders list and change, shared with the host's owner.
    pub(super) guests: Arc<RunningGuests>,
    /// The runtime that guests run on.
    pub(super) runtime: Handle,
    /// Stops the host when cancelled.
    pub(super) stop: CancellationToken,
}

impl AdminContext {
    /// A host of these settings, on the current runtime.
    pub(crate) fn new(
        settings: &HostSettings,
        admin: &AdminSettings,
        connection: Connection,
        guests: Arc<RunningGuests>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            name: settings.name.clone().unwrap_or_else(default_name),
            id: nuid::next().to_string(),
            started: SystemTime::now(),
            takes_orders: admin.enabled,
            files: OrderFiles::new(admin),
            replies: ReplySubjects::new(&settings.replies),
            stats: EndpointStats::default(),
            connection,
            guests,
            runtime: Handle::current(),
            stop,
        }
    }

    /// Answers, with the host's rights: only where answers may go, whoever asked for it.
    pub(super) async fn answer(
        &self,
        reply_to: Option<Subject>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Error> {
        let Some(reply_to) = self.may_answer(reply_to) else {
            return Ok(());
        };
        let sent = self
            .connection
            .publish(reply_to, None, headers, payload)
            .await;
        sent.inspect_err(|error| tracing::debug!("an answer could not be sent: {error}"))
    }

    /// Answers as [`AdminContext::answer`] does, but without waiting: what the client cannot take now is not sent. So
    /// whoever reads questions reads the next one at once.
    pub(super) fn answer_now(
        &self,
        reply_to: Option<Subject>,
        headers: Option<HeaderMap>,
        payload: impl FnOnce() -> Bytes,
    ) {
        let Some(reply_to) = self.may_answer(reply_to) else {
            return;
        };
        let answering = self.answer(Some(reply_to), headers, payload());
        if tokio::task::unconstrained(answering)
            .now_or_never()
            .is_none()
        {
            tracing::debug!("an answer could not be sent: the client is busy");
        }
    }

    /// The subject, if answers may go there.
    fn may_answer(&self, reply_to: Option<Subject>) -> Option<Subject> {
        reply_to.filter(|subject| self.replies.covers(subject))
    }
}

/// The machine's name, made fit for a subject, and what tells several hosts on it apart.
fn default_name() -> String {
    const MAX_CHARACTERS: usize = 40;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let machine = machine
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = machine
        .trim()
        .chars()
        .take(MAX_CHARACTERS)
        .map(fit)
        .collect();
    // Not from a NUID: two of one process begin alike.
    let random = format!("{:06x}", rand::random::<u32>() >> 8);
    if name.is_empty() {
        format!("host-{random}")
    } else {
        format!("{name}-{random}")
    }
}
