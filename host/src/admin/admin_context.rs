//! The host, as those see it who answer for it over NATS.

use std::sync::Arc;
use std::time::SystemTime;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::order_files::OrderFiles;
use super::stats::EndpointStats;
use super::wire::ErrorReply;
use crate::config::{AdminSettings, HostSettings};
use crate::connection::Connection;
use crate::error::Error;
use crate::policy::ReplySubjects;
use crate::rollout::RunningGuests;

/// The most short answers that wait to be sent. Each has a subject of at most 1 KiB.
const MAX_SHORT_ANSWERS: usize = 16_384;

/// A short answer that waits to be sent.
pub(super) struct ShortAnswer {
    /// The subject that it goes to, where answers may go.
    pub(super) reply_to: Subject,
    /// The answer itself.
    pub(super) content: AnswerContent,
}

/// The content of a short answer, in the least form.
pub(super) enum AnswerContent {
    /// A description of the host, written when it is sent: the last token of `$SRV.<verb>`.
    Description(&'static str),
    /// The result of an order.
    Result(OrderResult),
}

/// Answer to an order: JSON, or an error.
pub(super) type OrderResult = Result<Value, ErrorReply>;

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
    /// The way to the task that sends short answers.
    answers: mpsc::Sender<ShortAnswer>,
    /// The other end of that way, until the task takes it.
    unsent: Option<mpsc::Receiver<ShortAnswer>>,
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
        let (answers, unsent) = mpsc::channel(MAX_SHORT_ANSWERS);
        Self {
            answers,
            unsent: Some(unsent),
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

    /// Answers as [`AdminContext::answer`] does, but without waiting, so that whoever reads questions reads the next one at
    /// once: short answers wait to be sent, and one for which there is no room is dropped.
    pub(super) fn answer_now(&self, reply_to: Option<Subject>, content: AnswerContent) {
        let Some(reply_to) = self.may_answer(reply_to) else {
            return;
        };
        if self
            .answers
            .try_send(ShortAnswer { reply_to, content })
            .is_err()
        {
            tracing::debug!("an answer could not be sent: too many wait");
        }
    }

    /// The short answers that are to be sent, for the one task that sends them.
    pub(super) fn take_short_answers(&mut self) -> Option<mpsc::Receiver<ShortAnswer>> {
        self.unsent.take()
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
