//! Headers: as guests write them, as they travel, and the checks of what can travel.
//!
//! On the wire a header is one line. A client cannot read a header that is not: it drops the connection, or panics. So
//! every header that the host sends is made here, where a guest's or a caller's is checked and words of our own are
//! cleaned.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;
use crate::protocol::reserved::is_reserved_header;
use crate::protocol::subject::quoted;
use crate::trace::{TraceHeaders, is_trace_header};

/// The most bytes that all header fields of one message take as they travel: the limit of a stream.
/// <https://github.com/nats-io/nats-server/blob/main/server/errors.json>, error 10097
pub(crate) const MAX_HEADER_BYTES: usize = 64 * 1024 - 1;

/// Bytes of a field besides its name and its value: a colon, a space and the end of the line.
pub(crate) const FIELD_BYTES: usize = ": \r\n".len();

/// The most bytes of an error's words in a header: the receiver has to parse them.
const MAX_WORDS_BYTES: usize = 4096;

/// Headers as they travel. Headers that the server takes as orders are left out, so that a guest can pass on the headers
/// of a message as they came. In a trace, the trace's headers are the host's: a guest's own are left out.
///
/// # Errors
/// `Invalid` for a header that cannot travel, or where all take more than [`MAX_HEADER_BYTES`].
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
        let bad = |why: &str| Error::Invalid(format!("header {}: {why}", quoted(&name)));
        let field = parse_name(&name).map_err(bad)?;
        let value = parse_value(&value).map_err(bad)?;
        append(&mut map, field, value);
    }
    if let Some(trace) = trace {
        for (name, value) in trace.fields() {
            insert(&mut map, name, value);
        }
    }
    Ok((!map.is_empty()).then_some(map))
}

/// Checks the length of all headers, before any of them is looked at: they may be as long as a guest's memory.
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

/// Headers as guests read them. Headers that [`to_wire`] would refuse are left out: a guest could not pass them on.
pub(crate) fn from_wire(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let Some(headers) = headers else {
        return Vec::new();
    };
    headers
        .iter()
        .filter(|(name, _)| can_be_name(name.as_ref()))
        .flat_map(|(name, values)| {
            values
                .iter()
                .filter(|value| can_be_value(value.as_str()))
                .map(move |value| (name.to_string(), value.to_string()))
        })
        .collect()
}

/// Checks a map that a caller made: read from a file, it may hold anything.
///
/// # Errors
/// `Invalid` for a header that cannot travel.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Error> {
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        let bad = |why: &str| Error::Invalid(format!("header {}: {why}", quoted(name)));
        parse_name(name).map_err(bad)?;
        for value in values {
            parse_value(value.as_str()).map_err(bad)?;
        }
    }
    Ok(())
}

/// Sets a header of ours to a value that somebody else chose.
///
/// # Errors
/// `Invalid` for a value that cannot travel; the text begins with `what`, the value's name.
pub(crate) fn set_checked(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: &str,
    what: &str,
) -> Result<(), Error> {
    let value = parse_value(value).map_err(|why| Error::Invalid(format!("{what}: {why}")))?;
    insert(headers, name, value);
    Ok(())
}

/// Sets a header of ours to words of ours, which may quote others: cleaned, see [`clean`].
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, words: &str) {
    // Clean words are a value.
    insert(headers, name, clean(words).parse().unwrap_or_default());
}

/// Words made fit for a header: one line, control characters become spaces, and what is longer than 4 KiB is cut.
pub(crate) fn clean(words: &str) -> String {
    let is_unfit = |character: char| character.is_control() && character != '\t';
    let end = words.floor_char_boundary(MAX_WORDS_BYTES);
    let more = if end < words.len() { "…" } else { "" };
    words[..end].replace(is_unfit, " ") + more
}

/// Whether a header of this name can travel: printable ASCII without a space or a colon.
fn can_be_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// Whether a header of this value can travel: UTF-8, as clients read it, without a line break, which the server and most
/// clients take for the value's end, and without a NUL.
fn can_be_value(value: &str) -> bool {
    !value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// Parses a name that can travel. An error is in words that follow the name.
fn parse_name(name: &str) -> Result<HeaderName, &'static str> {
    let parsed = name.parse().ok().filter(|_| can_be_name(name));
    parsed.ok_or("a name is printable ASCII without spaces or a colon")
}

/// Parses a value that can travel. An error is in words that follow the header.
fn parse_value(value: &str) -> Result<HeaderValue, &'static str> {
    let parsed = value.parse().ok().filter(|_| can_be_value(value));
    parsed.ok_or("a value has no line breaks and no NUL")
}

/// Sets a header, both parts of which are parsed.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place: a parsed name and value do not panic and can travel"
)]
fn insert(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.insert(name, value);
}

/// Adds a value to a header, both parts of which are parsed.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place: a parsed name and value do not panic and can travel"
)]
fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.append(name, value);
}

