//! A message on its way to a guest, and what became of it. Plain data that every module may know.

use bytes::Bytes;
use std::time::Duration;
use wasmtime::component::{ComponentType, Lift, Lower};

/// One message, as the guest sees it: `message` of `wit/types.wit`.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Message {
    pub(crate) subject: String,
    #[component(name = "reply-to")]
    pub(crate) reply_to: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
}

/// Something that a guest is to handle.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) message: Message,
    /// `None` for a message that no stream delivered.
    pub(crate) position: Option<StreamPosition>,
}

/// A message's position in its stream: `delivery` of `wit/handler.wit`.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct StreamPosition {
    #[component(name = "stream-name")]
    pub(crate) stream_name: String,
    pub(crate) sequence: u64,
    pub(crate) attempt: u32,
    pub(crate) timestamp: u64,
}

/// What a guest answers: `reply` of `wit/handler.wit`.
#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Reply {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The guest handled it.
    Handled(Option<Reply>),
    /// It did not.
    Failed(Failure),
}

/// Why a message was not handled.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// In words, for a person.
    pub(crate) reason: String,
    /// Where in the guest's code, after a trap.
    pub(crate) backtrace: Option<String>,
}

/// What the failure means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The guest asked for it to be tried again, not before this long.
    Retry(Option<Duration>),
    /// The guest will never handle it.
    Reject,
    /// The guest trapped.
    Trap,
    /// The guest ran past its time.
    Timeout,
    /// No instance could be made.
    NotStarted,
}

impl FailureKind {
    /// The code that a waiting sender gets in `Nats-Service-Error-Code`; the numbers are HTTP's, as services on NATS
    /// use them. <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>
    pub(crate) const fn service_code(self) -> u16 {
        match self {
            Self::Reject => 400,
            Self::Trap => 500,
            Self::Retry(_) | Self::NotStarted => 503,
            Self::Timeout => 504,
        }
    }
}
