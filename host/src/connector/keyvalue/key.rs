//! Any non-empty text as a key, and keys as subjects.
//!
//! On the wire a key is part of a subject, so not every text may travel as it is. What may, stays readable: letters,
//! digits, `-`, `/`, `_`, and a dot between two parts. Every other byte, `=` included, is written as `=XX`, and so is
//! a dot that NATS would not take: the first, the last, and one that follows another. `user:1` travels as `user=3A1`.
//!
//! Because a byte is written according to the one before it and to whether it is the last, a prefix of a text stays a
//! prefix on the wire, where subjects can be filtered by it.

use std::fmt::Write as _;

use crate::error::Error;
use crate::protocol::bucket_rules::MAX_NAME_BYTES;
use crate::protocol::subject::MAX_SUBJECT_BYTES;

/// Bytes that a key may take on the wire: with the longest name of a bucket before it, it still makes a subject.
const MAX_WIRE_BYTES: usize = MAX_SUBJECT_BYTES - "$KV..".len() - MAX_NAME_BYTES;

/// A key as it travels.
///
/// # Errors
/// `Invalid` where the key is empty, or longer than 768 bytes on the wire.
pub(super) fn encode(key: &str) -> Result<String, Error> {
    if key.is_empty() {
        return Err(Error::Invalid("a key must not be empty".to_owned()));
    }
    fits(key, true)
}

/// The key that travels as `wire`; none where no key does, which happens where another client chose the key.
pub(super) fn decode(wire: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(wire.len());
    let mut rest = wire.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'=' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    let key = String::from_utf8(bytes).ok()?;
    // `=41` would read as `A`, but `A` does not travel so: a `get` would look elsewhere.
    (write(&key, true) == wire).then_some(key)
}

/// Wire filters that let through at least the keys that begin with `prefix`: whole parts only, as subjects go.
///
/// # Errors
/// `Invalid` where the prefix is longer than any key.
pub(super) fn filters(prefix: &str) -> Result<Vec<String>, Error> {
    let open = fits(prefix, false)?;
    let parts = open.rfind('.').map_or("", |dot| &open[..=dot]);
    let mut filters = vec![format!("{parts}>")];
    if open.ends_with('.') {
        // The one key that is the prefix itself: there the dot is the last byte, and written otherwise.
        filters.push(write(prefix, true));
    }
    Ok(filters)
}

/// Writes a text as [`write()`] does, if a subject has room for it.
fn fits(text: &str, closed: bool) -> Result<String, Error> {
    // Escaping makes nothing shorter: what is too long already is not escaped, as it may be as long as a guest's memory.
    let takes = if text.len() > MAX_WIRE_BYTES {
        format!("{} or more", text.len())
    } else {
        let wire = write(text, closed);
        if wire.len() <= MAX_WIRE_BYTES {
            return Ok(wire);
        }
        wire.len().to_string()
    };
    Err(Error::Invalid(format!(
        "a key takes at most {MAX_WIRE_BYTES} bytes on the wire, and this one takes {takes}: shorten it, \
         or use fewer characters other than letters, digits, `-`, `/`, `_` and `.`, which take three bytes or more"
    )))
}

/// `closed` where nothing follows the text.
fn write(text: &str, closed: bool) -> String {
    let bytes = text.as_bytes();
    let mut wire = String::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let plain = match byte {
            b'.' => at > 0 && bytes[at - 1] != b'.' && !(closed && at + 1 == bytes.len()),
            b'-' | b'/' | b'_' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if plain {
            wire.push(char::from(byte));
        } else {
            write!(wire, "={byte:02X}").expect("a String takes all that is written to it");
        }
    }
    wire
}

