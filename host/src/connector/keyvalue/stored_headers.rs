//! The headers of a stored message: those that say what a bucket's message is, out of a block that anybody may have
//! written. Pure.
//!
//! The server stores any bytes as headers. A line that cannot be read is left out, and the others count: a mark that
//! there is no value stays one, whatever else its sender wrote.

use std::time::Duration;

use async_nats::HeaderMap;

use crate::protocol::ttl;

/// Header that says that a message is no value: `DEL` or `PURGE`.
pub(super) const KV_OPERATION: &str = "KV-Operation";
/// Header with the expiry of a value to the nanosecond, where it was rewritten and has to keep it. `Nats-TTL` counts whole
/// seconds from the last write, so it alone would drift with every write.
pub(super) const EXPIRES: &str = "Wharf-Expires";
/// Header of the marks that the server itself leaves where it has removed a value.
const MARKER_REASON: &str = "Nats-Marker-Reason";
/// Header with a message's own TTL.
const MESSAGE_TTL: &str = "Nats-TTL";

/// Facts from a stored message's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredHeaders {
    /// The message is a value, and not the mark that there is none.
    pub(super) is_value: bool,
    /// The message's own TTL.
    pub(super) ttl: Option<Duration>,
    /// The end of the TTL to the nanosecond, since the Unix epoch.
    pub(super) expires: Option<u64>,
    /// The client could read the whole block.
    pub(super) is_readable: bool,
}

impl StoredHeaders {
    /// Reads a block of headers as the server has stored it: a line with the protocol's version, then the fields. Empty
    /// for a message without headers.
    pub(super) fn read(block: &[u8]) -> Self {
        let mut lines = block.split(|byte| *byte == b'\n').map(without_return);
        let version = lines.next().unwrap_or_default();
        let mut headers = Self {
            is_value: true,
            ttl: None,
            expires: None,
            is_readable: block.is_empty() || version == b"NATS/1.0",
        };
        let mut seen = [false; 3];
        for line in lines.filter(|line| !line.is_empty()) {
            let Some((name, value)) = field(line) else {
                headers.is_readable = false;
                continue;
            };
            headers.is_readable &= is_sound(name, value);
            let Ok(value) = std::str::from_utf8(value) else {
                continue;
            };
            // Of several values the first counts.
            let mut is_first = |number: usize| !std::mem::replace(&mut seen[number], true);
            match std::str::from_utf8(name) {
                Ok(KV_OPERATION) if is_first(0) => headers.is_value &= !is_deletion(value),
                Ok(MARKER_REASON) => headers.is_value = false,
                Ok(MESSAGE_TTL) if is_first(1) => headers.ttl = ttl::parse(value),
                Ok(EXPIRES) if is_first(2) => headers.expires = value.parse().ok(),
                _ => {}
            }
        }
        headers
    }
}

/// Whether a message with these headers is a value. The server leaves markers of its own where it removes one.
pub(super) fn is_value(headers: Option<&HeaderMap>) -> bool {
    let Some(headers) = headers else { return true };
    let deleted = headers
        .get(KV_OPERATION)
        .is_some_and(|operation| is_deletion(operation.as_str()));
    !deleted && headers.get(MARKER_REASON).is_none()
}

fn is_deletion(operation: &str) -> bool {
    matches!(operation, "DEL" | "PURGE")
}

/// A line without the carriage return at its end.
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The name and the value of a line.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// Whether the client reads such a field, and does not panic. Says no in cases of doubt.
fn is_sound(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(u8::is_ascii_graphic)
        && !value.contains(&b'\r')
        && std::str::from_utf8(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[u8]) -> StoredHeaders {
        StoredHeaders::read(&[b"NATS/1.0\r\n", fields, b"\r\n\r\n"].concat())
    }

    #[test]
    fn no_headers_are_those_of_a_value() {
        let headers = StoredHeaders::read(b"");
        assert!(headers.is_value && headers.is_readable);
        assert_eq!((headers.ttl, headers.expires), (None, None));
    }

    #[test]
    fn marks_and_ttls_are_read() {
        for mark in [
            "KV-Operation: DEL",
            "KV-Operation:PURGE",
            "Nats-Marker-Reason: MaxAge",
        ] {
            let headers = read(mark.as_bytes());
            assert!(!headers.is_value && headers.is_readable, "{mark}");
        }
        assert!(read(b"KV-Operation: PUT").is_value);
        let headers = read(b"Nats-TTL: 1m0s\r\nWharf-Expires: 42");
        assert_eq!(headers.ttl, Some(Duration::from_secs(60)));
        assert_eq!(headers.expires, Some(42));
        assert_eq!(
            read(b"Nats-TTL: 7\r\nNats-TTL: 9").ttl,
            Some(Duration::from_secs(7))
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_said_and_the_rest_counts() {
        for unreadable in [
            &b"X: a\rb"[..],
            b"N: J\xfc",
            b"A B: x",
            b"foo",
            b": x",
            b"\xff: x",
        ] {
            let before = [unreadable, b"\r\nKV-Operation: DEL\r\nNats-TTL: 3"].concat();
            let after = [b"KV-Operation: DEL\r\nNats-TTL: 3\r\n", unreadable].concat();
            for block in [before, after] {
                let headers = read(&block);
                assert!(!headers.is_value && !headers.is_readable, "{block:?}");
                assert_eq!(headers.ttl, Some(Duration::from_secs(3)), "{block:?}");
            }
            assert!(read(unreadable).is_value);
        }
        assert!(!StoredHeaders::read(b"NATS/1.0 abc\r\n\r\n").is_readable);
    }
}
