//! `[buckets.NAME]`.

use std::time::Duration;

use super::parse;
use super::value::{Name, Value};
use super::{BucketSettings, Storage};

/// The server takes no shorter life for a bucket's values.
const SHORTEST_TTL: Duration = Duration::from_millis(100);

/// Reads the settings of a bucket that the host creates.
pub(super) fn bucket(name: Name<'_>, value: Value<'_>) -> Option<(String, BucketSettings)> {
    let name = name.checked(|text| parse::bucket_name(text).map(drop));
    let table = value.table()?;
    let default = BucketSettings::default();
    let settings = BucketSettings {
        description: table
            .get("description")
            .and_then(Value::string)
            .unwrap_or_default(),
        history: table
            .get("history")
            .and_then(|v| v.number(1, 64))
            .unwrap_or(default.history),
        ttl: table.get("ttl").and_then(ttl),
        replicas: table
            .get("replicas")
            .and_then(|v| v.number(1, 5))
            .unwrap_or(default.replicas),
        storage: table
            .get("storage")
            .and_then(|v| v.one_of(&[("file", Storage::File), ("memory", Storage::Memory)]))
            .unwrap_or(default.storage),
        max_bytes: table
            .get("max_bytes")
            .and_then(|v| v.bytes(i64::MAX as u64)),
        max_value_size: table
            .get("max_value_size")
            .and_then(|v| v.bytes(i32::MAX as u64))
            .and_then(|bytes| u32::try_from(bytes).ok()),
    };
    table.end();
    Some((name?, settings))
}

fn ttl(value: Value<'_>) -> Option<Duration> {
    let ttl = value.duration()?;
    if ttl < SHORTEST_TTL {
        return value.refuse(format!(
            "{:?} is shorter than the 100ms that a server takes at least",
            value.written()
        ));
    }
    Some(ttl)
}
