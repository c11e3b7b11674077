//! What a message can tell the probe to do.

use serde::Deserialize;

type Headers = Vec<(String, String)>;

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    // What becomes of the message.
    Silence,
    Retry {
        reason: String,
        after: Option<u64>,
    },
    Reject {
        reason: String,
    },
    Reply {
        #[serde(default)]
        headers: Headers,
        text: String,
    },
    Describe,
    /// One after the other; the reply has what came of each.
    All {
        steps: Vec<Step>,
    },
    // pubsub
    Publish(Message),
    Request(Message),
    Subscribe(Subscription),
    Unsubscribe(Subscription),
    // jetstream
    Store(Message),
    // keyvalue
    Open {
        bucket: Option<String>,
    },
    Create {
        bucket: String,
        history: u8,
        ttl_ms: Option<u64>,
        max_bytes: Option<u64>,
        max_value_size: Option<u32>,
    },
    Get {
        bucket: String,
        key: String,
    },
    GetEntry {
        bucket: String,
        key: String,
    },
    Set {
        bucket: String,
        key: String,
        value: String,
        ttl_ms: Option<u64>,
    },
    Add {
        bucket: String,
        key: String,
        value: String,
        ttl_ms: Option<u64>,
    },
    Replace {
        bucket: String,
        key: String,
        value: String,
    },
    Update {
        bucket: String,
        key: String,
        value: String,
        revision: u64,
    },
    Expire {
        bucket: String,
        key: String,
        ttl_ms: Option<u64>,
    },
    Increment {
        bucket: String,
        key: String,
        by: i64,
    },
    Delete {
        bucket: String,
        key: String,
    },
    Keys {
        bucket: String,
        prefix: Option<String>,
    },
    Count {
        bucket: String,
    },
    History {
        bucket: String,
        key: String,
    },
    Flush {
        bucket: String,
    },
    // WASI
    Config {
        key: String,
    },
    Env {
        name: String,
    },
    Read {
        path: String,
    },
    Write {
        path: String,
        text: String,
    },
    Connect {
        address: String,
    },
    Print {
        stdout: String,
        stderr: String,
    },
    Sleep {
        ms: u64,
    },
    // Misbehaving
    Trap,
    Spin,
    Allocate {
        bytes: usize,
    },
    Exit {
        code: i32,
    },
    OpenMany {
        bucket: String,
        count: usize,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) subject: String,
    #[serde(default)]
    pub(crate) text: String,
    /// Instead of the text: so many bytes.
    pub(crate) bytes: Option<usize>,
    #[serde(default)]
    pub(crate) headers: Headers,
    pub(crate) reply_to: Option<String>,
    #[serde(default)]
    pub(crate) ignore_prefix: bool,
    pub(crate) timeout_ms: Option<u32>,
    pub(crate) message_id: Option<String>,
    pub(crate) expected: Option<u64>,
    pub(crate) ttl_ms: Option<u64>,
}

impl Message {
    pub(crate) fn payload(&self) -> Vec<u8> {
        self.bytes
            .map_or_else(|| self.text.clone().into_bytes(), |count| vec![0; count])
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscription {
    pub(crate) subject: String,
    pub(crate) queue: Option<String>,
    #[serde(default)]
    pub(crate) ignore_prefix: bool,
}
