use std::fmt::Write;
use std::io;
use std::path::PathBuf;

/// Why there is no connection. Never says a password, a token or a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings name no server.
    #[error("no NATS server is named")]
    NoServer,
    /// A server's address cannot be used.
    #[error("the NATS server '{server}' {reason}")]
    Address {
        /// The address, without what it says of users.
        server: String,
        /// What is wrong with it, continuing a sentence that begins with it.
        reason: String,
    },
    /// A file that the settings name cannot be used.
    #[error("cannot use {what} {}: {reason}", path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Settings(String),
    /// No server could be connected to.
    #[error("cannot connect to NATS{}", refusals(.0))]
    Refused(Vec<Refusal>),
    /// The thread for the connection could not be started.
    #[error("cannot start a thread for the connection to NATS")]
    Thread(#[source] io::Error),
}

/// Why one server could not be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The server.
    pub server: String,
    /// What went wrong.
    pub reason: String,
}

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
