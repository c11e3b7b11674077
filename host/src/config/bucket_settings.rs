//! Settings of buckets.

use std::time::Duration;

/// Settings of a bucket that the host creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// The purpose of the bucket, for people.
    pub description: String,
    /// Revisions kept of each key, 1 to 64.
    pub history: u8,
    /// The life of every value. `None` is for ever.
    pub ttl: Option<Duration>,
    /// The servers that keep a copy, 1 to 5.
    pub replicas: u8,
    /// The server's storage for it.
    pub storage: Storage,
    /// Bytes that the whole bucket may take. `None` is no limit.
    pub max_bytes: Option<u64>,
    /// Bytes that one value may take. `None` is no limit but the server's.
    pub max_value_size: Option<u32>,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            description: String::new(),
            history: 1,
            ttl: None,
            replicas: 1,
            storage: Storage::File,
            max_bytes: None,
            max_value_size: None,
        }
    }
}

/// A server's storage for a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory: gone when the server stops.
    Memory,
}
