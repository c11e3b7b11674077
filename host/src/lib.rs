//! **wharf** runs sandboxed WebAssembly message handlers, *guests*, on NATS, over one connection.

pub mod config;
mod connection;
mod connector;
mod error;
mod server;

pub use error::Error;
