//! **wharf** runs sandboxed WebAssembly message handlers, *guests*, on NATS, over one connection.
//!
//! [`Host`] runs guests; [`Connector`] is publish/subscribe and key/value for Rust callers over the same connection;
//! [`config`] has the settings of both. The `wharf` command is one program built on this library.
//!
//! The modules, in reading order: the product first, then what it stands on. ARCHITECTURE.md is the map.
//!
//! | module | what |
//! |---|---|
//! | `dispatch` | A message and a guest → an outcome. Begin here |
//! | `message` | What a guest is given, and what became of it: plain data |
//! | `queue` | The messages that wait for one guest |
//! | `trigger` | Where a guest's messages come from, and how their senders are answered |
//! | `guest` | Components compiled, instantiated, called, and held to their limits |
//! | `guest_log` | The log of a guest: bounded in lines and bytes a second |
//! | `imports` | What guests may call: policy, then NATS |
//! | `policy` | What a guest may do. Pure |
//! | `canary_analysis` | Whether a canary fails too often: counts |
//! | `rollout` | What guests are desired to be → what runs: load, replace, canary, unload |
//! | `component` | Where components come from: files and object stores |
//! | `host` | The host: puts the modules together, and takes them apart in the right order |
//! | `admin` | Questions and orders of operators over NATS, and who carries them out |
//! | `http` | `/livez`, `/readyz`, `/metrics` |
//! | `status` | A host and its guests at one moment: one model for all who show it |
//! | `metrics` | Counts, gauges and distributions |
//! | `trace` | One span for each message |
//! | `config` | Settings: as they are written → as they are meant |
//! | `connector` | Publish, subscribe and key/value for Rust callers |
//! | `connection` | The one connection to NATS |
//! | `nats_server` | A nats-server of our own, as a child process |
//! | `protocol` | Rules of NATS, and of wharf on it, that several modules share. Pure |
//! | `headers` | Headers as guests write them ↔ as they travel |
//! | `self_subscribe` | A guest that subscribes itself: the trait between `imports` and `trigger` |
//! | `error` | The error that every operation on NATS has in common |
//! | `listed` | Enums that know all of their variants |
//! | `lock` | Locks that outlive a panic |
//! | `random` | Numbers that nobody can guess |
//! | `task` | Tasks and their ends |
//! | `fuzzing` | What fuzzers call; there for them alone |

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
#[cfg(test)]
mod fuzz;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod guest_log;
mod headers;
mod host;
mod http;
mod imports;
mod listed;
mod lock;
mod message;
mod metrics;
mod nats_server;
mod policy;
mod protocol;
mod queue;
mod random;
mod rollout;
mod self_subscribe;
mod status;
mod task;
mod trace;
mod trigger;

pub use component::{ComponentChanges, FetchError};
pub use connection::{
    ConnectError, ConnectionCounters, ConnectionState, MalformedCause, MalformedCounts, PublishAck,
    Refusal,
};
pub use connector::{
    Bucket, Connector, Entry, RawSubscription, Received, StoreOptions, Subscription,
};
pub use error::Error;
pub use guest::{GuestStartError, ImportedInterface, Inspection, LoadError, inspect};
pub use host::{Host, HostBuilder, StartError};
pub use imports::GrantError;
pub use imports::offered::{INTERFACES, Interface, InterfaceRole};
pub use message::OutcomeKind;
pub use metrics::GuestStats;
pub use nats_server::{Server, ServerError};
pub use policy::Grant;
pub use rollout::{Applied, ChangeError, DrainReport, GuestError};

pub use status::{CanaryStatus, GuestStatus};
