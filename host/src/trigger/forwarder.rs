//! The task of one subscription: forwards what arrives into the guest's queue at once, on the connection's own thread.
//!
//! The client would drop messages of a slow reader without saying whose they were. What does not fit into the queue is
//! dropped here, counted for the guest, and its sender told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::gate::GateWaiter;
use super::incoming::{Incoming, SubscriptionContext};
use crate::connection::Inbound;
use crate::protocol::reserved::is_reserved;
use crate::queue::Queue;

/// The bytes of a waiting message beside its own: the structures that hold it.
const MESSAGE_OVERHEAD_BYTES: usize = size_of::<Incoming>();

/// The bytes that each name of a message's headers takes beside its text: its entry in a `HashMap`, of whose places up to
/// 9/16 are empty, and two allocations, of 16 bytes of the allocator's own each.
const HEADER_NAME_BYTES: usize = 16 * (size_of::<(HeaderName, Vec<HeaderValue>)>() + 1) / 7 + 32;

/// The bytes that each value takes beside its text: its place in a vector, of which up to half is empty, and an allocation.
const HEADER_VALUE_BYTES: usize = 2 * size_of::<HeaderValue>() + 16;

/// The messages that wait before payloads are copied. A payload is a slice of the buffer that it was read into, which it
/// keeps alive, 64 KiB at a time: cheap for a few messages, but behind so many a queue would hold more than its bytes.
const COPY_BEHIND: usize = 64;

/// Forwards the messages of one subscription.
pub(super) struct Forwarder {
    /// The guest's queue.
    pub(super) queue: Arc<Queue<Incoming>>,
    /// The bytes of prefix that the guest does not see of the subjects. A version may have another prefix than the last.
    pub(super) prefix_bytes: Arc<AtomicUsize>,
    /// The guest's name, connection and counters, which each message gets a handle to.
    pub(super) context: Arc<SubscriptionContext>,
}

impl Forwarder {
    /// Runs until the subscription ends. Behind a gate that is never opened nothing is forwarded: the messages are nobody's.
    pub(super) async fn run(self, mut inbound: Inbound, gate: Option<GateWaiter>) {
        if let Some(gate) = gate {
            let refuse = |message| {
                if let Some(incoming) = self.receive(message) {
                    self.drop_for_want_of_room(incoming);
                }
            };
            let Some(held) = gate.hold(&mut inbound, refuse).await else {
                return;
            };
            held.into_iter().for_each(|message| self.take(message));
        }
        while let Some(message) = inbound.next().await {
            self.take(message);
        }
    }

    fn take(&self, mut message: async_nats::Message) {
        if self.queue.len() >= COPY_BEHIND {
            message.payload = Bytes::copy_from_slice(&message.payload);
        }
        let bytes = held_bytes(&message);
        let Some(incoming) = self.receive(message) else {
            return;
        };
        if let Err(incoming) = self.queue.push(incoming, bytes) {
            self.drop_for_want_of_room(incoming);
        }
    }

    /// Counts a message, unless it is not the guest's: a subscription to `>` hears the server's own subjects, too.
    fn receive(&self, message: async_nats::Message) -> Option<Incoming> {
        if is_reserved(&message.subject) {
            return None;
        }
        self.context.counters.received.add_one();
        let prefix_bytes = self.prefix_bytes.load(Ordering::Relaxed);
        let context = Arc::clone(&self.context);
        Some(Incoming::new(message, prefix_bytes, context))
    }

    fn drop_for_want_of_room(&self, incoming: Incoming) {
        incoming.refuse("the guest does not keep up: its queue is full");
        let counters = &self.context.counters;
        counters.dropped.add_one();
        let dropped = counters.dropped.get();
        // One line at 1, 2, 4, 8 …: a flood of messages must not become one of log lines.
        if dropped.is_power_of_two() {
            let guest = &self.context.guest;
            tracing::warn!(%guest, dropped, "the guest does not keep up: its queue is full, messages are dropped");
        }
    }
}

/// The bytes that a waiting message holds, about.
fn held_bytes(message: &async_nats::Message) -> usize {
    let of_headers = |headers: &HeaderMap| {
        let values: usize = headers.iter().map(|(_, values)| values.len()).sum();
        headers.len() * HEADER_NAME_BYTES + values * HEADER_VALUE_BYTES
    };
    let headers = message.headers.as_ref().map_or(0, of_headers);
    message.length + headers + MESSAGE_OVERHEAD_BYTES
}

/// Waits until what had arrived on a stopped subscription is in the queue.
pub(super) async fn forwarded(guest: &str, forwarder: &mut JoinHandle<()>, deadline: Instant) {
    let ended = match timeout_at(deadline, &mut *forwarder).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            // While there is no server the client may take no orders: then a subscription has no end.
            tracing::warn!(%guest, "a subscription could not be ended: it is cut off");
            forwarder.abort();
            forwarder.await
        }
    };
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%guest, "the task of a subscription has panicked: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with this many headers, of different names or of one.
    fn message(names: usize, values: usize) -> async_nats::Message {
        let mut headers = HeaderMap::new();
        for name in 0..names {
            (0..values).for_each(|_| headers.append(format!("{name:03}"), ""));
        }
        async_nats::Message {
            subject: "a".into(),
            reply: None,
            payload: Bytes::new(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 1 + names * values * "abc:\r\n".len(),
        }
    }

    #[test]
    fn headers_count_with_what_they_hold() {
        // A map of 1000 names has 2048 places of 57 bytes; each name and each vector of values is an allocation of at
        // least 32 bytes.
        let held = 2048 * 57 + 1000 * 64;
        let counted = held_bytes(&message(1000, 1));
        assert!((held..3 * held).contains(&counted), "{counted} of {held}");
        // One vector of 1024 places of 24 bytes.
        let held = 1024 * 24;
        let counted = held_bytes(&message(1, 1000));
        assert!((held..4 * held).contains(&counted), "{counted} of {held}");
        let none = held_bytes(&message(0, 0));
        assert_eq!(none, 1 + MESSAGE_OVERHEAD_BYTES);
    }
}
