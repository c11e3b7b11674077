//! A message that has arrived, and its settlement: what its sender gets for what became of it.

use std::sync::Arc;

use async_nats::Subject;

use super::refusals::{Refusals, error_reply};
use crate::connection::Connection;
use crate::error::Error;
use crate::headers::{from_wire, to_wire};
use crate::message::{Event, Failure, FailureKind, Message, Outcome, Reply, TrapCause};
use crate::metrics::GuestCounters;
use crate::policy::Policy;
use crate::trace::{TraceHeaders, Traced, Tracer};

/// The reason that senders hear of messages that were not handled when their guest had to stop.
pub(crate) const ABANDONED: &str = "the guest was stopped before it had handled the message";

/// A message that has arrived for a guest, and waits in its queue.
pub(crate) struct Incoming {
    /// The message as it arrived, with its whole subject and all of its headers.
    message: async_nats::Message,
    /// The bytes of prefix that the guest does not see of the subject.
    prefix_bytes: usize,
    /// The guest's name, connection and counters, for the message's settlement.
    context: Arc<SubscriptionContext>,
}

/// A message that a guest was given and whose outcome has not been settled with its sender.
#[must_use = "whoever waits for a reply hears nothing until it is settled"]
pub(crate) struct Unsettled {
    /// The subject as it travelled.
    pub(crate) subject: Subject,
    /// The subject on which the sender waits for a reply.
    reply_to: Option<Subject>,
    /// The connection that the answer goes over, and the counters in which it is counted.
    context: Arc<SubscriptionContext>,
    /// The message's span. There is none if the host records no traces.
    traced: Option<Traced>,
    /// True once the outcome is being settled. An event that is dropped before that was abandoned.
    settling: bool,
}

/// Shared by all subscriptions of one guest.
pub(super) struct SubscriptionContext {
    /// The guest's name.
    pub(super) guest: Arc<str>,
    /// The host's connection, for subscriptions and for answers to senders.
    pub(super) connection: Connection,
    /// Answers to the senders of messages that no version handles.
    pub(super) refusals: Refusals,
    /// The guest's counters, which its versions share.
    pub(super) counters: Arc<GuestCounters>,
    /// The tracer. There is none if the host records no traces.
    pub(super) tracer: Option<Tracer>,
}

impl Incoming {
    pub(super) fn new(
        message: async_nats::Message,
        prefix_bytes: usize,
        context: Arc<SubscriptionContext>,
    ) -> Self {
        Self {
            message,
            prefix_bytes,
            context,
        }
    }

    /// Drops the message, and tells its sender why, if it waits for a reply.
    pub(crate) fn refuse(self, reason: &str) {
        self.context.refuse(self.message.reply.as_ref(), reason);
    }

    /// Opens the message: the event that the guest is given, and what settles it.
    pub(crate) fn open(self) -> (Event, Unsettled) {
        let Self {
            message,
            prefix_bytes,
            context,
        } = self;
        let begin = |tracer: &Tracer| {
            tracer.begin(&context.guest, &message.subject, message.headers.as_ref())
        };
        let traced = context.tracer.as_ref().map(begin);
        let subject = message.subject.get(prefix_bytes..);
        let reply_to = message.reply.as_ref();
        let event = Event {
            message: Message {
                subject: subject.unwrap_or(&message.subject).to_owned(),
                reply_to: reply_to.map(|reply| reply.as_str().to_owned()),
                headers: from_wire(message.headers.as_ref()),
                payload: message.payload,
            },
            position: None,
        };
        let unsettled = Unsettled {
            subject: message.subject,
            reply_to: message.reply,
            context,
            traced,
            settling: false,
        };
        (event, unsettled)
    }
}

impl Unsettled {
    /// The trace headers of everything that the guest sends while it handles the message.
    pub(crate) fn trace(&self) -> Option<&TraceHeaders> {
        self.traced.as_ref().map(Traced::headers)
    }

    /// Keeps the message the guest's while it is being handled. A core message needs nothing for that.
    pub(crate) async fn during<T>(&self, handling: impl Future<Output = T>) -> T {
        handling.await
    }

