//! Headers, as guests write them and as they travel.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;
use crate::protocol::reserved::is_reserved_header;
use crate::protocol::subject::quoted;
use crate::trace::{TraceHeaders, is_trace_header};

/// The most bytes that all header fields of one message take as they travel: what a stream stores of them.
/// <https://github.com/nats-io/nats-server/blob/main/server/errors.json>, error 10097
pub(crate) const MAX_HEADER_BYTES: usize = 64 * 1024 - 1;

/// What a field takes besides its name and its value: a colon, a space and the end of the line.
pub(crate) const FIELD_BYTES: usize = ": \r\n".len();

/// Headers as they travel. Those by which the server takes orders are left out, so that a guest can pass on the headers
/// of a message as they came. In a trace, where the message belongs in it is the host's to say.
///
/// # Errors
/// `Invalid` for a name or a value that does not travel, or where they take more than [`MAX_HEADER_BYTES`].
pub(crate) fn to_wire(
    headers: Vec<(String, String)>,
    trace: Option<&TraceHeaders>,
) -> Result<Option<HeaderMap>, Error> {
    if headers.is_empty() && trace.is_none() {
        return Ok(None);
    }
    check_length(&headers)?;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if is_reserved_header(&name) || (trace.is_some() && is_trace_header(&name)) {
            continue;
        }
        let bad = |why: String| Error::Invalid(format!("header {}: {why}", quoted(&name)));
        let field: HeaderName = name
            .parse()
            .map_err(|_| bad("a name is printable ASCII without a colon".into()))?;
        let value: HeaderValue = value
            .parse()
            .map_err(|_| bad("a value has no line breaks".into()))?;
        map.append(field, value);
    }
    if let Some(trace) = trace {
        trace.add_to(&mut map);
    }
    Ok((!map.is_empty()).then_some(map))
}

/// Before any of them is looked at: they may be as long as a guest's memory.
fn check_length(headers: &[(String, String)]) -> Result<(), Error> {
    let field = |(name, value): &(String, String)| FIELD_BYTES + name.len() + value.len();
    let bytes: usize = headers.iter().map(field).sum();
    if bytes <= MAX_HEADER_BYTES {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{} header fields take {bytes} bytes as they travel, and a message has room for {MAX_HEADER_BYTES}",
        headers.len()
    )))
}

/// Headers as guests read them.
pub(crate) fn from_wire(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let Some(headers) = headers else {
        return Vec::new();
    };
    headers
        .iter()
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: Vec<(String, String)>) -> String {
        match to_wire(headers, None) {
            Err(Error::Invalid(words)) => words,
            other => panic!("it is {other:?}"),
        }
    }

    #[test]
    fn headers_that_no_stream_would_store_are_refused_as_a_whole() {
        let fits = |bytes: usize| vec![("a".to_owned(), "b".repeat(bytes - 1 - FIELD_BYTES))];
        assert!(to_wire(fits(MAX_HEADER_BYTES), None).is_ok());
        let words = refused(fits(MAX_HEADER_BYTES + 1));
        assert!(words.contains("65535"), "{words}");
        let many = (0..800_000).map(|i| (format!("h{i:x}"), String::new()));
        let words = refused(many.collect());
        assert!(words.contains("800000 header fields"), "{words}");
        // Those that are left out count, too: it takes time to tell.
        let reserved = vec![("Nats-X".to_owned(), "y".repeat(MAX_HEADER_BYTES))];
        assert!(refused(reserved).contains("65535"));
    }

    #[test]
    fn what_is_wrong_with_a_header_is_said_in_a_short_text() {
        let name = format!("{}:", "\u{1}".repeat(10_000));
        let words = refused(vec![(name, String::new())]);
        assert!(words.contains("colon") && words.len() < 1000, "{words}");
    }
}
