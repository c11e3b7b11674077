use super::*;

/// What comes out if the input comes in parts of this length, and the causes with their subjects.
fn filtered_in(
    input: &[u8],
    part: usize,
) -> Result<(Vec<u8>, Vec<(MalformedCause, Vec<u8>)>), Unfollowable> {
    let (mut filter, mut out, mut found) = (Filter::default(), Vec::new(), Vec::new());
    let mut report = |malformed: Malformed<'_>| {
        found.push((malformed.cause, malformed.subject.to_vec()));
    };
    for part in input.chunks(part) {
        filter.push(part, &mut out, &mut report)?;
    }
    assert!(filter.line.capacity() <= 4 * MAX_LINE_BYTES, "bounded");
    assert!(filter.block.capacity() <= 4 * MAX_HEADER_BLOCK_BYTES);
    Ok((out, found))
}

/// What comes out, however the input is split, and the causes.
fn filtered(input: &[u8]) -> (Vec<u8>, Vec<MalformedCause>) {
    let (out, found) = filtered_in(input, input.len().max(1)).expect("it can be followed");
    let parts = if input.len() < 2000 {
        vec![1, 2, 3, 5, 7, 11]
    } else {
        vec![997, 4096]
    };
    for part in parts {
        let in_parts = filtered_in(input, part).expect("it can be followed");
        assert_eq!(in_parts, (out.clone(), found.clone()), "in parts of {part}");
    }
    if input.len() < 2000 {
        for at in 1..input.len() {
            let (mut filter, mut two) = (Filter::default(), Vec::new());
            for half in [&input[..at], &input[at..]] {
                filter
                    .push(half, &mut two, &mut |_| ())
                    .expect("it can be followed");
            }
            assert_eq!(two, out, "split at {at}");
        }
    }
    (out, found.into_iter().map(|(cause, _)| cause).collect())
}

/// A message with headers.
fn hmsg(names: &str, headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let (head, all) = (headers.len(), headers.len() + payload.len());
    let line = format!("HMSG {names} {head} {all}\r\n");
    [line.as_bytes(), headers, payload, b"\r\n"].concat()
}

/// Puts a good message before and behind, checks that both come through, and returns what is between.
fn between(bytes: &[u8]) -> (String, Vec<MalformedCause>) {
    let good = b"MSG good 1 2\r\n\r\n\r\n";
    let (out, causes) = filtered(&[good, bytes, good].concat());
    let out = out
        .strip_prefix(good)
        .and_then(|out| out.strip_suffix(good))
        .expect("the good ones");
    (String::from_utf8_lossy(out).into_owned(), causes)
}

#[test]
fn what_the_client_takes_passes_byte_by_byte() {
    let many: &[&[u8]] = &[
        b"+OK\r\n",
        b"+OK and more\r\n",
        b"PING\r\n",
        b"PONG\r\n",
        b"PINGELING\r\n",
        b"-ERR 'Permissions Violation'\r\n",
        b"-ERR \r\n",
        b"MSG a.b 1 0\r\n\r\n",
        b"MSG a.b 1 5\r\nhello\r\n",
        b"MSG  a.b  1  reply  5 \r\n\xff\r\n\0x\r\n",
        "MSG \u{e4}\u{2003}b 1 2\r\nhi\r\n".as_bytes(),
        // The client does not look at what comes behind a payload.
        b"MSG a.b 1 5\r\nhello??",
        b"HMSG a 1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        b"HMSG a 1 18 20\r\nNATS/1.0 503 None\n\xc3\xa4\r\n",
        b"HMSG a 1 16 18\r\nNATS/1.0\r\nA: b\r\nhi\r\n",
    ];
    for one in many {
        assert_eq!(
            filtered(one),
            (one.to_vec(), vec![]),
            "{}",
            one.escape_ascii()
        );
    }
    let all = many.concat();
    assert_eq!(filtered(&all), (all.clone(), Vec::new()));
}

#[test]
fn what_cannot_be_read_of_the_headers_is_left_out_and_the_lengths_are_written_anew() {
    use MalformedCause::{Encoding, HeaderLine, HeaderName, HeaderValue, Status, Version};
    let cases: [(&[u8], MalformedCause, &str); 9] = [
        (
            b"NATS/1.0\r\nX: a\rb\r\n\r\n",
            HeaderValue,
            "NATS/1.0\r\n\r\n",
        ),
        (
            b"NATS/1.0\r\nN: J\xfc\r\n\r\n",
            Encoding,
            "NATS/1.0\r\n\r\n",
        ),
        (
            b"NATS/1.0\r\nA B: x\r\n\r\n",
            HeaderName,
            "NATS/1.0\r\n\r\n",
        ),
        (
            b"NATS/1.0\r\nno colon\r\n\r\n",
            HeaderLine,
            "NATS/1.0\r\n\r\n",
        ),
        (b"NATS/1.0 abc\r\n\r\n", Status, "NATS/1.0\r\n\r\n"),
        (b"\r\n\r\n", Version, "NATS/1.0\r\n\r\n"),
        (b"", Version, "NATS/1.0\r\n\r\n"),
        (
            b"NATS/1.0\r\nKV-Operation: DEL\r\nX: a\rb\r\n\r\n",
            HeaderValue,
            "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n",
        ),
        (
            b"NATS/1.0 503\r\nX: \xff\r\nA: b\r\n\r\n",
            Encoding,
            "NATS/1.0 503\r\nA: b\r\n\r\n",
        ),
    ];
    for (headers, cause, left) in cases {
        for payload in ["", "a payload\r\n"] {
            for names in ["a 1", "a 1 reply"] {
                let (out, causes) = between(&hmsg(names, headers, payload.as_bytes()));
                let expected = hmsg(names, left.as_bytes(), payload.as_bytes());
                assert_eq!(out.as_bytes(), expected, "{}", headers.escape_ascii());
                assert_eq!(causes, [cause]);
            }
        }
    }
}

