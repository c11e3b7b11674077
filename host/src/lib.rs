//! **wharf** runs sandboxed WebAssembly message handlers, *guests*, on NATS, over one connection.

pub mod config;
mod connection;
mod connector;
mod error;
mod server;

pub use connection::{ConnectError, ConnectionCounters, ConnectionState, Refusal, StoreAck};
pub use connector::{Bucket, Connector, Entry, RawSubscription, Received, StoreOptions, Subscription};
pub use error::Error;
pub use server::{Server, ServerError};
