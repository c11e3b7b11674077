//! Errors of starting a host.

use std::io;
use std::net::SocketAddr;

use crate::connection::ConnectError;
use crate::nats_server::ServerError;
use crate::rollout::{ChangeError, GuestError};

/// Errors of a host's start. What had been started has been stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address for HTTP cannot be listened on.
    #[error("cannot listen on {listen}, which `[http] listen` names")]
    Http {
        /// The address.
        listen: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A nats-server of our own did not start.
    #[error("cannot start a nats-server of our own")]
    Server(#[source] ServerError),
    /// No server could be reached, or none let us in.
    #[error(transparent)]
    Connect(ConnectError),
    /// A guest did not come into service.
    #[error("cannot start guest {name:?}")]
    Guest {
        /// The guest's name.
        name: String,
        /// The reason.
        source: GuestError,
    },
    /// More instances are to be set aside for the guests than the host has.
    #[error(
        "{asked} instances are to be set aside for the guests, and the host has {instances}: lower `instances.min` of some, \
         or raise `[host] instances`"
    )]
    TooManyInstances {
        /// The sum of their `instances.min`.
        asked: u64,
        /// The host's instances.
        instances: u32,
    },
    /// Traces cannot be sent as the settings say.
    #[error("cannot export traces")]
    Traces(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The machine refused what it takes to run guests: threads or memory.
    #[error("cannot set up what runs guests")]
    Machine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<ChangeError> for StartError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Guest { name, source } => Self::Guest { name, source },
            other => Self::Machine(other.into()),
        }
    }
}
