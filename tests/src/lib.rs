//! What the end-to-end tests share: real nats-servers, the ways to authenticate with them, and waiting for events.

mod built;
mod jwt;
pub mod probe;
pub mod raw;
mod server;
mod tls;
mod wait;
pub mod walls;
pub mod wharf;

pub use built::{component, program, target, workspace};
pub use jwt::{JwtUser, Operator};
pub use server::{TestServer, nats_server};
pub use tls::{Authority, Identity};
pub use wait::{PATIENCE, soon, until};
pub use wharf::{Ended, Wharf};

/// The README's example of a program that embeds the host compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
