//! The client's events: into the connection's state, its counters and the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::{Event, ServerError};

use super::client_signs::ClientSigns;
use super::log_throttle::LogThrottle;
use super::shared::ConnectionShared;

/// Handles one client's events. The client's queue for them is bounded, and drops those that do not fit.
pub(super) struct EventHandler {
    /// The connection's state and counters.
    shared: Arc<ConnectionShared>,
    /// The client's signs: in use, ended.
    signs: ClientSigns,
    /// The throttle of the log line for a full queue.
    slow_consumers: LogThrottle,
    /// The throttle of the log line for an error that the server reports.
    server_errors: LogThrottle,
}

impl EventHandler {
    pub(super) fn new(shared: &Arc<ConnectionShared>, signs: ClientSigns) -> Self {
        Self {
            shared: Arc::clone(shared),
            signs,
            slow_consumers: LogThrottle::default(),
            server_errors: LogThrottle::default(),
        }
    }

    /// Handles one event.
    pub(super) fn handle(&self, event: Event) {
        match event {
            Event::Connected => self.connected(),
            // Learned, reliably, when the client asks where to reconnect.
            Event::Disconnected => {}
            Event::SlowConsumer(_) => self.slow_consumer(),
            Event::ServerError(error) => self.server_error(&error),
            Event::LameDuckMode => {
                self.shared.lame_ducks.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(target: "wharf::connection", "the server is about to stop (lame duck mode)");
            }
            Event::ClientError(error) => {
                tracing::debug!(target: "wharf::connection", %error, "client error")
            }
            other @ (Event::Draining | Event::Closed) => {
                tracing::debug!(target: "wharf::connection", event = %other, "client event");
            }
        }
    }

    fn connected(&self) {
        // Permissions may have changed with the connection.
        self.shared.inbox.forget_refusal();
        // The server may have told of others, or be one that the client was not told of.
        self.shared.pool_news.notify_one();
        if !self.signs.is_current() {
            return;
        }
        let again = self.shared.connects() > 1;
        self.shared.connected();
        tracing::info!(target: "wharf::connection", again, "connected to NATS");
    }

    fn slow_consumer(&self) {
        self.shared.slow_consumers.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.slow_consumers.pass() {
            tracing::warn!(
                target: "wharf::connection", left_out,
                "a subscription's queue is full: a message was dropped (slow consumer)"
            );
        }
    }

    fn server_error(&self, error: &ServerError) {
        self.shared.server_errors.fetch_add(1, Ordering::Relaxed);
        let ServerError::Other(text) = error else {
            tracing::warn!(target: "wharf::connection", %error, "the server reports an error");
            return;
        };
        let is_inbox = self.shared.inbox.note_refusal(text);
        if !is_inbox && let Some(left_out) = self.server_errors.pass() {
            tracing::warn!(target: "wharf::connection", error = text, left_out, "the server reports an error");
        }
    }
}
