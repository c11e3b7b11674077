//! What the client tells: into the state, the counters and the log.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Event, ServerError};

use super::client::Signs;
use super::locked;
use super::shared::Shared;

/// What can happen to every message is logged this often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Handles a client's events. Their queue is bounded, and what does not fit is lost.
pub(super) struct Events {
    shared: Arc<Shared>,
    /// What is known of the client besides.
    signs: Signs,
    slow_consumers: Seldom,
    server_errors: Seldom,
}

impl Events {
    pub(super) fn new(shared: &Arc<Shared>, signs: Signs) -> Self {
        Self {
            shared: Arc::clone(shared),
            signs,
            slow_consumers: Seldom::default(),
            server_errors: Seldom::default(),
        }
    }

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
        self.shared.inbox.allowed();
        if !self.signs.is_current() {
            return;
        }
        let again = self.shared.connects() > 1;
        self.shared.connected();
        tracing::info!(target: "wharf::connection", again, "connected to NATS");
    }

    fn slow_consumer(&self) {
        self.shared.slow_consumers.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.slow_consumers.now() {
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
        let is_ours = self.shared.inbox.refused(text);
        if !is_ours && let Some(left_out) = self.server_errors.now() {
            tracing::warn!(target: "wharf::connection", error = text, left_out, "the server reports an error");
        }
    }
}

/// Keeps a log line from repeating all the time.
#[derive(Default)]
struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// If it is time for the line: how often it was left out since the last one.
    fn now(&self) -> Option<u64> {
        let (last, left_out) = &mut *locked(&self.0);
        if last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            *left_out += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(left_out))
    }
}