    /// Ends the message's span: this version of the guest is done with it.
    pub(crate) fn end_span(&mut self, version: u32, outcome: &Outcome) {
        if let Some(traced) = &mut self.traced {
            traced.end(version, outcome);
        }
    }

    /// Settles the message: whoever waits for a reply gets it, or an error, if the guest may answer there.
    pub(crate) async fn settle(mut self, outcome: Outcome, policy: &Policy) {
        self.settling = true;
        let answer = match outcome {
            Outcome::Handled(None) => return,
            Outcome::Handled(Some(reply)) => Ok(reply),
            Outcome::Failed(failure) => Err(failure),
        };
        let Some(reply_to) = &self.reply_to else {
            return;
        };
        let counters = &self.context.counters;
        match self.answer(reply_to, answer, policy).await {
            Ok(()) => counters.replied.add_one(),
            Err(error) => {
                counters.replies_failed.add_one();
                let failed = counters.replies_failed.get();
                // One line at 1, 2, 4, 8 …: senders choose where replies go.
                if failed.is_power_of_two() {
                    let guest = &self.context.guest;
                    tracing::error!(%guest, subject = %self.subject, failed, "the reply could not be sent: {error}");
                }
            }
        }
    }

    async fn answer(
        &self,
        reply_to: &Subject,
        answer: Result<Reply, Failure>,
        policy: &Policy,
    ) -> Result<(), Error> {
        // The sender chose where the answer goes, but it goes with the host's rights.
        let checked = policy.check_reply(reply_to);
        checked.map_err(|denied| Error::Invalid(denied.to_string()))?;
        let reply = answer.unwrap_or_else(|failure| service_error(&failure));
        let sent = self.send(reply_to, reply).await;
        if let Err(Error::Invalid(_) | Error::TooLarge(_)) = sent {
            // Whoever waits learns at least that nothing will come.
            let reason = "the handler's reply is not allowed".into();
            let failure = Failure::new(FailureKind::Trap(TrapCause::Code), reason);
            self.send(reply_to, service_error(&failure)).await?;
        }
        sent
    }

    async fn send(&self, reply_to: &Subject, reply: Reply) -> Result<(), Error> {
        let headers = to_wire(reply.headers, self.trace())?;
        self.context
            .connection
            .publish(reply_to.clone(), None, headers, reply.payload)
            .await
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if !self.settling {
            self.context.refuse(self.reply_to.as_ref(), ABANDONED);
        }
    }
}

impl SubscriptionContext {
    fn refuse(&self, reply_to: Option<&Subject>, reason: &str) {
        if let Some(reply_to) = reply_to {
            self.refusals.answer(&self.connection, reply_to, reason);
        }
    }
}

/// The answer to whoever waits for a message that failed.
fn service_error(failure: &Failure) -> Reply {
    let (code, words) = error_answer(failure);
    error_reply(code, words)
}

/// The code and the words of a failure, as its sender hears them. The numbers are HTTP's, as services on NATS use them.
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>
fn error_answer(failure: &Failure) -> (u16, &str) {
    match failure.kind {
        // What a guest says of itself is for its senders; what is wrong inside it is for its operator.
        FailureKind::Reject => (400, &failure.reason),
        FailureKind::Retry(_) => (503, &failure.reason),
        FailureKind::Trap(_) => (500, "the handler failed"),
        FailureKind::Timeout => (504, "the handler took too long"),
        FailureKind::NotStarted => (503, "the handler cannot run now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_hears_what_a_guest_says_of_itself_and_not_what_is_wrong_inside_it() {
        let heard = |kind| {
            let failure = Failure::new(kind, "no such order".to_owned());
            let (code, words) = error_answer(&failure);
            (code, words.to_owned())
        };
        let own = "no such order".to_owned();
        assert_eq!(heard(FailureKind::Reject), (400, own.clone()));
        assert_eq!(heard(FailureKind::Retry(None)), (503, own));
        for (kind, code) in [
            (FailureKind::Trap(TrapCause::Code), 500),
            (FailureKind::Timeout, 504),
            (FailureKind::NotStarted, 503),
        ] {
            let (answered, words) = heard(kind);
            assert_eq!(answered, code, "{kind:?}");
            assert!(words.starts_with("the handler"), "{words}");
        }
    }
}
