//! What fuzzers call: functions that take bytes from strangers, which may be any, and panic where they break a promise.

/// Passes a server's stream through the filter for malformed messages.
///
/// # Panics
/// What comes out depends on how the stream is split, or has something in it that the client could not read.
pub fn filter(bytes: &[u8]) {
    crate::connection::fuzz_filter(bytes);
}
