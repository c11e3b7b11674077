//! Does what the message says. A message is a `Step` as JSON; the reply is `{"ok": …}` or `{"error": {…}}`.
//!
//! When it starts and stops it runs the steps that its configuration has under `start` and `stop`.

// A component's exports have names that native linkers refuse.
#![cfg(target_family = "wasm")]

mod calls;
mod misbehave;
mod step;

use std::sync::atomic::{AtomicU64, Ordering};

use bindings::exports::wharf::nats::handler::{self, Delivery, Failure, Message, Reply, Retry};
use bindings::exports::wharf::nats::lifecycle;
use serde_json::{Value, json};

use step::Step;

// The generated code is unsafe where it meets the component's boundary.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package test:probe;
            world probe {
                include wharf:nats/service@0.2.0;
                import wasi:config/store@0.2.0-rc.1;
            }
        ",
        path: ["../../../wit", "wit"],
        world: "test:probe/probe",
        generate_all,
    });
    export!(Probe with_types_in self);
    use super::Probe;
}

/// How many messages this instance has been given.
static CALLS: AtomicU64 = AtomicU64::new(0);

struct Probe;

impl handler::Guest for Probe {
    fn handle(message: Message, delivery: Option<Delivery>) -> Result<Option<Reply>, Failure> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let step = match serde_json::from_slice(&message.payload) {
            Ok(step) => step,
            Err(error) => return Err(Failure::Reject(format!("not a step: {error}"))),
        };
        match step {
            Step::Silence => Ok(None),
            Step::Retry { reason, after } => Err(Failure::Retry(Retry { reason, after })),
            Step::Reject { reason } => Err(Failure::Reject(reason)),
            Step::Reply { headers, text } => Ok(Some(Reply {
                headers,
                payload: text.into_bytes(),
            })),
            Step::Describe => Ok(answer(Ok(describe(&message, delivery.is_some())))),
            step => Ok(answer(calls::run(step))),
        }
    }
}

impl lifecycle::Guest for Probe {
    fn start() -> Result<(), String> {
        steps("start")
    }

    fn stop() {
        if let Err(error) = steps("stop") {
            eprintln!("stop: {error}");
        }
    }
}

/// Runs the steps under a key of the configuration.
fn steps(key: &str) -> Result<(), String> {
    let Some(steps) = calls::config(key)? else {
        return Ok(());
    };
    let steps: Vec<Step> = serde_json::from_str(&steps).map_err(|error| error.to_string())?;
    for step in steps {
        calls::run(step).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn describe(message: &Message, has_delivery: bool) -> Value {
    json!({
        "subject": message.subject,
        "reply_to": message.reply_to,
        "headers": message.headers,
        "has_delivery": has_delivery,
        "calls": CALLS.load(Ordering::Relaxed),
    })
}

fn answer(result: Result<Value, Value>) -> Option<Reply> {
    Some(Reply {
        headers: Vec::new(),
        payload: calls::said(result).to_string().into_bytes(),
    })
}
