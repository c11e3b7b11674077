//! A message on its way to a guest, and what became of it. Plain data that every module may know.

use std::time::Duration;

use bytes::Bytes;

use crate::listed::listed;

/// One message, as the guest sees it: `message` of `wit/types.wit`.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The subject without the guest's prefix. For a reply, the one that the request was sent to.
    pub(crate) subject: String,
    /// The subject on which the sender waits for a reply. None if nobody waits.
    pub(crate) reply_to: Option<String>,
    /// Names and values of headers, one pair for each value. Those that could not be passed on are left out.
    pub(crate) headers: Vec<(String, String)>,
    /// The body as the sender wrote it.
    pub(crate) payload: Bytes,
}

/// Something that a guest is to handle.
#[derive(Debug)]
pub(crate) struct Event {
    /// The message that the guest is given.
    pub(crate) message: Message,
    /// `None` for a message that no stream delivered.
    pub(crate) position: Option<StreamPosition>,
}

/// A message's position in its stream: `delivery` of `wit/handler.wit`.
#[derive(Debug, Clone)]
pub(crate) struct StreamPosition {
    /// The name of the stream that delivered the message.
    pub(crate) stream_name: String,
    /// The message's number in its stream.
    pub(crate) sequence: u64,
    /// The number of this delivery of the message, from 1.
    pub(crate) attempt: u32,
    /// The time at which the stream stored the message, in nanoseconds since the Unix epoch.
    pub(crate) timestamp: u64,
}

/// A guest's reply: `reply` of `wit/handler.wit`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    /// Names and values of headers, not checked until the reply is sent.
    pub(crate) headers: Vec<(String, String)>,
    /// The body. Empty if the reply says that the guest failed.
    pub(crate) payload: Bytes,
}

/// The outcome of a message: what became of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The guest handled it.
    Handled(Option<Reply>),
    /// The guest did not handle it.
    Failed(Failure),
}

/// The reason for which a message was not handled.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The kind, by which the failure is counted and the sender is answered.
    pub(crate) kind: FailureKind,
    /// The reason, in words for a person.
    pub(crate) reason: String,
    /// The place in the guest's code, after a trap.
    pub(crate) backtrace: Option<String>,
}

/// The kind of a failure, by what it means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The guest asked for it to be tried again, not before this long.
    Retry(Option<Duration>),
    /// The guest will never handle it.
    Reject,
    /// The guest trapped.
    Trap(TrapCause),
    /// The guest ran past its time.
    Timeout,
    /// No instance could be made.
    NotStarted,
}

/// The cause of a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrapCause {
    /// The guest's code trapped.
    Code,
    /// The guest was refused more memory before.
    Memory,
    /// The guest exited.
    Exit,
    /// The host panicked while the guest called it.
    Panic,
}

listed! {
    /// The kinds of outcomes, as counts, spans and logs name them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum OutcomeKind {
        /// The guest handled the message.
        Handled,
        /// The guest asked for it to be tried again later.
        Retried,
        /// The guest will never handle it.
        Rejected,
        /// The guest trapped.
        Trapped,
        /// The guest ran past its time.
        TimedOut,
        /// No instance could be made.
        NotStarted,
    }
}

impl Outcome {
    /// The kind of the outcome.
    pub(crate) fn kind(&self) -> OutcomeKind {
        match self {
            Self::Handled(_) => OutcomeKind::Handled,
            Self::Failed(failure) => failure.kind.outcome(),
        }
    }
}

impl Failure {
    /// A failure that is not a trap of the guest's code.
    pub(crate) fn new(kind: FailureKind, reason: String) -> Self {
        Self {
            kind,
            reason,
            backtrace: None,
        }
    }
}

impl FailureKind {
    /// The kind of outcome that this failure is.
    pub(crate) const fn outcome(self) -> OutcomeKind {
        match self {
            Self::Retry(_) => OutcomeKind::Retried,
            Self::Reject => OutcomeKind::Rejected,
            Self::Trap(_) => OutcomeKind::Trapped,
            Self::Timeout => OutcomeKind::TimedOut,
            Self::NotStarted => OutcomeKind::NotStarted,
        }
    }
}

impl OutcomeKind {
    /// The kind's name: of its count in [`GuestStats`](crate::GuestStats) and in operators' answers, and in `/metrics` and
    /// spans.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Retried => "retried",
            Self::Rejected => "rejected",
            Self::Trapped => "trapped",
            Self::TimedOut => "timed_out",
            Self::NotStarted => "not_started",
        }
    }

    /// True if the message was not handled.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Handled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_an_outcome_of_its_own_and_no_success() {
        let failures = [
            FailureKind::Retry(None),
            FailureKind::Reject,
            FailureKind::Trap(TrapCause::Code),
            FailureKind::Timeout,
            FailureKind::NotStarted,
        ];
        let failed = OutcomeKind::ALL
            .into_iter()
            .filter(|kind| kind.is_failure());
        assert!(failures.map(FailureKind::outcome).into_iter().eq(failed));
        assert_eq!(Outcome::Handled(None).kind(), OutcomeKind::Handled);
    }
}
