//! What `wit/` says, as Rust. Generated; only this folder sees it.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "wharf:nats/imports",
    imports: { default: async | trappable },
    with: { "wharf:nats/keyvalue.bucket": super::keyvalue::OpenBucket },
});

pub use self::wharf::nats::{jetstream, keyvalue, pubsub, types};
