//! Settings of the host itself, and of what operators see of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Settings of the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// The directory in which a nats-server that the host starts itself keeps its data. `None` is `.wharf` in the working
    /// directory.
    pub data: Option<PathBuf>,
    /// The directory of compiled components. `None` is the user's cache directory.
    pub cache: Option<PathBuf>,
    /// The host's name among others: one token of a subject, and nobody else's. `None` is the machine's name and a few
    /// random letters.
    pub name: Option<String>,
    /// Subjects, with wildcards, that answers may go to, whoever asks for them there: the host publishes them with its own
    /// rights, which a sender may not have. `_INBOX.>` by default, where clients wait for replies. An answer to another
    /// subject takes a grant of the guest to publish there. None ever goes to `$…` or `wharf.admin.…`.
    pub replies: Vec<String>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            data: None,
            cache: None,
            name: None,
            replies: vec!["_INBOX.>".to_owned()],
        }
    }
}

impl HostSettings {
    /// The directory of a nats-server that the host starts itself: [`data`](Self::data), or `.wharf` in the working
    /// directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new(".wharf"))
    }

    /// The directory of compiled components: [`cache`](Self::cache), or `wharf` in the user's cache directory. `None` if
    /// the environment names neither that nor the user's home.
    #[must_use]
    pub fn cache_dir(&self) -> Option<PathBuf> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        self.cache.clone().or_else(|| {
            Some(
                set("XDG_CACHE_HOME")
                    .or_else(|| Some(set("HOME")?.join(".cache")))?
                    .join("wharf"),
            )
        })
    }
}

/// Orders from operators over NATS: see [`crate::admin`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdminSettings {
    /// Carry orders out that come on `wharf.admin.<name>.…`.
    pub enabled: bool,
    /// Directories from which orders may load components, with those below them. From elsewhere on the host they load none;
    /// from object stores they may.
    pub components: Vec<PathBuf>,
    /// Directories that orders may grant to guests, with those below them.
    pub dirs: Vec<PathBuf>,
}

/// The collector of traces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpSettings {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`. `None` records no traces.
    pub endpoint: Option<String>,
}

/// The HTTP server of `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HttpSettings {
    /// The address to listen on; port 0 lets the system choose one. `None` is no HTTP server. Whoever can connect may read
    /// it all.
    pub listen: Option<SocketAddr>,
}
