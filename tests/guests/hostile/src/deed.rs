//! What a message can tell it to do.

use serde::Deserialize;

use crate::bindings::wasi::cli::{stdin, stdout};
use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::http::types::{Fields, Method, OutgoingRequest};
use crate::bindings::wasi::io::poll::poll;
use crate::bindings::wasi::random::{insecure, random};
use crate::bindings::wharf::nats::keyvalue::{Bucket, BucketConfig, Storage};
use crate::bindings::wharf::nats::{jetstream, pubsub};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Deed {
    /// Requests with a method of so many bytes, forgotten.
    HttpMethods { bytes: usize, count: usize },
    /// A body of a request, to write to.
    HttpBody,
    /// A bucket with a name of so many bytes.
    OpenLong { bytes: usize },
    /// Settings with a description of so many bytes.
    DescribeLong { bucket: String, bytes: usize },
    /// A key of so many bytes.
    KeyLong { bucket: String, bytes: usize },
    /// A prefix of so many bytes.
    PrefixLong { bucket: String, bytes: usize },
    /// A value of so many bytes.
    ValueLong { bucket: String, bytes: usize },
    /// A message with so many headers.
    Headers { subject: String, count: usize },
    /// A message whose one header has a name of so many bytes, none of which a name may have.
    HeaderLong { subject: String, bytes: usize },
    /// A message on a subject of so many bytes.
    SubjectLong { bytes: usize },
    /// A subscription as a member of a group with a name of so many bytes.
    QueueLong { subject: String, bytes: usize },
    /// A stored message with an id of so many bytes.
    IdLong { subject: String, bytes: usize },
    /// A message with a payload of so many bytes.
    PayloadLong { subject: String, bytes: usize },
    /// So many random bytes at once.
    Random { bytes: u64 },
    /// So many random bytes at once that need not be good.
    Insecure { bytes: u64 },
    /// So many bytes to standard output in one write.
    Write { bytes: usize },
    /// So many zeros to standard output in one write.
    Zeros { bytes: u64 },
    /// So many log lines of so many bytes.
    Lines { count: usize, bytes: usize },
    /// So many bytes of standard input at once.
    ReadLong { bytes: u64 },
    /// A list of so many times the same timer.
    Poll { count: usize },
    /// A reply of so many bytes.
    ReplyLong { bytes: usize },
}

pub(crate) fn run(deed: Deed) -> String {
    match deed {
        Deed::HttpMethods { bytes, count } => http_methods(bytes, count),
        Deed::HttpBody => format!(
            "{:?}",
            OutgoingRequest::new(Fields::new())
                .body()
                .map(|body| body.write().is_ok())
        ),
        Deed::Random { bytes } => random::get_random_bytes(bytes).len().to_string(),
        Deed::Insecure { bytes } => insecure::get_insecure_random_bytes(bytes).len().to_string(),
        Deed::Write { bytes } => {
            format!("{:?}", stdout::get_stdout().write(&vec![b'\n'; bytes]))
        }
        Deed::Zeros { bytes } => format!("{:?}", stdout::get_stdout().write_zeroes(bytes)),
        Deed::Lines { count, bytes } => {
            use std::io::Write;
            let line = "x".repeat(bytes) + "\n";
            let mut out = std::io::stdout().lock();
            let written = (0..count).try_for_each(|_| out.write_all(line.as_bytes()));
            format!("{:?}", written.is_ok())
        }
        Deed::ReadLong { bytes } => {
            let read = stdin::get_stdin().blocking_read(bytes);
            format!("{:?}", read.map(|bytes| bytes.len()))
        }
        Deed::Poll { count } => {
            let timer = subscribe_duration(1);
            poll(&vec![&timer; count]).len().to_string()
        }
        Deed::ReplyLong { bytes } => "x".repeat(bytes),
        deed => format!("{:?}", nats(deed)),
    }
}

fn http_methods(bytes: usize, count: usize) -> String {
    let method = Method::Other("A".repeat(bytes));
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        if request.set_method(&method).is_err() {
            return "refused".to_owned();
        }
        std::mem::forget(request);
    }
    "held".to_owned()
}

/// A text of which every byte takes more when it is escaped, and that nothing may be called by.
fn unfit(bytes: usize) -> String {
    "\u{1}".repeat(bytes)
}

fn nats(deed: Deed) -> Result<String, String> {
    let words = |error| format!("{error:?}");
    let open = |bucket: &str| Bucket::open(Some(bucket)).map_err(words);
    match deed {
        Deed::OpenLong { bytes } => open(&unfit(bytes)).map(|bucket| bucket.name()),
        Deed::DescribeLong { bucket, bytes } => {
            let config = BucketConfig {
                description: unfit(bytes),
                history: 1,
                ttl_ms: None,
                replicas: 1,
                storage: Storage::Memory,
                max_bytes: None,
                max_value_size: None,
            };
            let created = Bucket::create(&bucket, &config).map_err(words);
            created.map(|bucket| bucket.name())
        }
        Deed::KeyLong { bucket, bytes } => {
            let got = open(&bucket)?.get(&unfit(bytes)).map_err(words);
            got.map(|value| format!("{}", value.is_some()))
        }
        Deed::PrefixLong { bucket, bytes } => {
            let keys = open(&bucket)?.keys(Some(&unfit(bytes))).map_err(words);
            keys.map(|keys| keys.len().to_string())
        }
        Deed::ValueLong { bucket, bytes } => {
            let set = open(&bucket)?.set("k", &vec![0; bytes], None);
            set.map_err(words).map(|revision| revision.to_string())
        }
        deed => publish(deed).map_err(words).map(|()| String::new()),
    }
}

type Headers = Vec<(String, String)>;

fn publish(deed: Deed) -> Result<(), crate::bindings::wharf::nats::types::Error> {
    let with = |headers: Headers| pubsub::PublishOptions {
        headers,
        reply_to: None,
        ignore_prefix: false,
    };
    match deed {
        Deed::Headers { subject, count } => {
            let headers = (0..count).map(|i| (format!("h{i:x}"), String::new()));
            pubsub::publish(&subject, b"x", Some(&with(headers.collect())))
        }
        Deed::HeaderLong { subject, bytes } => {
            let headers = vec![(unfit(bytes), String::new())];
            pubsub::publish(&subject, b"x", Some(&with(headers)))
        }
        Deed::SubjectLong { bytes } => pubsub::publish(&unfit(bytes), b"x", None),
        Deed::PayloadLong { subject, bytes } => pubsub::publish(&subject, &vec![0; bytes], None),
        Deed::QueueLong { subject, bytes } => {
            let options = pubsub::SubscribeOptions {
                queue: Some(unfit(bytes)),
                ignore_prefix: false,
            };
            pubsub::subscribe(&subject, Some(&options))
        }
        Deed::IdLong { subject, bytes } => {
            let options = jetstream::PublishOptions {
                headers: Vec::new(),
                ignore_prefix: false,
                message_id: Some("i".repeat(bytes)),
                expected_last_subject_sequence: None,
                ttl_ms: None,
            };
            jetstream::publish(&subject, b"x", Some(&options)).map(drop)
        }
        _ => unreachable!("the others are not about messages"),
    }
}
