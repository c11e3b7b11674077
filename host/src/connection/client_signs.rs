//! Facts about one client that must not be lost, as its events can be: whether it is in use, and whether it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Facts about one client, shared by the client's own task, its event handler and the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientSigns {
    /// The client's task has ended: nothing that is sent to it reaches a server any more.
    has_ended: Arc<AtomicBool>,
    /// The same fact, for those that wait for it.
    ended: CancellationToken,
    /// The connection's subscriptions are this client's: from now on the client's state is the connection's.
    in_use: Arc<AtomicBool>,
}

impl ClientSigns {
    /// A guard for the client's own task: its drop marks the client as ended.
    pub(super) fn end_guard(&self) -> ClientEndGuard {
        ClientEndGuard(self.clone())
    }

    /// Marks the client as the one that the connection uses.
    pub(super) fn put_in_use(&self) {
        self.in_use.store(true, Ordering::Release);
    }

    /// Whether the client's task has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Waits until the client's task has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether the client's state is the connection's.
    pub(super) fn is_current(&self) -> bool {
        self.in_use.load(Ordering::Acquire) && !self.has_ended()
    }
}

/// Marks the client as ended when it is dropped, which happens together with the client's own task, before anything that
/// is sent to that task fails.
#[derive(Debug)]
pub(super) struct ClientEndGuard(ClientSigns);

impl Drop for ClientEndGuard {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
        self.0.ended.cancel();
    }
}
