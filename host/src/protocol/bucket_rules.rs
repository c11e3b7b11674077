//! A key/value bucket's name, and the bounds of its settings.

use std::time::Duration;

/// The most revisions of a key that a bucket keeps.
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md>
pub(crate) const MAX_HISTORY: u8 = 64;

/// The most servers that keep a copy of a stream.
pub(crate) const MAX_REPLICAS: u8 = 5;

/// The shortest maximal age that servers take.
pub(crate) const MIN_TTL: Duration = Duration::from_millis(100);

/// The most bytes of a bucket, and of one value: servers count them in signed integers.
pub(crate) const MAX_BUCKET_BYTES: u64 = i64::MAX as u64;
pub(crate) const MAX_VALUE_BYTES: u32 = i32::MAX as u32;

/// The most bytes of a name. A stream's has at most 255, and `KV_` comes first.
pub(crate) const MAX_NAME_BYTES: usize = 251;

/// Checks a bucket's name.
///
/// # Errors
/// Continues a sentence that begins with the name.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_safe) {
        return Ok(());
    }
    Err(format!(
        "is not a bucket's name: 1 to {MAX_NAME_BYTES} letters, digits, `-` and `_`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_stream_can_be_called_by() {
        for good in ["b", "B-1_x", &"x".repeat(MAX_NAME_BYTES)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a.b", "a b", "å", "*", &"x".repeat(MAX_NAME_BYTES + 1)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
