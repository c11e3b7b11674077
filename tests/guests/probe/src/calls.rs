//! One call of the contract for each step.

use serde_json::{Value, json};

use crate::bindings::wasi::config::store;
use crate::bindings::wharf::nats::keyvalue::{Bucket, BucketConfig, Entry, Storage};
use crate::bindings::wharf::nats::types::Error;
use crate::bindings::wharf::nats::{jetstream, pubsub};
use crate::misbehave;
use crate::step::{Message, Step, Subscription};

type Outcome = Result<Value, Value>;

/// Does it, and says what came of it.
pub(crate) fn run(step: Step) -> Outcome {
    match step {
        Step::All { steps } => Ok(steps.into_iter().map(|step| said(run(step))).collect()),
        Step::Publish(message) => publish(message),
        Step::Request(message) => request(message),
        Step::Subscribe(s) => told(pubsub::subscribe(&s.subject, options(&s).as_ref())),
        Step::Unsubscribe(s) => told(pubsub::unsubscribe(&s.subject, options(&s).as_ref())),
        Step::Store(message) => store_message(message),
        Step::Config { key } => Ok(json!(config(&key)?)),
        Step::Env { name } => Ok(json!(std::env::var(name).ok())),
        Step::Read { path } => std::fs::read_to_string(path).map(Value::from).map_err(io),
        Step::Write { path, text } => std::fs::write(path, text).map(|()| Value::Null).map_err(io),
        Step::Connect { address } => std::net::TcpStream::connect(address)
            .map(|_| Value::Null)
            .map_err(io),
        Step::Print { stdout, stderr } => {
            println!("{stdout}");
            eprintln!("{stderr}");
            Ok(Value::Null)
        }
        Step::Sleep { ms } => {
            std::thread::sleep(std::time::Duration::from_millis(ms));
            Ok(Value::Null)
        }
        Step::Trap
        | Step::Spin
        | Step::Allocate { .. }
        | Step::Exit { .. }
        | Step::OpenMany { .. } => misbehave::run(step),
        step => keyvalue(step).map_err(error),
    }
}

/// What came of a step, as the reply says it.
pub(crate) fn said(outcome: Outcome) -> Value {
    match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error }),
    }
}

/// A value of the guest's configuration.
pub(crate) fn config(key: &str) -> Result<Option<String>, String> {
    store::get(key).map_err(|error| format!("{error:?}"))
}

fn keyvalue(step: Step) -> Result<Value, Error> {
    let open = |name: &str| Bucket::open(Some(name));
    Ok(match step {
        Step::Open { bucket } => json!(Bucket::open(bucket.as_deref())?.name()),
        Step::Create {
            bucket,
            history,
            ttl_ms,
            max_bytes,
            max_value_size,
        } => {
            let storage = Storage::Memory;
            let description = String::new();
            let config = BucketConfig {
                description,
                history,
                ttl_ms,
                replicas: 1,
                storage,
                max_bytes,
                max_value_size,
            };
            json!(Bucket::create(&bucket, &config)?.name())
        }
        Step::Get { bucket, key } => json!(open(&bucket)?.get(&key)?.map(text)),
        Step::GetEntry { bucket, key } => json!(open(&bucket)?.get_entry(&key)?.map(entry)),
        Step::Set {
            bucket,
            key,
            value,
            ttl_ms,
        } => {
            json!(open(&bucket)?.set(&key, value.as_bytes(), ttl_ms)?)
        }
        Step::Add {
            bucket,
            key,
            value,
            ttl_ms,
        } => {
            json!(open(&bucket)?.add(&key, value.as_bytes(), ttl_ms)?)
        }
        Step::Replace { bucket, key, value } => {
            json!(open(&bucket)?.replace(&key, value.as_bytes())?)
        }
        Step::Update {
            bucket,
            key,
            value,
            revision,
        } => {
            json!(open(&bucket)?.update(&key, value.as_bytes(), revision)?)
        }
        Step::Expire {
            bucket,
            key,
            ttl_ms,
        } => json!(open(&bucket)?.expire(&key, ttl_ms)?),
        Step::Increment { bucket, key, by } => json!(open(&bucket)?.increment(&key, by)?),
        Step::Delete { bucket, key } => json!(open(&bucket)?.delete(&key)?),
        Step::Keys { bucket, prefix } => {
            let mut keys = open(&bucket)?.keys(prefix.as_deref())?;
            keys.sort();
            json!(keys)
        }
        Step::Count { bucket } => json!(open(&bucket)?.count()?),
        Step::History { bucket, key } => {
            json!(
                open(&bucket)?
                    .history(&key)?
                    .into_iter()
                    .map(entry)
                    .collect::<Vec<_>>()
            )
        }
        Step::Flush { bucket } => json!(open(&bucket)?.flush()?),
        other => unreachable!("{other:?} is not about buckets"),
    })
}

fn publish(message: Message) -> Outcome {
    let payload = message.payload();
    let options = pubsub::PublishOptions {
        headers: message.headers,
        reply_to: message.reply_to,
        ignore_prefix: message.ignore_prefix,
    };
    told(pubsub::publish(&message.subject, &payload, Some(&options)))
}

fn request(message: Message) -> Outcome {
    let payload = message.payload();
    let options = pubsub::RequestOptions {
        headers: message.headers,
        timeout_ms: message.timeout_ms,
        ignore_prefix: message.ignore_prefix,
    };
    let reply = pubsub::request(&message.subject, &payload, Some(&options)).map_err(error)?;
    Ok(json!({ "text": text(reply.payload), "headers": reply.headers }))
}

fn store_message(message: Message) -> Outcome {
    let payload = message.payload();
    let options = jetstream::PublishOptions {
        headers: message.headers,
        ignore_prefix: message.ignore_prefix,
        message_id: message.message_id,
        expected_last_subject_sequence: message.expected,
        ttl_ms: message.ttl_ms,
    };
    let ack = jetstream::publish(&message.subject, &payload, Some(&options)).map_err(error)?;
    Ok(json!({ "stream": ack.stream_name, "sequence": ack.sequence, "duplicate": ack.duplicate }))
}

fn options(subscription: &Subscription) -> Option<pubsub::SubscribeOptions> {
    let (queue, ignore_prefix) = (subscription.queue.clone(), subscription.ignore_prefix);
    Some(pubsub::SubscribeOptions {
        queue,
        ignore_prefix,
    })
}

fn told(result: Result<(), Error>) -> Outcome {
    result.map(|()| Value::Null).map_err(error)
}

fn entry(entry: Entry) -> Value {
    json!({
        "value": text(entry.value),
        "revision": entry.revision,
        "created": entry.created,
        "expires": entry.expires,
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn io(error: std::io::Error) -> Value {
    json!({ "kind": "io", "text": error.to_string() })
}

/// An error by its name in the WIT, with its words.
pub(crate) fn error(error: Error) -> Value {
    let (kind, text) = match error {
        Error::Denied(text) => ("denied", text),
        Error::Invalid(text) => ("invalid", text),
        Error::NotFound(text) => ("not-found", text),
        Error::Conflict => ("conflict", String::new()),
        Error::Timeout => ("timeout", String::new()),
        Error::NoResponders => ("no-responders", String::new()),
        Error::TooLarge(most) => ("too-large", most.to_string()),
        Error::Unsupported(text) => ("unsupported", text),
        Error::Unavailable(text) => ("unavailable", text),
        Error::Failed(text) => ("failed", text),
    };
    json!({ "kind": kind, "text": text })
}
