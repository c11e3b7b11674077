//! The headers of a stored message: those that say what a bucket's message is, out of a block that anybody may have
//! written. Pure.
//!
//! The server stores any bytes as headers. A line that cannot be read is left out, and the others count: a mark that
//! there is no value stays one, whatever else its sender wrote.

use std::borrow::Cow;
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
        let lines = block
            .split_inclusive(|byte| *byte == b'\n')
            .map(without_end);
        let mut lines = lines.peekable();
        let version = lines.next().unwrap_or_default();
        let mut headers = Self {
            is_value: true,
            ttl: None,
            expires: None,
            is_readable: block.is_empty() || version == b"NATS/1.0",
        };
        let mut seen = [false; 3];
        while let Some(line) = lines.next() {
            if line.is_empty() {
                continue;
            }
            // Without a colon it has no name, and cannot be read.
            let (name, begin) = field(line).unwrap_or_default();
            let mut value = Cow::Borrowed(trim_start(begin));
            while let Some(more) = lines.next_if(|line| continues(line)) {
                value.to_mut().extend_from_slice(more);
            }
            headers.is_readable &= is_sound(name, &value);
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(&value))
            else {
                continue;
            };
            let value = value.trim_end();
            // Of several values the first counts.
            let mut is_first = |number: usize| !std::mem::replace(&mut seen[number], true);
            match name {
                KV_OPERATION if is_first(0) => headers.is_value &= !is_deletion(value),
                MARKER_REASON => headers.is_value = false,
                MESSAGE_TTL if is_first(1) => headers.ttl = ttl::parse(value),
                EXPIRES if is_first(2) => headers.expires = value.parse().ok(),
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

/// A line without its end: a line feed, with or without a carriage return before it.
fn without_end(line: &[u8]) -> &[u8] {
    let Some(line) = line.strip_suffix(b"\n") else {
        return line;
    };
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether a line continues the value of the line before.
fn continues(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_whitespace)
}

/// A value without the whitespace at its beginning.
fn trim_start(value: &[u8]) -> &[u8] {
    std::str::from_utf8(value).map_or(value, |text| text.trim_start().as_bytes())
}

/// The name and the value of a line.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

/// Whether the client reads such a field, and does not panic. Says no in cases of doubt.
fn is_sound(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(u8::is_ascii_graphic)
        && !value.contains(&b'\r')
        && std::str::from_utf8(value).is_ok()
}

#[cfg(test)]
pub(crate) use tests::fuzz;

#[cfg(test)]
mod tests {
    use async_nats::{HeaderName, HeaderValue};

    use super::*;
    use crate::fuzz::kind_of;

    /// Reads a block that nobody meant as headers, and compares what is found with what the client reads, if it can.
    pub(crate) fn fuzz(block: &[u8]) -> u64 {
        let headers = StoredHeaders::read(block);
        if headers.is_readable {
            let fields = as_the_client_reads(block);
            let first = |name| fields.iter().find(|(it, _)| *it == name);
            let first = |name| first(name).map(|(_, value)| value.as_str());
            let is_deleted = first(KV_OPERATION).is_some_and(is_deletion);
            assert_eq!(
                headers.is_value,
                !is_deleted && first(MARKER_REASON).is_none()
            );
            assert_eq!(headers.ttl, first(MESSAGE_TTL).and_then(ttl::parse));
            let expires = first(EXPIRES).and_then(|expires| expires.parse().ok());
            assert_eq!(headers.expires, expires);
        }
        let lines = block.iter().filter(|byte| **byte == b'\n').count().min(8);
        kind_of(&(
            headers.is_value,
            headers.is_readable,
            headers.ttl.is_some(),
            headers.expires.is_some(),
            lines,
        ))
    }

    /// The fields of a block that can be read, taken apart as the client does with a message that arrives: see
    /// `Connection::try_read_op` in its `connection.rs`.
    fn as_the_client_reads(block: &[u8]) -> Vec<(&str, String)> {
        let mut lines = std::str::from_utf8(block)
            .expect("text")
            .lines()
            .skip(1)
            .peekable();
        let mut fields = Vec::new();
        while let Some(line) = lines.next() {
            let Some((name, value)) = line.split_once(':') else {
                assert!(line.is_empty(), "{line:?}");
                continue;
            };
            let mut value = value.trim_start().to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
                value.push_str(more);
            }
            let value = value.trim_end().to_owned();
            name.parse::<HeaderName>().expect("a name");
            // Where this is none, the client panics.
            value.parse::<HeaderValue>().expect("a value");
            fields.push((name, value));
        }
        fields
    }

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