#[test]
fn a_reply_subject_that_cannot_be_read_is_left_out() {
    let (out, causes) = between(b"MSG a 1 r\xff 2\r\nhi\r\n");
    assert_eq!(
        (out.as_str(), &causes[..]),
        ("MSG a 1 2\r\nhi\r\n", &[MalformedCause::Reply][..])
    );
    let message = hmsg("a 1 r\u{2003}5", b"NATS/1.0\r\n\r\n", b"hi");
    let (out, causes) = between(&message);
    assert_eq!(out.as_bytes(), hmsg("a 1", b"NATS/1.0\r\n\r\n", b"hi"));
    assert_eq!(causes, [MalformedCause::Reply]);
}

#[test]
fn a_message_whose_subject_cannot_be_read_is_dropped() {
    let with_headers = hmsg("a\u{2003}5 1", b"NATS/1.0\r\n\r\n", b"PING\r\n");
    let large = hmsg("a\u{a0}b 1", &[b'x'; 100_000], b"PING\r\n");
    for message in [&b"MSG a\xff 1 6\r\nPING\r\n\r\n"[..], &with_headers, &large] {
        assert_eq!(
            between(message),
            (String::new(), vec![MalformedCause::Subject])
        );
    }
}

#[test]
fn other_lines_are_dropped_and_what_follows_is_found() {
    use MalformedCause::{Arguments, Operation};
    for (line, cause) in [
        (&b"\r\n"[..], Operation),
        (b"-ERR\r\n", Operation),
        (b"INFO {}x\r\n", Operation),
        (b"INFO\r\n", Operation),
        (b"ping\r\n", Operation),
        (b"MSG\r\n", Operation),
        (b"\xff\n\n\r\r\n", Operation),
        (b"MSG a 1 2 3 4 6\r\nPING\r\n\r\n", Arguments),
        (b"MSG a x 6\r\nPING\r\n\r\n", Arguments),
        (b"HMSG a 1 7 6\r\nPING\r\n\r\n", Arguments),
    ] {
        assert_eq!(
            between(line),
            (String::new(), vec![cause]),
            "{}",
            line.escape_ascii()
        );
    }
    let (out, causes) = between(b"-ERR '\xff'\r\n");
    assert_eq!(out, "-ERR '\u{fffd}'\r\n");
    assert_eq!(causes, [MalformedCause::Encoding]);
}

#[test]
fn a_line_that_is_too_long_is_skipped_with_its_message() {
    let long = "x".repeat(MAX_LINE_BYTES);
    for line in [
        format!("MSG {long} 1 6\r\nPING\r\n\r\n"),
        format!("HMSG {long}\r{long} 1 4 6\r\nPING\r\n\r\n"),
        format!("{long}x\r\n"),
    ] {
        let causes = vec![MalformedCause::LineLength];
        assert_eq!(between(line.as_bytes()), (String::new(), causes));
    }
    let longest = format!("PING{}\r\n", &long[4..]);
    assert_eq!(filtered(longest.as_bytes()).0, longest.as_bytes());
}

#[test]
fn a_stream_that_cannot_be_followed_is_given_up() {
    let long = "x".repeat(MAX_LINE_BYTES);
    for line in [
        "MSG a 1 x\r\n".to_owned(),
        "MSG a 1 18446744073709551615\r\n".to_owned(),
        "HMSG a 1 12 4294967296\r\n".to_owned(),
        format!("MSG {long}\r\n"),
    ] {
        for part in [1, 7, line.len()] {
            assert_eq!(
                filtered_in(line.as_bytes(), part),
                Err(Unfollowable),
                "{part}"
            );
        }
    }
}

#[test]
fn above_a_limit_all_headers_are_left_out_but_a_tombstone_stays_one() {
    let tombstone = "NATS/1.0\r\nKV-Operation: PURGE\r\n";
    for (count, cause) in [
        (170_000, MalformedCause::HeaderBytes),
        (2000, MalformedCause::HeaderCount),
    ] {
        let headers = format!("{tombstone}{}\r\n", "abc:\r\n".repeat(count));
        let (out, causes) = between(&hmsg("a 1", headers.as_bytes(), b"hi"));
        let expected = hmsg("a 1", format!("{tombstone}\r\n").as_bytes(), b"hi");
        assert_eq!(out.as_bytes(), expected);
        assert_eq!(causes, [cause]);
    }
    // One that cannot be read among too many.
    let headers = format!("{tombstone}A B: x\r\n{}\r\n", "abc:\r\n".repeat(2000));
    let (out, _) = between(&hmsg("a 1", headers.as_bytes(), b"hi"));
    assert_eq!(
        out.as_bytes(),
        hmsg("a 1", format!("{tombstone}\r\n").as_bytes(), b"hi")
    );
}
