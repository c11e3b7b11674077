//! A block of headers, as the client reads it: which of it can be read, and a block of that alone.
//!
//! The rules are those of async-nats 0.51, `connection.rs:try_read_op`, of `HeaderName::from_str` and of
//! `HeaderValue::from`, which panics.

use std::iter::Peekable;

use super::malformed::MalformedCause;

/// The most headers of one message. A client holds some 200 bytes for each, whatever its length.
pub(in crate::connection) const MAX_HEADERS: usize = 1024;

/// The first line of a block.
const VERSION: &str = "NATS/1.0";

/// Checks that the client can read a block of headers.
///
/// # Errors
/// The first cause for which it cannot, or should not.
pub(super) fn check(block: &[u8]) -> Result<(), MalformedCause> {
    let text = str::from_utf8(block).map_err(|_| MalformedCause::Encoding)?;
    let mut lines = text.lines().peekable();
    check_version(lines.next().ok_or(MalformedCause::Version)?)?;
    let mut count = 0;
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let continued = std::iter::from_fn(|| lines.next_if(|line| continues(line)));
        check_header(line, continued)?;
        count += 1;
        if count > MAX_HEADERS {
            return Err(MalformedCause::HeaderCount);
        }
    }
    Ok(())
}

/// Checks the first line: the version, and perhaps a status and its description.
fn check_version(line: &str) -> Result<(), MalformedCause> {
    let rest = line
        .strip_prefix(VERSION)
        .ok_or(MalformedCause::Version)?
        .trim();
    let status = rest.split_once(' ').map_or(rest, |(status, _)| status);
    match status.trim().as_bytes() {
        [] | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => Ok(()),
        _ => Err(MalformedCause::Status),
    }
}

/// Whether a line goes on with the value of the line before.
fn continues(line: &str) -> bool {
    line.starts_with(char::is_whitespace)
}

/// Checks one header: its line, and those that go on with its value.
fn check_header<'a>(
    line: &str,
    continued: impl Iterator<Item = &'a str>,
) -> Result<(), MalformedCause> {
    let (name, value) = line.split_once(':').ok_or(MalformedCause::HeaderLine)?;
    let mut has_return = value.contains('\r');
    let continued: Vec<_> = continued.collect();
    has_return |= continued.iter().any(|line| line.contains('\r'));
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MalformedCause::HeaderName);
    }
    // At either end of the value the client takes it away.
    let joined = || value.trim_start().to_owned() + &continued.concat();
    if has_return && joined().trim_end().contains('\r') {
        return Err(MalformedCause::HeaderValue);
    }
    Ok(())
}

/// Appends a block of what can be read of this one.
pub(super) fn mend(block: &[u8], to: &mut Vec<u8>) {
    let mut lines = lines(block).peekable();
    push_version(lines.next().unwrap_or_default(), to);
    while let Some(header) = next_header(&mut lines) {
        let texts: Option<Vec<_>> = header
            .iter()
            .map(|line| str::from_utf8(line).ok())
            .collect();
        let is_readable = texts.is_some_and(|texts| {
            let (line, continued) = (texts[0], &texts[1..]);
            check_header(line, continued.iter().copied()).is_ok()
        });
        if is_readable {
            header.iter().for_each(|line| push_line(line, to));
        }
    }
    push_line(b"", to);
}

/// The lines of a block, as `str::lines` has them.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let Some(line) = line.strip_suffix(b"\n") else {
            return line;
        };
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

/// The lines of the next header. The first one is not empty.
fn next_header<'a>(lines: &mut Peekable<impl Iterator<Item = &'a [u8]>>) -> Option<Vec<&'a [u8]>> {
    let first = lines.find(|line| !line.is_empty())?;
    let mut header = vec![first];
    let continues = |line: &&[u8]| {
        let beginning = line.utf8_chunks().next();
        beginning.is_some_and(|chunk| continues(chunk.valid()))
    };
    while let Some(line) = lines.next_if(continues) {
        header.push(line);
    }
    Some(header)
}

/// Appends a line.
pub(super) fn push_line(line: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(line);
    to.extend_from_slice(b"\r\n");
}

