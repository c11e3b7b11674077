//! Decisions about what to write, given what a key has. Pure.

use std::time::Duration;

use bytes::Bytes;

use super::stored::Stored;
use crate::error::Error;
use crate::protocol::ttl;

/// Options of one write: what the server minds besides storing the value.
#[derive(Default)]
pub(super) struct WriteOptions {
    /// Store it only if this is the key's last revision, 0 for none.
    pub(super) expected: Option<u64>,
    /// The value's own TTL.
    pub(super) ttl_seconds: Option<u64>,
    /// The end of the TTL to the nanosecond, where the value was rewritten and has to keep it.
    pub(super) expires: Option<u64>,
    /// The message is no value, but the mark that there is none any more.
    pub(super) delete: bool,
}

/// A decision about a key, given its value.
pub(super) enum Decision<T> {
    /// Write nothing.
    Keep(T),
    /// Write this, unless another writer is first.
    Write(Bytes, WriteOptions, T),
}

/// Adds to a decimal integer, from 0 where the key has no value.
pub(super) fn sum(key: &str, last: Option<&Stored>, by: i64) -> Result<Decision<i64>, Error> {
    let expires = last.and_then(Stored::own_expiry);
    let left = expires.map(|expires| expires.saturating_sub(ttl::now_nanos()));
    // The server takes up to a second more to remove an expired value. Kept alive by additions it would never go.
    let live = last.filter(|_| left != Some(0));
    let from = live.map_or(Ok(0), |last| integer(key, &last.value()))?;
    let sum = from.checked_add(by).ok_or_else(|| {
        Error::Invalid(format!(
            "`{key}` is {from}: adding {by} would exceed what 64 bits hold"
        ))
    })?;
    let options = match (live, left) {
        (Some(_), Some(left)) => WriteOptions {
            ttl_seconds: Some(ttl::value_ttl_seconds(Duration::from_nanos(left))?),
            expires,
            ..WriteOptions::default()
        },
        _ => WriteOptions::default(),
    };
    Ok(Decision::Write(sum.to_string().into(), options, sum))
}

fn integer(key: &str, value: &[u8]) -> Result<i64, Error> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| {
            Error::Invalid(format!(
                "the value of `{key}` is no decimal integer of 64 bits"
            ))
        })
}
