//! Gates: behind one wait the messages of subscriptions that begin for a version that is not in service yet.
//!
//! They are read as they arrive and held here, within the bounds of the guest's queue: the client would hold many more,
//! whatever their size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;

/// The bytes of a held message beside its own.
const MESSAGE_OVERHEAD_BYTES: usize = size_of::<async_nats::Message>();

/// A gate, as those see it who open it. Dropped unopened, the messages behind it are nobody's.
#[derive(Debug)]
pub(super) struct GateOpener {
    /// The sender of true, which opens the gate. Dropped before, it ends the wait of all.
    opener: watch::Sender<bool>,
    /// The room behind the gate, shared by all its subscriptions.
    room: Arc<Room>,
}

/// A gate, as one subscription behind it sees it.
#[derive(Debug)]
pub(super) struct GateWaiter {
    /// True once the gate is open.
    open: watch::Receiver<bool>,
    /// The room behind the gate.
    room: Arc<Room>,
}

/// The bounds of what waits behind one gate.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateBounds {
    /// The most messages.
    pub(super) max_messages: usize,
    /// The most bytes of them.
    pub(super) max_bytes: usize,
}

/// The room for messages behind one gate.
#[derive(Debug)]
struct Room {
    /// The most that is held.
    bounds: GateBounds,
    /// Messages that are held.
    messages: AtomicUsize,
    /// Bytes that the held messages count for.
    bytes: AtomicUsize,
}

impl GateOpener {
    /// A closed gate.
    pub(super) fn new(bounds: GateBounds) -> Self {
        let room = Room {
            bounds,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        };
        Self {
            opener: watch::Sender::new(false),
            room: Arc::new(room),
        }
    }

    /// The gate, as one more subscription behind it sees it.
    pub(super) fn waiter(&self) -> GateWaiter {
        GateWaiter {
            open: self.opener.subscribe(),
            room: Arc::clone(&self.room),
        }
    }

    /// Lets the messages go on.
    pub(super) fn open(self) {
        self.opener.send_replace(true);
    }
}

impl GateWaiter {
    /// Holds what arrives until the gate is open, and returns it. `None` if it is never opened. What there is no room for
    /// is given to `refuse`.
    pub(super) async fn hold(
        mut self,
        messages: &mut (impl Stream<Item = async_nats::Message> + Unpin),
        mut refuse: impl FnMut(async_nats::Message),
    ) -> Option<VecDeque<async_nats::Message>> {
        let mut held = VecDeque::new();
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                opened = self.open.wait_for(|is_open| *is_open) => {
                    return opened.is_ok().then_some(held);
                }
                message = messages.next(), if !is_over => match message {
                    Some(mut message) if self.room.take(&message) => {
                        // The buffer that it was read into is larger, and would be held with it.
                        message.payload = Bytes::copy_from_slice(&message.payload);
                        held.push_back(message);
                    }
                    Some(message) => refuse(message),
                    None => is_over = true,
                },
            }
        }
    }
}

impl Room {
    /// Takes room for a message. False if there is not enough.
    fn take(&self, message: &async_nats::Message) -> bool {
        let bytes = message.length + MESSAGE_OVERHEAD_BYTES;
        // All that share the room are tasks of one thread: between the look and the step nobody else takes any.
        let (messages, held) = (
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        );
        let GateBounds {
            max_messages,
            max_bytes,
        } = self.bounds;
        if messages >= max_messages || held.saturating_add(bytes) > max_bytes {
            return false;
        }
        self.messages.store(messages + 1, Ordering::Relaxed);
        self.bytes.store(held + bytes, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::sync::mpsc;

    use super::*;

    fn gate(max_messages: usize, max_bytes: usize) -> GateOpener {
        GateOpener::new(GateBounds {
            max_messages,
            max_bytes,
        })
    }

    fn message(bytes: usize) -> async_nats::Message {
        async_nats::Message {
            subject: "a".into(),
            reply: None,
            payload: vec![0; bytes].into(),
            headers: None,
            status: None,
            description: None,
            length: bytes,
        }
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_refused_at_once_and_the_rest_is_held() {
        let gate = gate(3, 10 * 1000);
        let (sender, mut refused) = mpsc::unbounded_channel();
        let (one, other) = (gate.waiter(), gate.waiter());
        // Five of one subscription, of which one is too large, then one of the other, which shares the room.
        let first = stream::iter([1, 2, 20_000, 3, 4].map(message));
        let mut first = first.chain(stream::pending());
        let mut second = stream::iter([5].map(message)).chain(stream::pending());
        let refuse =
            |message: async_nats::Message| sender.send(message.length).expect("it is heard");
        let opening = async {
            let mut lengths = Vec::new();
            while lengths.len() < 3 {
                lengths.extend(refused.recv().await);
            }
            gate.open();
            lengths
        };
        let held = async { one.hold(&mut first, refuse).await };
        let late = async { other.hold(&mut second, refuse).await };
        let (held, late, lengths) = tokio::join!(held, late, opening);
        let lengths_of = |held: Option<VecDeque<async_nats::Message>>| -> Vec<usize> {
            held.into_iter().flatten().map(|m| m.length).collect()
        };
        assert_eq!(lengths_of(held), [1, 2, 3]);
        assert_eq!(lengths_of(late), Vec::<usize>::new());
        assert_eq!(lengths, [20_000, 4, 5]);
    }

    #[tokio::test]
    async fn behind_a_gate_that_is_never_opened_messages_are_nobodys() {
        let gate = gate(10, 1 << 20);
        let waiter = gate.waiter();
        drop(gate);
        let mut messages = stream::iter([message(1)]).chain(stream::pending());
        assert!(waiter.hold(&mut messages, |_| {}).await.is_none());
    }
}
