//! Does its worst, as the message says. A message is a `Deed` as JSON; the reply is what came of it, as text.

// A component's exports have names that native linkers refuse.
#![cfg(target_family = "wasm")]

mod deed;

use bindings::exports::wharf::nats::handler::{Delivery, Failure, Guest, Message, Reply};

// The generated code is unsafe where it meets the component's boundary.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package test:hostile;
            world hostile {
                include wharf:nats/guest@0.2.0;
                import wasi:cli/stdin@0.2.3;
                import wasi:cli/stdout@0.2.3;
                import wasi:clocks/monotonic-clock@0.2.3;
                import wasi:random/random@0.2.3;
                import wasi:random/insecure@0.2.3;
                import wasi:http/types@0.2.3;
            }
        ",
        path: ["../../../wit", "wit"],
        world: "test:hostile/hostile",
        generate_all,
    });
    export!(Hostile with_types_in self);
    use super::Hostile;
}

struct Hostile;

impl Guest for Hostile {
    fn handle(message: Message, _: Option<Delivery>) -> Result<Option<Reply>, Failure> {
        let deed = serde_json::from_slice(&message.payload)
            .map_err(|error| Failure::Reject(format!("not a deed: {error}")))?;
        Ok(Some(Reply {
            headers: Vec::new(),
            payload: deed::run(deed).into_bytes(),
        }))
    }
}