/// Appends the first line of a block, with the status if there is one that can be read.
pub(super) fn push_version(line: &[u8], to: &mut Vec<u8>) {
    if let Ok(text) = str::from_utf8(line)
        && check_version(text).is_ok()
    {
        return push_line(line, to);
    }
    // Without the description, at least the status.
    let status = line
        .strip_prefix(VERSION.as_bytes())
        .map(<[u8]>::trim_ascii_start)
        .and_then(|rest| rest.split(|byte| *byte == b' ').next())
        .and_then(|status| str::from_utf8(status).ok())
        .map(|status| format!("{VERSION} {status}"))
        .filter(|line| check_version(line).is_ok());
    push_line(status.as_deref().unwrap_or(VERSION).as_bytes(), to);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a block after its first line: why it cannot be read, and what is left of it.
    fn mended(headers: &[u8]) -> (Option<MalformedCause>, String) {
        let block = [b"NATS/1.0\r\n", headers].concat();
        let (cause, left) = mended_block(&block);
        let left = left.strip_prefix("NATS/1.0\r\n").expect("its first line");
        (cause, left.to_owned())
    }

    fn mended_block(block: &[u8]) -> (Option<MalformedCause>, String) {
        let cause = check(block).err();
        let mut left = Vec::new();
        mend(block, &mut left);
        assert_eq!(check(&left), Ok(()), "what is left can be read");
        (cause, String::from_utf8(left).expect("text"))
    }

    #[test]
    fn what_the_client_takes_is_left_as_it_is() {
        for headers in [
            "",
            "\r\n",
            "A: b\r\n\r\n",
            "A:b\r\nA:c\r\n",
            ":without a name\r\n",
            "A: b\r\n goes on\r\n\u{a0}and on\r\n\r\n",
            "A: a colon: within\r\n",
            // At the ends of a value, and of a line, the client takes them away.
            "A: \rb\r\r\n\r\n",
            "A:\u{85}b\r\n",
            "A: b\r\n\r\nB: after an empty line\r\n\r\n",
            "A: only a line feed\nB: so\n",
            "!#$%&'*+-.^_`|~\"(),/;<=>?@[]{}: signs\r\n",
        ] {
            let block = format!("NATS/1.0\r\n{headers}");
            assert_eq!(check(block.as_bytes()), Ok(()), "{headers:?}");
        }
    }

    #[test]
    fn what_it_does_not_take_is_left_out() {
        use MalformedCause::{Encoding, HeaderLine, HeaderName, HeaderValue};
        let cases: [(&[u8], MalformedCause, &str); 11] = [
            (b"X: a\rb\r\n\r\n", HeaderValue, ""),
            (b"X: a\r\r\n b\r\nA: b\r\n\r\n", HeaderValue, "A: b\r\n"),
            (b"X: a\r\n b\rc\r\nA: b\r\n\r\n", HeaderValue, "A: b\r\n"),
            (b"A: b\r\nA B: x\r\n\r\n", HeaderName, "A: b\r\n"),
            (b"\xc3\x84: x\r\nA: b\r\n\r\n", HeaderName, "A: b\r\n"),
            (b" A: x\r\nA: b\r\n\r\n", HeaderName, "A: b\r\n"),
            (b"A\rB: x\r\nA: b\r\n\r\n", HeaderName, "A: b\r\n"),
            (b"no colon\r\nA: b\r\n\r\n", HeaderLine, "A: b\r\n"),
            (b"\r\r\nA: b\r\n\r\n", HeaderLine, "A: b\r\n"),
            (
                b"N: J\xfc\r\n goes on\r\nA: b\r\n\r\n",
                Encoding,
                "A: b\r\n",
            ),
            (
                b"A: b\r\n goes on\r\nB: c\r\n \xfc\r\nC: d",
                Encoding,
                "A: b\r\n goes on\r\nC: d\r\n",
            ),
        ];
        for (headers, cause, left) in cases {
            let expected = (Some(cause), format!("{left}\r\n"));
            assert_eq!(mended(headers), expected, "{}", headers.escape_ascii());
        }
    }

    #[test]
    fn a_status_is_kept_if_it_is_one() {
        use MalformedCause::{Encoding, Status, Version};
        for good in [
            "",
            " 503",
            "503",
            " 503 No Responders",
            " 100 \r Idle",
            "  ",
        ] {
            let block = format!("NATS/1.0{good}\r\nA: b\r\n\r\n");
            assert_eq!(check(block.as_bytes()), Ok(()), "{good:?}");
        }
        let cases: [(&[u8], MalformedCause, &str); 9] = [
            (b"NATS/1.0 abc", Status, ""),
            (b"NATS/1.0 099 low", Status, ""),
            (b"NATS/1.0 5030", Status, ""),
            (b"NATS/1.0 503\tNo", Status, ""),
            (b"NATS/1.0 \xff", Encoding, ""),
            (b"NATS/1.0 503 \xff", Encoding, " 503"),
            (b"NATS/1.1 503", Version, ""),
            (b"", Version, ""),
            (b" NATS/1.0", Version, ""),
        ];
        for (first, cause, left) in cases {
            let block = [first, b"\r\nA: b\r\n\r\n"].concat();
            let expected = (Some(cause), format!("NATS/1.0{left}\r\nA: b\r\n\r\n"));
            assert_eq!(mended_block(&block), expected, "{}", first.escape_ascii());
        }
        let nothing = (Some(Version), "NATS/1.0\r\n\r\n".to_owned());
        assert_eq!(mended_block(b""), nothing);
    }

    #[test]
    fn the_number_of_headers_is_bounded() {
        let block = |count| format!("NATS/1.0\r\n{}\r\n", "abc:\r\n".repeat(count));
        assert_eq!(check(block(MAX_HEADERS).as_bytes()), Ok(()));
        let too_many = check(block(MAX_HEADERS + 1).as_bytes());
        assert_eq!(too_many, Err(MalformedCause::HeaderCount));
    }
}
