//! A message that has arrived, and how what became of it is carried out.

use std::sync::Arc;

use async_nats::Subject;
use bytes::Bytes;

use crate::connection::Connection;
use crate::error::Error;
use crate::headers::{clean, from_wire, to_wire};
use crate::message::{Failure, FailureKind, Message, Outcome, Reply};
use crate::metrics::GuestCounters;
use crate::policy::takes_orders;
use crate::trace::{TraceHeaders, Traced, Tracer};

/// A message that has arrived for a guest.
pub(crate) struct Arrival {
    pub(super) message: async_nats::Message,
    /// What the guest does not see of the subject.
    pub(super) prefix_bytes: usize,
    pub(super) source: Arc<Source>,
}

/// What is left of a message while the guest handles it.
pub(crate) struct Ticket {
    pub(crate) subject: Subject,
    reply_to: Option<Subject>,
    source: Arc<Source>,
    /// There is none if the host records no traces.
    traced: Option<Traced>,
}

/// What all subscriptions of one guest share.
pub(super) struct Source {
    pub(super) guest: Arc<str>,
    pub(super) connection: Connection,
    pub(super) counters: Arc<GuestCounters>,
    pub(super) tracer: Option<Tracer>,
}

impl Arrival {
    /// The message as the guest sees it, and what it takes to carry out what becomes of it.
    pub(crate) fn open(self) -> (Message, Ticket) {
        let Self {
            message,
            prefix_bytes,
            source,
        } = self;
        let begin = |tracer: &Tracer| {
            tracer.begin(&source.guest, &message.subject, message.headers.as_ref())
        };
        let traced = source.tracer.as_ref().map(begin);
        let opened = Message {
            subject: message
                .subject
                .get(prefix_bytes..)
                .unwrap_or(&message.subject)
                .to_owned(),
            reply_to: message
                .reply
                .as_ref()
                .map(|reply| reply.as_str().to_owned()),
            headers: from_wire(message.headers.as_ref()),
            payload: message.payload,
        };
        (
            opened,
            Ticket {
                subject: message.subject,
                reply_to: message.reply,
                source,
                traced,
            },
        )
    }
}

impl Ticket {
    /// What goes with everything that the guest sends while it handles the message.
    pub(crate) fn trace(&self) -> Option<&TraceHeaders> {
        self.traced.as_ref().map(Traced::headers)
    }

    /// This version of the guest is done with the message.
    pub(crate) fn end_span(&mut self, version: u32, outcome: &Outcome) {
        if let Some(traced) = &mut self.traced {
            traced.end(version, outcome);
        }
    }

    /// Carries out what became of the message: whoever waits for a reply gets it, or an error.
    pub(crate) async fn settle(self, outcome: Outcome) {
        let answer = match outcome {
            Outcome::Handled(None) => return,
            Outcome::Handled(Some(reply)) => Ok(reply),
            Outcome::Failed(failure) => Err(failure),
        };
        let Some(reply_to) = &self.reply_to else {
            return;
        };
        let counters = &self.source.counters;
        match self.answer(reply_to.clone(), answer).await {
            Ok(()) => counters.replied.add_one(),
            Err(error) => {
                counters.replies_failed.add_one();
                let guest = &self.source.guest;
                tracing::error!(%guest, subject = %self.subject, "the reply could not be sent: {error}");
            }
        }
    }

    async fn answer(&self, reply_to: Subject, answer: Result<Reply, Failure>) -> Result<(), Error> {
        // The sender chose where the answer goes, but it goes with the host's rights: not to where the server takes orders.
        if takes_orders(&reply_to) {
            return Err(Error::Invalid(format!(
                "{reply_to:?} is a subject for orders, not one to wait on"
            )));
        }
        let reply = answer.unwrap_or_else(|failure| service_error(&failure));
        let sent = self.send(&reply_to, reply).await;
        if let Err(Error::Invalid(_) | Error::TooLarge(_)) = sent {
            // Whoever waits learns at least that nothing will come.
            let reason = "the handler's reply is not allowed".into();
            let failure = Failure {
                kind: FailureKind::Trap,
                reason,
                backtrace: None,
            };
            self.send(&reply_to, service_error(&failure)).await?;
        }
        sent
    }

    async fn send(&self, reply_to: &Subject, reply: Reply) -> Result<(), Error> {
        let headers = to_wire(reply.headers, self.trace())?;
        self.source
            .connection
            .publish(reply_to.clone(), None, headers, reply.payload)
            .await
    }
}

/// The answer of a service that failed.
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>
fn service_error(failure: &Failure) -> Reply {
    let words = match failure.kind {
        // What a guest says of itself is for its senders; what is wrong inside it is for its operator.
        FailureKind::Retry(_) | FailureKind::Reject => clean(&failure.reason),
        FailureKind::Trap => "the handler failed".to_owned(),
        FailureKind::Timeout => "the handler took too long".to_owned(),
        FailureKind::NotStarted => "the handler cannot run now".to_owned(),
    };
    let headers = vec![
        ("Nats-Service-Error".to_owned(), words),
        (
            "Nats-Service-Error-Code".to_owned(),
            failure.kind.service_code().to_string(),
        ),
    ];
    Reply {
        headers,
        payload: Bytes::new(),
    }
}