#[cfg(test)]
pub(crate) use tests::fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::kind_of;

    /// Encodes a text that nobody meant as a key, and decodes it as if it had travelled.
    pub(crate) fn fuzz(input: &[u8]) -> u64 {
        let text = String::from_utf8_lossy(input);
        let wire = encode(&text);
        if let Ok(wire) = &wire {
            assert!(
                is_valid_on_the_wire(wire) && wire.len() <= MAX_WIRE_BYTES,
                "{wire}"
            );
            assert_eq!(decode(wire).as_deref(), Some(&*text));
            // At the beginning, where most differs, and here and there.
            let ends = (0..text.len().min(8)).chain((0..=text.len()).step_by(61));
            for end in ends.filter(|end| text.is_char_boundary(*end)) {
                let filters = filters(&text[..end]).expect("a part of a key is no longer than it");
                let through = filters.iter().filter(|filter| lets_through(filter, wire));
                assert_eq!(through.count(), 1, "{wire} {filters:?}");
            }
        }
        let key = decode(&text);
        if let Some(key) = &key {
            // The empty text is no key.
            assert!(
                key.is_empty()
                    || text.len() > MAX_WIRE_BYTES
                    || encode(key).as_deref() == Ok(&*text)
            );
        }
        let escapes = wire.as_ref().map(|wire| wire.matches('=').count().min(16));
        kind_of(&(
            escapes.ok(),
            key.is_some(),
            text.matches('.').count().min(8),
            text.len() / 64,
        ))
    }

    /// Checks that every client of NATS takes this for a key.
    fn is_valid_on_the_wire(wire: &str) -> bool {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_=.".contains(&byte);
        wire.bytes().all(safe) && wire.split('.').all(|part| !part.is_empty())
    }

    /// As a server matches it, for the two forms that `filters` makes.
    fn lets_through(filter: &str, wire: &str) -> bool {
        filter.strip_suffix('>').map_or(filter == wire, |parts| {
            wire.len() > parts.len() && wire.starts_with(parts)
        })
    }

    #[test]
    fn readable_keys_travel_as_they_are_and_others_are_escaped() {
        for (key, wire) in [
            ("quakes.ci", "quakes.ci"),
            ("a/b-c_D.9", "a/b-c_D.9"),
            ("user:1", "user=3A1"),
            ("a=b", "a=3Db"),
            (".a", "=2Ea"),
            ("a.", "a=2E"),
            ("a..b", "a.=2Eb"),
            ("...", "=2E=2E=2E"),
            ("*.>", "=2A.=3E"),
            ("å b", "=C3=A5=20b"),
        ] {
            assert_eq!(encode(key).as_deref(), Ok(wire), "{key}");
        }
    }

    #[test]
    fn an_empty_or_endless_key_is_invalid() {
        assert!(matches!(encode(""), Err(Error::Invalid(_))));
        assert!(encode(&"x".repeat(MAX_WIRE_BYTES)).is_ok());
        assert!(matches!(
            encode(&"x".repeat(MAX_WIRE_BYTES + 1)),
            Err(Error::Invalid(_))
        ));
        assert!(matches!(
            encode(&":".repeat(MAX_WIRE_BYTES / 2)),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn what_is_too_long_as_it_is_is_refused_before_it_is_escaped() {
        let endless = "\u{1}".repeat(50 << 20);
        let begun = std::time::Instant::now();
        for refused in [encode(&endless).map(drop), filters(&endless).map(drop)] {
            let Err(Error::Invalid(words)) = refused else {
                panic!("it was taken")
            };
            assert!(words.contains("or more") && words.len() < 1000, "{words}");
        }
        assert!(begun.elapsed().as_millis() < 100, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_no_key_travels_as_is_not_decoded() {
        for wire in [
            "a=", "a=4", "a=ZZ", "a=41", "a=3d", "=C3", "a=3D=", "a..b", ".a",
        ] {
            assert_eq!(decode(wire), None, "{wire}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_is_valid_on_the_wire(key in "[.=:a-bå ]{1,12}|\\PC{1,40}") {
            let wire = encode(&key)?;
            prop_assert!(is_valid_on_the_wire(&wire), "{wire}");
            prop_assert_eq!(decode(&wire), Some(key));
        }

        #[test]
        fn two_keys_never_travel_as_one(one in "[.=2E]{1,6}", other in "[.=2E]{1,6}") {
            prop_assume!(one != other);
            prop_assert_ne!(encode(&one)?, encode(&other)?);
        }

        #[test]
        fn a_prefix_stays_a_prefix_and_its_filters_let_its_keys_through(
            prefix in "[.:a-b]{0,6}", more in "[.:a-b]{0,6}",
        ) {
            let key = format!("{prefix}{more}");
            prop_assume!(!key.is_empty());
            let wire = encode(&key)?;
            prop_assert!(more.is_empty() || wire.starts_with(&write(&prefix, false)), "{wire}");
            let through = filters(&prefix)?.iter().filter(|filter| lets_through(filter, &wire)).count();
            prop_assert_eq!(through, 1, "{} {:?}", wire, filters(&prefix)?);
        }
    }
}
