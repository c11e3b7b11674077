//! Errors of connecting.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

/// An error of connecting, named for what the caller does next. No text of it has a password, a token or a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings name no server: name one.
    #[error("no NATS server is named")]
    NoServer,
    /// A server's address cannot be used: correct it.
    #[error("the NATS server '{server}' {reason}")]
    Address {
        /// The address, without user and password.
        server: String,
        /// The problem, worded to follow the address in a sentence.
        reason: String,
    },
    /// A credentials, NKey or TLS file that the settings name cannot be used: put a readable, valid file there, or name
    /// another one.
    #[error("cannot use {what} {}: {reason}", path.display())]
    File {
        /// The purpose of the file, such as "the TLS key".
        what: &'static str,
        /// The file's path, as the settings have it.
        path: PathBuf,
        /// The problem with the file.
        reason: String,
    },
    /// Settings that do not go together, which the text names: change one of them.
    #[error("{0}")]
    Settings(String),
    /// No server could be connected to: start one, correct the credentials, or try again later. The reasons say which.
    #[error("cannot connect to NATS{}", refusals(.0))]
    Refused(Vec<Refusal>),
    /// The connection's thread could not be started, or ended before it had connected: free resources of the system, and
    /// try again.
    #[error("cannot start a thread for the connection to NATS")]
    Thread(#[source] io::Error),
    /// The relay of the filter cannot listen on the loopback interface: make that possible, or do without the filter.
    #[error(
        "cannot listen on 127.0.0.1 for the filter of the connection to NATS (set its filter to \"never\" to do without)"
    )]
    Relay(#[source] io::Error),
}

/// The reason why one server could not be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The server's address, without user and password.
    pub server: String,
    /// The problem, in the server's words or the client's.
    pub reason: String,
}

/// Renders the refusals as the end of an error's text.
fn refusals(all: &[Refusal]) -> String {
    all.iter().enumerate().fold(
        String::new(),
        |mut text, (index, Refusal { server, reason })| {
            let separator = if index == 0 { ": " } else { "; " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{server}: {reason}");
            text
        },
    )
}
