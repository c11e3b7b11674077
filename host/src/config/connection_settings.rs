//! Settings of the connection: every value is valid, every default is filled in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::server_url::Redacted;

/// Settings of the connection to NATS, and of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// The servers to connect to.
    pub servers: Servers,
    /// The times that every server is tried after a connection was lost. `None` is unlimited, 0 is never.
    pub max_reconnect: Option<u32>,
    /// The wait between two passes over the servers; a little jitter is added. The first attempt after a connection that
    /// was up for so long is at once, after a shorter one it waits, too.
    pub reconnect_wait: Duration,
    /// The time that one server has to complete a handshake.
    pub connect_timeout: Duration,
    /// The time that a stop may take. What has not finished by then is abandoned, and reported.
    pub drain_timeout: Duration,
    /// Try the servers in random order instead of the order given.
    pub randomize: bool,
    /// The bucket of calls that name none.
    pub default_bucket: String,
    /// Put before every subject, unless a call or a guest says otherwise. Empty for none.
    pub prefix: String,
    /// The way to authenticate.
    pub auth: Auth,
    /// Certificates.
    pub tls: TlsSettings,
    /// The use of the filter for malformed messages.
    pub filter: FilterMode,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            servers: Servers::default(),
            max_reconnect: Some(5),
            reconnect_wait: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            randomize: true,
            default_bucket: "default".to_owned(),
            prefix: String::new(),
            auth: Auth::None,
            tls: TlsSettings::default(),
            filter: FilterMode::Auto,
        }
    }
}

/// The use of the filter, through which messages reach the client without what it cannot read.
///
/// Some malformed messages make the client drop its connection, others make it panic. While the filter is on, messages pass
/// it on a way through the loopback interface, which costs some speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FilterMode {
    /// On once the connection may have broken because of a message, or a message had too many headers. Off with the first
    /// break after an hour without any. The program needs a subscriber of `tracing`, from which the cause of a break is
    /// learned: without one every break switches the filter on.
    #[default]
    Auto,
    /// Always on. For programs that are compiled with `panic = "abort"`, which the first such message would end.
    Always,
    /// Never on: each such message interrupts the connection.
    Never,
}

/// The NATS servers to connect to.
#[derive(Clone, PartialEq, Eq)]
pub enum Servers {
    /// A nats-server that the host starts itself, and stops last. It keeps its data in [`HostSettings::data`](super::HostSettings::data).
    Own,
    /// Servers that run, as `nats://host:port` or `tls://host:port`. At least one.
    At(Vec<String>),
}

impl Default for Servers {
    fn default() -> Self {
        Self::At(vec!["nats://127.0.0.1:4222".to_owned()])
    }
}

impl From<&str> for Servers {
    fn from(server: &str) -> Self {
        Self::At(vec![server.to_owned()])
    }
}

impl From<String> for Servers {
    fn from(server: String) -> Self {
        Self::At(vec![server])
    }
}

impl From<Vec<String>> for Servers {
    fn from(servers: Vec<String>) -> Self {
        Self::At(servers)
    }
}

/// Servers are printed without the passwords that their URLs may carry.
impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("Own"),
            Self::At(servers) => f.debug_tuple("At").field(&Redacted(servers)).finish(),
        }
    }
}

/// The one way in which the host authenticates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// Not at all, or with what a server's URL carries.
    #[default]
    None,
    /// A `.creds` file: a user JWT and the NKey seed that belongs to it.
    Credentials(PathBuf),
    /// A file with an NKey user seed (`SU…`).
    NkeyFile(PathBuf),
    /// A token.
    Token(Secret),
    /// A user name and its password.
    UserPassword {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps a value from being printed.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Certificates, as PEM files. Naming any of them makes TLS a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// The client's certificate. Given together with its key.
    pub cert: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
    /// The authorities that may have signed the server's certificate, instead of the system's.
    pub ca: Option<PathBuf>,
}
