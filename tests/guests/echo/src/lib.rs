//! Answers a message with its own payload: the least that a guest can do, so what is measured is the host.

// A component's exports have names that native linkers refuse.
#![cfg(target_family = "wasm")]

use bindings::exports::wharf::nats::handler::{Delivery, Failure, Guest, Message, Reply};

// The generated code is unsafe where it meets the component's boundary.
#[allow(unsafe_code, missing_docs, unreachable_pub)]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "guest" });
    export!(Echo with_types_in self);
    use super::Echo;
}

struct Echo;

impl Guest for Echo {
    fn handle(message: Message, _: Option<Delivery>) -> Result<Option<Reply>, Failure> {
        Ok(Some(Reply {
            headers: Vec::new(),
            payload: message.payload,
        }))
    }
}
