//! The imports' side of an instance: what they may use, and whose message it handles.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::ResourceTable;

use crate::config::BucketSettings;
use crate::connection::Connection;
use crate::connector::Connector;
use crate::headers::{FIELD_BYTES, MAX_HEADER_BYTES};
use crate::metrics::GuestCounters;
use crate::policy::Policy;
use crate::protocol::subject::{MAX_QUEUE_BYTES, MAX_SUBJECT_BYTES};
use crate::self_subscribe::SelfSubscribe;
use crate::trace::TraceHeaders;

/// Bytes that a call may hand over beyond the largest payload that the server takes: a payload that is too large by less is
/// answered by `too-large`, as more than that is a trap before anybody could answer. It is also plenty for WASI's streams,
/// which take 64 KiB at once, where the server takes little.
const BEYOND_PAYLOAD_BYTES: usize = 1024 * 1024;

/// The most bytes of all the other parts of a call, in any function: the subject of a message, that of its reply
/// and the name of a queue group, or a key and a bucket's description, which are less than 4 KiB each.
const NAMES_BYTES: usize = 2 * MAX_SUBJECT_BYTES + MAX_QUEUE_BYTES + 8 * 1024;

/// The most bytes of header fields as they are handed over: their bytes, and two strings for each, of which the shortest has
/// a name of one byte and no value.
const HEADERS_BYTES: usize =
    MAX_HEADER_BYTES + MAX_HEADER_BYTES / (FIELD_BYTES + 1) * size_of::<(String, String)>();

/// Shared by the imports of all instances of one version of a guest.
pub(crate) struct ImportContext {
    /// The rights that every call of the guest is checked against.
    pub(crate) policy: Policy,
    /// The host's connection, on which guests publish and send requests.
    pub(crate) connection: Connection,
    /// A connector over the host's connection, by which buckets are opened.
    pub(crate) connector: Connector,
    /// The bucket that the guest means where it names none.
    pub(crate) default_bucket: String,
    /// The buckets whose settings are the operator's.
    pub(crate) bucket_settings: BTreeMap<String, BucketSettings>,
    /// The guest's counters, which its versions share.
    pub(crate) counters: Arc<GuestCounters>,
    /// The subscriptions that the version makes by itself.
    pub(crate) subscriptions: Arc<dyn SelfSubscribe>,
}

impl ImportContext {
    /// The most bytes that a guest may hand over in one call: those of the largest call that can succeed, with some room
    /// for payloads that cannot, so that they are answered. Copying more than that would hold up others for nothing.
    pub(crate) fn max_bytes_per_call(&self) -> usize {
        max_bytes_per_call(self.connection.max_payload())
    }
}

fn max_bytes_per_call(max_payload: usize) -> usize {
    max_payload.saturating_add(BEYOND_PAYLOAD_BYTES + HEADERS_BYTES + NAMES_BYTES)
}

/// The imports' side of one instance.
pub(crate) struct Ctx {
    /// The rights and the connection that all instances of the version share.
    pub(super) shared: Arc<ImportContext>,
    /// The subject on which the sender of the current message waits for its reply.
    pub(super) reply_to: Option<String>,
    /// Trace headers for everything that the guest sends while it handles the current message.
    pub(super) trace: Option<TraceHeaders>,
}

impl Ctx {
    /// An instance that has handled nothing yet.
    pub(crate) fn new(shared: Arc<ImportContext>) -> Self {
        Self {
            shared,
            reply_to: None,
            trace: None,
        }
    }

    /// Begins a message whose sender waits on this subject, in this trace.
    pub(crate) fn begin_message(&mut self, reply_to: Option<String>, trace: Option<TraceHeaders>) {
        self.reply_to = reply_to;
        self.trace = trace;
    }
}

/// The view of an instance that an interface's functions work on.
pub(crate) struct CtxView<'a> {
    /// The imports' side of the instance: its rights, and the reply subject and trace of its message.
    pub(crate) ctx: &'a mut Ctx,
    /// The instance's table of resources, where buckets are kept that the guest has open.
    pub(crate) table: &'a mut ResourceTable,
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
