//! The line of a message, `MSG` or `HMSG`, as the client reads it. The two differ: the parts of the first are separated
//! by spaces, those of the second by all that Unicode calls white space, which a subject may have within.

use super::malformed::MalformedCause;

/// The most bytes of one message, headers included: the server keeps `max_payload` in 32 bits.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// The line of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments<'a> {
    /// The subject.
    pub(super) subject: &'a str,
    /// The number of the subscription, as it is written.
    pub(super) sid: &'a str,
    /// The reply subject.
    pub(super) reply: Option<&'a str>,
    /// The bytes of the headers. 0 for `MSG`, which has none.
    pub(super) header_bytes: usize,
    /// The bytes of headers and payload.
    pub(super) total_bytes: usize,
    /// There was a reply subject that cannot be read. It is left out.
    pub(super) lost_reply: bool,
}

/// A message that cannot be delivered, because of its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undeliverable<'a> {
    /// The cause.
    pub(super) cause: MalformedCause,
    /// The first part of the line.
    pub(super) subject: &'a [u8],
    /// The bytes of headers and payload. `None` if the line does not say.
    pub(super) total_bytes: Option<usize>,
}

/// Reads the line of a message, after its verb.
///
/// # Errors
/// `Undeliverable` if the client could not read it even without the reply subject.
pub(super) fn read(line: &[u8], has_headers: bool) -> Result<Arguments<'_>, Undeliverable<'_>> {
    // A line of six parts is one of too many, and so is a longer one.
    let mut parts: [&[u8]; 6] = [b""; 6];
    let mut count = 0;
    let mut last: &[u8] = b"";
    for part in line.split(|byte| *byte == b' ').filter(|p| !p.is_empty()) {
        if let Some(place) = parts.get_mut(count) {
            *place = part;
            count += 1;
        }
        last = part;
    }
    let total_bytes = length(last);
    let undeliverable = |cause| Undeliverable {
        cause,
        subject: parts[0],
        total_bytes,
    };
    let lengths = 1 + usize::from(has_headers);
    let (names, numbers) = match count.checked_sub(lengths) {
        Some(names @ (2 | 3)) => (&parts[..names], &parts[names..count]),
        _ => return Err(undeliverable(MalformedCause::Arguments)),
    };
    let is_text = |part: &&str| !(has_headers && part.contains(char::is_whitespace));
    let text = |part| str::from_utf8(part).ok().filter(is_text);
    let subject = text(names[0]).ok_or_else(|| undeliverable(MalformedCause::Subject))?;
    let sid = text(names[1]).filter(|sid| sid.parse::<u64>().is_ok());
    let header_bytes = if has_headers {
        length(numbers[0])
    } else {
        Some(0)
    };
    let (Some(sid), Some(header_bytes), Some(total_bytes)) = (sid, header_bytes, total_bytes)
    else {
        return Err(undeliverable(MalformedCause::Arguments));
    };
    if total_bytes < header_bytes {
        return Err(undeliverable(MalformedCause::Arguments));
    }
    let reply = names.get(2).map(|reply| text(reply));
    Ok(Arguments {
        subject,
        sid,
        reply: reply.flatten(),
        header_bytes,
        total_bytes,
        lost_reply: reply == Some(None),
    })
}

/// A length, as the client reads it. `None` for one that no message has.
pub(super) fn length(text: &[u8]) -> Option<usize> {
    let length = str::from_utf8(text).ok()?.parse().ok()?;
    (length <= MAX_MESSAGE_BYTES).then_some(length)
}

/// Appends the line of a message without headers.
pub(super) fn push_msg(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    to.extend_from_slice(b"MSG ");
    push_names(arguments, to);
    push_length(arguments.total_bytes, b"\r\n", to);
}

/// Appends the line of a message with headers of this length.
pub(super) fn push_hmsg(arguments: &Arguments<'_>, header_bytes: usize, to: &mut Vec<u8>) {
    let payload = arguments.total_bytes - arguments.header_bytes;
    to.extend_from_slice(b"HMSG ");
    push_names(arguments, to);
    push_length(header_bytes, b" ", to);
    push_length(header_bytes + payload, b"\r\n", to);
}

fn push_names(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let names = [
        Some(arguments.subject),
        Some(arguments.sid),
        arguments.reply,
    ];
    for name in names.into_iter().flatten() {
        to.extend_from_slice(name.as_bytes());
        to.push(b' ');
    }
}

fn push_length(length: usize, end: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(length.to_string().as_bytes());
    to.extend_from_slice(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a line, or why there are none and how long the message is.
    fn parts(
        line: &[u8],
        has_headers: bool,
    ) -> Result<(String, Option<String>, usize, usize), (MalformedCause, Option<usize>)> {
        match read(line, has_headers) {
            Ok(found) => Ok((
                found.subject.to_owned(),
                found.reply.map(str::to_owned),
                found.header_bytes,
                found.total_bytes,
            )),
            Err(Undeliverable {
                cause, total_bytes, ..
            }) => Err((cause, total_bytes)),
        }
    }

    #[test]
    fn a_line_is_read_as_the_client_reads_it() {
        let good = |line: &str, has_headers| parts(line.as_bytes(), has_headers).expect("a line");
        assert_eq!(good("a 1 5", false), ("a".into(), None, 0, 5));
        assert_eq!(
            good("  a  1  r  +5 ", false),
            ("a".into(), Some("r".into()), 0, 5)
        );
        assert_eq!(good("a 1 12 15", true), ("a".into(), None, 12, 15));
        assert_eq!(
            good("a 1 r 12 15", true),
            ("a".into(), Some("r".into()), 12, 15)
        );
        // Such spaces are part of a subject for the one, and separate parts for the other.
        for space in ["\t", "\u{b}", "\u{a0}", "\u{2003}", "\u{85}"] {
            let subject = format!("a{space}5");
            assert_eq!(good(&format!("{subject} 1 5"), false).0, subject);
            let line = format!("{subject} 1 12 15");
            let refused = Err((MalformedCause::Subject, Some(15)));
            assert_eq!(parts(line.as_bytes(), true), refused);
            let line = format!("a 1 {subject} 12 15");
            assert_eq!(good(&line, true), ("a".into(), None, 12, 15), "no reply");
        }
    }

    #[test]
    fn a_line_that_it_does_not_take_is_refused_with_the_length_if_there_is_one() {
        use MalformedCause::{Arguments, Subject};
        for (line, has_headers, cause, total) in [
            (&b"a\xff 1 5"[..], false, Subject, Some(5)),
            (b"a\xff 1 12 15", true, Subject, Some(15)),
            (b"a 1", false, Arguments, Some(1)),
            (b"a 1 r s 5", false, Arguments, Some(5)),
            (b"a 1 r s t u v 12 15", true, Arguments, Some(15)),
            (b"a x 5", false, Arguments, Some(5)),
            (b"a -1 5", false, Arguments, Some(5)),
            (b"a 1 x", false, Arguments, None),
            (b"a 1 99999999999999999999", false, Arguments, None),
            (b"a 1 18446744073709551615", false, Arguments, None),
            (b"a 1 16 15", true, Arguments, Some(15)),
            (b"a 1 x 15", true, Arguments, Some(15)),
            (b"", false, Arguments, None),
        ] {
            let refused = Err((cause, total));
            assert_eq!(parts(line, has_headers), refused, "{}", line.escape_ascii());
        }
        let lost = read(b"a 1 r\xff 5", false).expect("a line");
        assert!(lost.lost_reply && lost.reply.is_none());
    }
}