#[cfg(test)]
pub(crate) use tests::fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::kind_of;

    /// Writes headers that nobody meant as such: names and values with U+0001 between them.
    pub(crate) fn fuzz(input: &[u8]) -> u64 {
        let text = String::from_utf8_lossy(input);
        let cleaned = clean(&text);
        assert!(parse_value(&cleaned).is_ok() && cleaned.len() <= MAX_WORDS_BYTES + "…".len());
        assert!(
            !cleaned.replace('\t', "").contains(char::is_control),
            "{cleaned:?}"
        );
        let mut parts = text.split('\u{1}').map(str::to_owned);
        let mut headers = Vec::new();
        while let Some(name) = parts.next() {
            headers.push((name, parts.next().unwrap_or_default()));
        }
        let written = to_wire(headers.clone(), None);
        if let Ok(Some(map)) = &written {
            assert_eq!(check(map), Ok(()));
            let mut lines = 0;
            for (name, values) in map.iter() {
                let name: &str = name.as_ref();
                assert!(!is_reserved_header(name), "{name}");
                for value in values {
                    let line = format!("{name}: {}", value.as_str());
                    assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
                    // As clients take it apart.
                    assert_eq!(line.split_once(": "), Some((name, value.as_str())));
                    lines += 1;
                }
            }
            let passed_on = headers.iter().filter(|(name, _)| !is_reserved_header(name));
            assert_eq!(lines, passed_on.count());
            let seen = from_wire(Some(map));
            assert_eq!(seen.len(), lines);
            assert!(to_wire(seen, None).is_ok());
        }
        let words = written.as_ref().err().map(ToString::to_string);
        assert!(words.as_ref().is_none_or(|words| words.len() < 2000));
        let end: Option<String> = words.map(|words| words.chars().rev().take(8).collect());
        let fields = written.ok().flatten().map(|map| map.len().min(8));
        kind_of(&(fields, end, headers.len().min(8), cleaned == text))
    }

    fn written(name: &str, value: &str) -> Result<Option<HeaderMap>, Error> {
        to_wire(vec![(name.to_owned(), value.to_owned())], None)
    }

    #[test]
    fn what_can_travel_is_written_and_read_the_same() {
        for (name, value) in [
            ("A", ""),
            ("a-b_c.d", "a: b, c\td"),
            ("X!#$%&'*+-.^_`|~(){}", "äöü 你好"),
        ] {
            let map = written(name, value).expect("it can travel");
            assert_eq!(
                from_wire(map.as_ref()),
                [(name.to_owned(), value.to_owned())]
            );
        }
    }

    #[test]
    fn what_cannot_travel_is_refused() {
        for name in ["", "A B", " A", "A:", "Ä", "A\r", "A\n", "A\0", "A\u{7f}"] {
            assert!(
                matches!(written(name, "x"), Err(Error::Invalid(_))),
                "{name:?}"
            );
        }
        for value in ["a\rb", "a\nb", "a\r\nb: c", "\r", "a\0"] {
            assert!(
                matches!(written("A", value), Err(Error::Invalid(_))),
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_map_that_was_read_from_somewhere_is_checked() {
        let read = |json: &str| serde_json::from_str::<HeaderMap>(json).expect("a map");
        assert_eq!(check(&read(r#"{"A":["b","c"]}"#)), Ok(()));
        for json in [
            r#"{"A":["b","a\rb"]}"#,
            r#"{"A":["a\u0000"]}"#,
            r#"{"":["c"]}"#,
        ] {
            assert!(
                matches!(check(&read(json)), Err(Error::Invalid(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn a_guest_does_not_see_what_it_could_not_pass_on() {
        let map: HeaderMap =
            serde_json::from_str(r#"{"A":["b","a\u0000"],"":["c"]}"#).expect("a map");
        let seen = from_wire(Some(&map));
        assert_eq!(seen, [("A".to_owned(), "b".to_owned())]);
        assert!(to_wire(seen, None).is_ok());
    }

    #[test]
    fn words_are_made_one_line_that_is_not_too_long() {
        assert_eq!(clean("a\r\nb\rc\0d\u{85}e\tf"), "a  b c d e\tf");
        assert_eq!(clean("ünï cödé"), "ünï cödé");
        let long = clean(&"ä".repeat(MAX_WORDS_BYTES));
        assert_eq!(long, "ä".repeat(MAX_WORDS_BYTES / 2) + "…");
    }

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

    proptest::proptest! {
        #[test]
        fn clean_words_are_always_a_value(words in proptest::prelude::any::<String>()) {
            let cleaned = clean(&words);
            proptest::prop_assert!(parse_value(&cleaned).is_ok());
            proptest::prop_assert!(!cleaned.replace('\t', "").contains(char::is_control));
        }
    }
}
