//! `[buckets.NAME]` → settings.

use std::time::Duration;

use super::bucket_settings::{BucketSettings, Storage};
use super::value::{Name, Value};
use crate::protocol::bucket_rules::{
    MAX_BUCKET_BYTES, MAX_HISTORY, MAX_REPLICAS, MAX_VALUE_BYTES, MIN_TTL, check_name,
};

/// Reads the settings of a bucket that the host creates.
pub(super) fn bucket(name: Name<'_>, value: Value<'_>) -> Option<(String, BucketSettings)> {
    let name = name.checked(check_name);
    let table = value.table()?;
    let default = BucketSettings::default();
    let settings = BucketSettings {
        description: table
            .get("description")
            .and_then(Value::string)
            .unwrap_or_default(),
        history: table
            .get("history")
            .and_then(|v| v.number(1, MAX_HISTORY.into()))
            .unwrap_or(default.history),
        ttl: table.get("ttl").and_then(ttl),
        replicas: table
            .get("replicas")
            .and_then(|v| v.number(1, MAX_REPLICAS.into()))
            .unwrap_or(default.replicas),
        storage: table
            .get("storage")
            .and_then(|v| v.one_of(&[("file", Storage::File), ("memory", Storage::Memory)]))
            .unwrap_or(default.storage),
        max_bytes: table
            .get("max_bytes")
            .and_then(|v| v.bytes(MAX_BUCKET_BYTES)),
        max_value_size: table
            .get("max_value_size")
            .and_then(|v| v.bytes(MAX_VALUE_BYTES.into()))
            .and_then(|bytes| u32::try_from(bytes).ok()),
    };
    table.end();
    Some((name?, settings))
}

fn ttl(value: Value<'_>) -> Option<Duration> {
    let ttl = value.duration()?;
    if ttl < MIN_TTL {
        return value.refuse(format!(
            "{:?} is shorter than the 100ms that a server takes at least",
            value.written()
        ));
    }
    Some(ttl)
}
