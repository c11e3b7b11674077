//! **wharf** runs sandboxed WebAssembly message handlers, *guests*, on NATS, over one connection.
//!
//! [`Host`] runs guests; [`Connector`] is publish/subscribe and key/value for Rust callers over the same connection;
//! [`config`] has the settings of both. The `wharf` command is one program built on this library.
//!
//! The modules, in the order in which a message meets them: `config` → `host` puts together `connection`, `connector`,
//! `trigger` (where messages come from), `queue`, `dispatch`, `guest` (what runs them), `imports` (what they may call)
//! and `policy` (whether they may).

// Whoever embeds the library owns stdout and stderr.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
mod canary_analysis;
mod component;
pub mod config;
mod connection;
mod connector;
mod dispatch;
mod error;
mod guest;
mod headers;
mod host;
mod http;
mod imports;
mod lock;
mod message;
mod metrics;
mod policy;
mod protocol;
mod queue;
mod random;
mod rollout;
mod self_subscribe;
mod server;
mod status;
mod task;
mod trace;
mod trigger;

pub use component::{ComponentChanges, FetchError};
pub use connection::{ConnectError, ConnectionCounters, ConnectionState, Refusal, StoreAck};
pub use connector::{
    Bucket, Connector, Entry, RawSubscription, Received, StoreOptions, Subscription,
};
pub use error::Error;
pub use guest::{ImportedInterface, Inspection, LoadError, inspect};
pub use host::{Host, HostBuilder, StartError};
pub use metrics::GuestStats;
pub use rollout::{Applied, ChangeError, DrainReport, GuestError};
pub use server::{Server, ServerError};
pub use status::{CanaryStatus, GuestStatus};
