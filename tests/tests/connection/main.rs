//! The connection, through the connector for Rust callers, against real servers.

mod another_client;
mod auth;
mod drain;
mod filter;
mod jetstream;
mod malformed;
mod own_server;
mod pubsub;
mod recovery;
mod tls;
