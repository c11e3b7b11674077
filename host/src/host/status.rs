//! How a host does, for whoever asks from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::guests::Guests;
use crate::connection::{Connection, ConnectionState};
use crate::http::Subject;
use crate::metrics::Snapshot;

/// How a host does, from its start to its end.
#[derive(Default)]
pub(super) struct Status {
    running: OnceLock<(Connection, Arc<Guests>)>,
    all_in_service: AtomicBool,
}

impl Status {
    /// From here on there are figures.
    pub(super) fn watch(&self, connection: &Connection, guests: &Arc<Guests>) {
        // Once a host: there is nothing to replace.
        let _ = self.running.set((connection.clone(), Arc::clone(guests)));
    }

    /// All guests of the configuration have come into service.
    pub(super) fn all_in_service(&self) {
        self.all_in_service.store(true, Ordering::Release);
    }
}

impl Subject for Status {
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

    fn figures(&self) -> Snapshot {
        self.running
            .get()
            .map_or_else(Snapshot::default, |(connection, guests)| Snapshot {
                guests: guests.figures(),
                connection: Some((connection.state().borrow().clone(), connection.counters())),
            })
    }
}
