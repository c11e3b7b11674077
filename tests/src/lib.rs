//! What the end-to-end tests share: real nats-servers, the ways to authenticate with them, and waiting for events.

pub mod probe;
mod server;

pub use server::{TestServer, nats_server};

/// The README's example of a program that embeds the host compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
