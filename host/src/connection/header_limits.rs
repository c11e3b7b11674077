//! The limits of a message's headers, for messages that have not passed the filter.
//!
//! A client holds a header of five bytes in some 150: 1 MB of them would be 26 MB, and are not what a guest was granted.

use async_nats::{HeaderMap, Message};

use super::relay::block::MAX_HEADERS;
use super::relay::filter::MAX_HEADER_BLOCK_BYTES;
use super::relay::kept_headers::KEPT;
use super::relay::malformed::MalformedCause;

/// The fewest bytes of a header: a colon and the end of the line.
const MIN_HEADER_BYTES: usize = 3;

/// Leaves out the headers of a message that has more of them than the limits, as the filter does. Returns the cause.
pub(super) fn limit(message: &mut Message) -> Option<MalformedCause> {
    let headers = message.headers.as_mut()?;
    let reply_bytes = message.reply.as_ref().map_or(0, |reply| reply.len());
    let others = message.subject.len() + reply_bytes + message.payload.len();
    let bytes = message.length.saturating_sub(others);
    let cause = if bytes > MAX_HEADER_BLOCK_BYTES {
        MalformedCause::HeaderBytes
    } else if bytes > MAX_HEADERS * MIN_HEADER_BYTES && count(headers) > MAX_HEADERS {
        MalformedCause::HeaderCount
    } else {
        return None;
    };
    let mut kept = HeaderMap::new();
    let mut kept_bytes = 0;
    for name in KEPT {
        if let Some(value) = headers.get(name) {
            kept_bytes += name.len() + value.as_str().len();
            kept.insert(name, value.clone());
        }
    }
    message.length = others + kept_bytes;
    *headers = kept;
    Some(cause)
}

/// The number of headers.
fn count(headers: &HeaderMap) -> usize {
    headers.iter().map(|(_, values)| values.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with this many headers with a value of this length, and a tombstone's.
    fn message(count: usize, value_bytes: usize) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        let value = "v".repeat(value_bytes);
        (1..count).for_each(|_| headers.append("abc", value.as_str()));
        Message {
            subject: "a".into(),
            reply: Some("r".into()),
            payload: "hi".into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 4 + count * ("abc: \r\n".len() + value_bytes),
        }
    }

    #[test]
    fn headers_above_a_limit_are_left_out_and_those_within_stay() {
        for (count, value_bytes, cause) in [
            (MAX_HEADERS, 1, None),
            (10, 6000, None),
            (MAX_HEADERS + 1, 1, Some(MalformedCause::HeaderCount)),
            (10, 7000, Some(MalformedCause::HeaderBytes)),
        ] {
            let mut limited = message(count, value_bytes);
            assert_eq!(limit(&mut limited), cause);
            let headers = limited.headers.expect("headers");
            assert_eq!(headers.get("KV-Operation").expect("kept").as_str(), "DEL");
            assert_eq!(headers.len(), if cause.is_some() { 1 } else { 2 });
            assert_eq!(limited.length < 100, cause.is_some());
        }
    }
}
