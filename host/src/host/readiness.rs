//! Readiness: whether a host's guests receive messages, and its status, for whoever asks over HTTP.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::connection::{Connection, ConnectionState};
use crate::http::Observed;
use crate::rollout::RunningGuests;
use crate::status::HostStatus;

/// A host's readiness, from its start to its end.
#[derive(Default)]
pub(super) struct Readiness {
    /// Set once there is a connection.
    running: OnceLock<(Connection, Arc<RunningGuests>)>,
    /// Set once all guests of the configuration are in service.
    all_in_service: AtomicBool,
}

impl Readiness {
    /// Begins to observe a host.
    pub(super) fn watch(&self, connection: &Connection, guests: &Arc<RunningGuests>) {
        // Once a host: there is nothing to replace.
        let _ = self.running.set((connection.clone(), Arc::clone(guests)));
    }

    /// Notes that all guests of the configuration are in service.
    pub(super) fn all_in_service(&self) {
        self.all_in_service.store(true, Ordering::Release);
    }
}

impl Observed for Readiness {
    fn ready(&self) -> Result<(), String> {
        let Some((connection, guests)) = self.running.get() else {
            return Err("the host is starting".into());
        };
        if guests.are_stopping() {
            return Err("the host is stopping".into());
        }
        match &*connection.state().borrow() {
            ConnectionState::Connected => {}
            ConnectionState::Disconnected => {
                return Err("there is no connection to NATS now".into());
            }
            ConnectionState::Lost(why) => {
                return Err(format!("the connection to NATS is lost: {why}"));
            }
            ConnectionState::Closed => return Err("the connection to NATS is closed".into()),
        }
        if self.all_in_service.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("guests are starting".into())
        }
    }

    fn status(&self) -> HostStatus {
        self.running
            .get()
            .map_or_else(HostStatus::default, |(connection, guests)| HostStatus {
                guests: guests.status(),
                instances: guests.instances(),
                connection: Some((connection.state().borrow().clone(), connection.counters())),
            })
    }
}
