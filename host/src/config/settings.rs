//! Settings as they are meant: every value is valid, every default is filled in.
//!
//! [`super::Config`] makes them from files and the environment; a Rust program may make them directly.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::server_url::Redacted;
use super::{CanarySettings, ComponentSource};

/// How to reach NATS, and how to stop.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// The servers, as `nats://host:port` or `tls://host:port`. Never empty.
    pub servers: Vec<String>,
    /// How many times every server is tried after a connection was lost. `None` is unlimited, 0 is never.
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
    /// The bucket that is meant where none is named.
    pub default_bucket: String,
    /// Put before every subject, unless a call or a guest says otherwise. Empty for none.
    pub prefix: String,
    /// How to authenticate.
    pub auth: Auth,
    /// Certificates.
    pub tls: TlsSettings,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            max_reconnect: Some(5),
            reconnect_wait: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            randomize: true,
            default_bucket: "default".to_owned(),
            prefix: String::new(),
            auth: Auth::None,
            tls: TlsSettings::default(),
        }
    }
}

/// Servers are printed without the passwords that their URLs may carry.
impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSettings")
            .field("servers", &Redacted(&self.servers))
            .field("max_reconnect", &self.max_reconnect)
            .field("reconnect_wait", &self.reconnect_wait)
            .field("connect_timeout", &self.connect_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .field("randomize", &self.randomize)
            .field("default_bucket", &self.default_bucket)
            .field("prefix", &self.prefix)
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .finish()
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

/// What one guest runs, hears, may do and may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSettings {
    /// Where the component comes from.
    pub component: ComponentSource,
    /// Put before the guest's subjects instead of the host's prefix.
    pub prefix: Option<String>,
    /// The subjects that the host subscribes the guest to.
    pub subscribe: Vec<SubscriptionSettings>,
    /// The subjects that the guest may subscribe itself to.
    pub may_subscribe: Vec<SubjectGrant>,
    /// The subjects that the guest may publish on.
    pub publish: Vec<SubjectGrant>,
    /// The subjects that the guest may send requests to.
    pub request: Vec<SubjectGrant>,
    /// The buckets that the guest may use.
    pub buckets: BTreeMap<String, BucketAccess>,
    /// What the guest reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// How the guest's SDK writes values where the guest does not say.
    pub serializer: Serializer,
    /// The guest's environment variables.
    pub env: BTreeMap<String, String>,
    /// The directories that the guest sees.
    pub dirs: Vec<DirectoryGrant>,
    /// How many instances there are, and for how long.
    pub instances: Instances,
    /// What the guest may use up.
    pub limits: Limits,
    /// Another version of it, on trial.
    pub canary: Option<CanarySettings>,
}

impl GuestSettings {
    /// A guest that runs this component, hears nothing and may do nothing.
    pub fn new(component: impl Into<ComponentSource>) -> Self {
        Self {
            component: component.into(),
            prefix: None,
            subscribe: Vec::new(),
            may_subscribe: Vec::new(),
            publish: Vec::new(),
            request: Vec::new(),
            buckets: BTreeMap::new(),
            config: BTreeMap::new(),
            serializer: Serializer::default(),
            env: BTreeMap::new(),
            dirs: Vec::new(),
            instances: Instances::default(),
            limits: Limits::default(),
            canary: None,
        }
    }
}

/// One subscription of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSettings {
    /// The subject, with wildcards.
    pub subject: String,
    /// The queue group whose members share the messages.
    pub queue: Option<String>,
    /// Take the subject as it is, without a prefix.
    pub ignore_prefix: bool,
}

impl From<&str> for SubscriptionSettings {
    fn from(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            queue: None,
            ignore_prefix: false,
        }
    }
}

/// Subjects that a guest may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectGrant {
    /// The subjects, with wildcards. These never cover `$…`, `_INBOX.…` and `wharf.admin.…`.
    pub subject: String,
    /// Take the subject as it is, without a prefix.
    pub ignore_prefix: bool,
}

impl From<&str> for SubjectGrant {
    fn from(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            ignore_prefix: false,
        }
    }
}

/// What a guest may do with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketAccess {
    /// Read keys and values.
    Read,
    /// Read and write, and create the bucket where there is none.
    ReadWrite,
}

/// How values are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serializer {
    /// JSON.
    #[default]
    Json,
    /// MessagePack, with field names.
    Msgpack,
}

/// A directory of the host that a guest sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryGrant {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where the guest sees it.
    pub guest: String,
    /// What the guest may do there.
    pub access: DirectoryAccess,
}

/// What a guest may do in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryAccess {
    /// Read files and list directories.
    Read,
    /// Read, write, create and remove.
    ReadWrite,
}

/// Instances that may live at once, of all guests together. Each has its memories, tables and stack set aside, so that no
/// guest can use up what another was promised: the sum of the guests' [`Instances::max`] may not exceed it.
pub const MOST_INSTANCES: u32 = 1000;

/// How many instances of a guest there are, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instances {
    /// How many messages are handled at once, each by an instance of its own.
    pub max: NonZeroU32,
    /// How many messages one instance handles before it is replaced. 1 is a fresh one for every message.
    pub reuse: NonZeroU32,
}

impl Default for Instances {
    fn default() -> Self {
        const EIGHT: NonZeroU32 = NonZeroU32::new(8).expect("8 is not 0");
        const THOUSAND: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not 0");
        Self {
            max: EIGHT,
            reuse: THOUSAND,
        }
    }
}

/// What a guest may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All memories and tables of one instance together, in bytes.
    pub memory_bytes: u64,
    /// The time that one message may take, waiting included.
    pub time: Duration,
    /// How many messages may wait for an instance.
    pub queue_messages: usize,
    /// How many bytes the waiting messages may hold.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            time: Duration::from_secs(5),
            queue_messages: 65_536,
            queue_bytes: 64 << 20,
        }
    }
}

/// Settings of a bucket that the host creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// What the bucket is for.
    pub description: String,
    /// Revisions kept of each key, 1 to 64.
    pub history: u8,
    /// How long every value lives. `None` is for ever.
    pub ttl: Option<Duration>,
    /// How many servers keep a copy, 1 to 5.
    pub replicas: u8,
    /// Where the server keeps it.
    pub storage: Storage,
    /// Bytes that the whole bucket may take. `None` is no limit.
    pub max_bytes: Option<u64>,
    /// Bytes that one value may take. `None` is no limit but the server's.
    pub max_value_size: Option<u32>,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            description: String::new(),
            history: 1,
            ttl: None,
            replicas: 1,
            storage: Storage::File,
            max_bytes: None,
            max_value_size: None,
        }
    }
}

/// Where a server keeps a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory: gone when the server stops.
    Memory,
}

/// Settings of the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostSettings {
    /// Where a nats-server of our own keeps its data. `None` is `.wharf` in the working directory.
    pub data: Option<PathBuf>,
    /// Where compiled components are kept. `None` is the user's cache directory.
    pub cache: Option<PathBuf>,
    /// What the host is called among others: one token of a subject, and nobody else's. `None` is the machine's name and a
    /// few random letters.
    pub name: Option<String>,
    /// Do what is told on `wharf.admin.<name>.…`: see [`crate::admin`].
    pub admin: bool,
}

/// Where the host sends traces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpSettings {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`. `None` records no traces.
    pub endpoint: Option<String>,
}

/// What the host answers over HTTP: `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HttpSettings {
    /// Where it listens; port 0 lets the system choose one. `None` is nowhere. Whoever can connect may read it all.
    pub listen: Option<SocketAddr>,
}
