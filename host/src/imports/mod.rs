//! What guests import from us, one file for each interface of `wit/`: ask the policy, use the connector, answer with the
//! interface's error. A guest's mistake is an error that it gets; only a broken promise of ours is a trap.

mod bindings;
mod jetstream;
mod keyvalue;
mod pubsub;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use wasmtime::component::{HasData, Linker, ResourceTable};

use self::bindings::types;
use crate::config::BucketSettings;
use crate::connection::Connection;
use crate::connector::Connector;
use crate::error::Error;
use crate::headers::{FIELD_BYTES, MAX_HEADER_BYTES};
use crate::metrics::GuestCounters;
use crate::policy::{Action, Denied, Policy};
use crate::protocol::reserved::takes_orders;
use crate::protocol::subject::{MAX_QUEUE_BYTES, MAX_SUBJECT_BYTES, check_subject};
use crate::self_subscribe::SelfSubscribe;
use crate::trace::TraceHeaders;

/// The answer to an operation of a guest.
type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

/// How long an operation of a guest waits for the server's answer. A request may say otherwise.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// What a call may hand over beyond the largest payload that the server takes: a payload that is too large by less is
/// answered by `too-large`, as more than that is a trap before anybody could answer. It is also plenty for WASI's streams,
/// which take 64 KiB at once, where the server takes little.
const BEYOND_PAYLOAD_BYTES: usize = 1024 * 1024;

/// What all the other parts of a call may take, at the most in any function: the subject of a message, that of its reply
/// and the name of a queue group, or a key and a bucket's description, which are less than 4 KiB each.
const NAMES_BYTES: usize = 2 * MAX_SUBJECT_BYTES + MAX_QUEUE_BYTES + 8 * 1024;

/// What header fields take when they are handed over: their bytes, and two strings for each, of which the shortest has
/// a name of one byte and no value.
const HEADERS_BYTES: usize =
    MAX_HEADER_BYTES + MAX_HEADER_BYTES / (FIELD_BYTES + 1) * size_of::<(String, String)>();

/// What the imports of all instances of one guest share.
pub(crate) struct ImportContext {
    pub(crate) policy: Policy,
    pub(crate) connection: Connection,
    pub(crate) connector: Connector,
    /// The bucket that is meant where none is named.
    pub(crate) default_bucket: String,
    /// The buckets whose settings are the operator's.
    pub(crate) bucket_settings: BTreeMap<String, BucketSettings>,
    pub(crate) counters: Arc<GuestCounters>,
    pub(crate) subscriptions: Arc<dyn SelfSubscribe>,
}

impl ImportContext {
    /// The most bytes that a guest may hand over in one call: those of the largest call that can succeed, with some room
    /// for payloads that cannot, so that they are answered. Copying more than that would hold up others for nothing.
    pub(crate) fn max_bytes_per_call(&self) -> usize {
        max_bytes_per_call(self.connection.client().max_payload())
    }
}

fn max_bytes_per_call(max_payload: usize) -> usize {
    max_payload.saturating_add(BEYOND_PAYLOAD_BYTES + HEADERS_BYTES + NAMES_BYTES)
}

/// What the imports of one instance know.
pub(crate) struct Ctx {
    shared: Arc<ImportContext>,
    /// Where the sender of the message in hand waits for its reply.
    reply_to: Option<String>,
    /// What puts what the guest sends into the trace of the message in hand.
    trace: Option<TraceHeaders>,
}

impl Ctx {
    pub(crate) fn new(shared: Arc<ImportContext>) -> Self {
        Self {
            shared,
            reply_to: None,
            trace: None,
        }
    }

    /// From here on the guest handles a message whose sender waits here, in this trace.
    pub(crate) fn take_in_hand(&mut self, reply_to: Option<String>, trace: Option<TraceHeaders>) {
        self.reply_to = reply_to;
        self.trace = trace;
    }

    /// The subject as it travels, if the guest may do that with it. Answering the message in hand is always allowed.
    fn subject(
        &self,
        action: Action,
        subject: &str,
        ignore_prefix: bool,
    ) -> Result<Subject, types::Error> {
        check_subject(subject).map_err(types::Error::Invalid)?;
        let in_hand = self.reply_to.as_deref() == Some(subject) && !takes_orders(subject);
        if in_hand && action == Action::Publish {
            // Behind its prefix the guest may have a subject of that name. It means that one then: a sender must not be
            // able to divert what the guest publishes.
            let own = self.on_wire(subject, ignore_prefix);
            let is_granted = self.shared.policy.check(action, &own).is_ok();
            return Ok(if is_granted { own } else { subject.into() });
        }
        self.granted(action, subject, ignore_prefix)
    }

    /// The same for a subject that has been checked, and may have wildcards.
    fn granted(
        &self,
        action: Action,
        subject: &str,
        ignore_prefix: bool,
    ) -> Result<Subject, types::Error> {
        let on_wire = self.on_wire(subject, ignore_prefix);
        self.shared
            .policy
            .check(action, &on_wire)
            .map_err(|denied| self.denied(&denied))?;
        Ok(on_wire)
    }

    /// Whether the server takes a payload of this length, before anything is done with it.
    fn fits(&self, payload: &[u8]) -> Result<(), types::Error> {
        let most = self.shared.connection.client().max_payload();
        if payload.len() <= most {
            Ok(())
        } else {
            Err(types::Error::TooLarge(most as u64))
        }
    }

    fn on_wire(&self, subject: &str, ignore_prefix: bool) -> Subject {
        match self.shared.policy.prefix() {
            prefix if !ignore_prefix && !prefix.is_empty() => format!("{prefix}{subject}").into(),
            _ => subject.into(),
        }
    }

    fn denied(&self, denied: &Denied) -> types::Error {
        self.shared.counters.deny(denied.grant);
        tracing::debug!(target: "wharf::policy", "{denied}");
        types::Error::Denied(denied.to_string())
    }
}

/// What an interface's functions work on.
pub(crate) struct CtxView<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) table: &'a mut ResourceTable,
}

/// Names [`CtxView`] to the linker.
struct Nats;

impl HasData for Nats {
    type Data<'a> = CtxView<'a>;
}

/// Offers every interface of this folder to guests.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> CtxView<'_>,
) -> wasmtime::Result<()> {
    bindings::types::add_to_linker::<T, Nats>(linker, view)?;
    bindings::pubsub::add_to_linker::<T, Nats>(linker, view)?;
    bindings::jetstream::add_to_linker::<T, Nats>(linker, view)?;
    bindings::keyvalue::add_to_linker::<T, Nats>(linker, view)
}

impl types::Host for CtxView<'_> {}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(why) => Self::Invalid(why),
            Error::NotFound(what) => Self::NotFound(what),
            Error::Conflict => Self::Conflict,
            Error::Timeout => Self::Timeout,
            Error::NoResponders => Self::NoResponders,
            Error::TooLarge(most) => Self::TooLarge(most),
            Error::Unsupported(what) => Self::Unsupported(what),
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Failed(words) => Self::Failed(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_hand_over_what_the_largest_one_needs_and_not_much_more() {
        const MIB: usize = 1024 * 1024;
        let largest = |payload: usize| payload + HEADERS_BYTES + NAMES_BYTES;
        for payload in [0, 1000, MIB, 8 * MIB, 64 * MIB] {
            let most = max_bytes_per_call(payload);
            assert!(most >= largest(payload), "{payload}");
            assert!(most <= largest(payload) + MIB, "{payload}");
        }
        assert_eq!(max_bytes_per_call(usize::MAX), usize::MAX);
    }
}
