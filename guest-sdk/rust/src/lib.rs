//! Guests for wharf: sandboxed handlers of NATS messages, in Rust.
//!
//! ```no_run
//! use wharf_guest::prelude::*;
//!
//! #[derive(serde::Deserialize, serde::Serialize)]
//! struct Order {
//!     id: String,
//!     count: u32,
//! }
//!
//! #[wharf_guest::handler]
//! fn handle(order: Order) -> Result<()> {
//!     publish("alerts.new", &order)?;
//!     kv::bucket("orders")?.set(&order.id, &order)?;
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! A guest is a library with `crate-type = ["cdylib"]`, built with `cargo build --target wasm32-wasip2`.
//!
//! A handler takes the payload as any type that serde can deserialize, the message itself as [`&Message`](Message), or
//! both. What it returns is the reply, to a sender who waits for one: `()` or `None` is none. An error says that the
//! message was not handled, and [`Error`] says whether to try again.
//!
//! Values are JSON, or MessagePack: for one value with [`Msgpack`], for a guest with the feature `msgpack`, and where
//! the guest does not say, by its host's `serializer` setting. [`Raw`] is bytes as they are.

mod bindings;
mod codec;
pub mod config;
mod error;
mod handler;
pub mod jetstream;
pub mod kv;
mod lifecycle;
pub mod log;
mod message;
mod pubsub;

pub use codec::{Decode, Encode, Json, Msgpack, Raw, Serializer, serializer};
pub use error::{CallError, CodecError, Error, Result};
pub use lifecycle::Lifecycle;
pub use message::{Delivery, FromMessage, Headers, IntoReply, Message, Reply};
pub use pubsub::{
    Publish, Request, Subscription, publish, publish_raw, request, subscribe, unsubscribe,
};
pub use wharf_guest_macros::{handler, lifecycle};

/// Names that most guests use.
pub mod prelude {
    pub use crate::{
        CallError, Error, Json, Lifecycle, Message, Msgpack, Raw, Reply, Result, config, jetstream,
        kv, log, publish, publish_raw, request, subscribe, unsubscribe,
    };
}

/// Items that the attributes expand to.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{handling, living};
    pub use crate::handler::{Handled, Handler, NotResult, Replies, Returned, argument};
    pub use crate::lifecycle::Lifecycle;
    pub use crate::message::Message;
}

/// Whole milliseconds, rounded up: a duration that is not zero must not become zero.
fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
