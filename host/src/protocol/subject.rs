//! Texts that are subjects, queue groups and buckets' names, and subjects as they travel.
//!
//! `check_…` say what is wrong in a whole sentence. The functions that they are made of continue a sentence that begins
//! with the text, wherever that was written: `"a..b"` + ` has an empty token …`.

use super::reserved::{ADMIN_ROOT, is_reserved};

/// The most bytes of a subject. A server ends a connection whose protocol line exceeds 4096 bytes, and all guests share
/// one connection: this leaves room for a subject, a reply subject and a queue group in one line.
pub(crate) const MAX_SUBJECT_BYTES: usize = 1024;
/// The most bytes of the name of a queue group: see [`MAX_SUBJECT_BYTES`].
pub(crate) const MAX_QUEUE_BYTES: usize = 256;

/// May this be subscribed to, or granted? Wildcards are allowed.
pub(crate) fn check_pattern(text: &str) -> Result<(), String> {
    pattern(text).map_err(|reason| format!("the subject {} {reason}", quoted(text)))
}

/// May a message be published on this? Wildcards are not allowed.
pub(crate) fn check_subject(text: &str) -> Result<(), String> {
    subject(text).map_err(|reason| format!("the subject {} {reason}", quoted(text)))
}

/// May members of a subscription share messages under this name?
pub(crate) fn check_queue(text: &str) -> Result<(), String> {
    queue(text).map_err(|reason| format!("the queue group {} {reason}", quoted(text)))
}

/// A text that may be a guest's, for a message: escaped, and cut before it is. What comes from a guest is quoted by
/// nothing else, as it may be as long as the guest's memory.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_CHARACTERS: usize = 80;
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// See [`check_pattern`].
pub(crate) fn pattern(text: &str) -> Result<(), String> {
    tokens(text)?;
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token == ">" && tokens.peek().is_some() {
            return Err("has a `>` that is not its last token".to_owned());
        }
        if token.len() > 1 && token.contains(['*', '>']) {
            return Err(
                "has a `*` or `>` within a token; a wildcard is a token by itself".to_owned(),
            );
        }
    }
    Ok(())
}

/// See [`check_subject`].
pub(crate) fn subject(text: &str) -> Result<(), String> {
    tokens(text)?;
    if text.contains(['*', '>']) {
        return Err("has a wildcard, which only subscriptions and grants may have".to_owned());
    }
    Ok(())
}

/// May this be put before a subject?
pub(crate) fn prefix(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    // Just before a subject's first token: a prefix may end in a dot, or in a part of that token.
    subject(&format!("{text}x"))?;
    if text.starts_with('$') {
        return Err("begins with `$`: such subjects belong to the server".to_owned());
    }
    if text.starts_with(INBOX) || INBOX.starts_with(text) {
        return Err("leads into `_INBOX.`: such subjects are for replies to requests".to_owned());
    }
    if text == ADMIN_ROOT || text.starts_with(&format!("{ADMIN_ROOT}.")) {
        return Err(format!(
            "leads into `{ADMIN_ROOT}.`: such subjects are for the operators of hosts"
        ));
    }
    Ok(())
}

/// See [`check_queue`].
pub(crate) fn queue(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty; leave it out for a subscription without a queue group".to_owned());
    }
    if text.len() > MAX_QUEUE_BYTES {
        return Err(format!("is longer than {MAX_QUEUE_BYTES} bytes"));
    }
    if text
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'))
    {
        return Err("is no queue group: it has whitespace or a wildcard".to_owned());
    }
    Ok(())
}

/// The subject as it travels: behind the prefix.
pub(crate) fn on_wire(prefix: &str, subject: &str) -> String {
    format!("{prefix}{subject}")
}

/// A subject with wildcards: `*` stands for one token, a last `>` for one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Covers all subjects that the other one stands for? The other one may have wildcards, too.
    pub(crate) fn covers(&self, other: &str) -> bool {
        let mut theirs = other.split('.');
        for ours in self.0.split('.') {
            match (ours, theirs.next()) {
                (">", Some(_)) => return true,
                (_, None | Some(">")) => return false,
                ("*", Some(_)) => {}
                (ours, Some(token)) if ours == token => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }
}

/// True if there are subjects that both stand for. Each may have wildcards.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// Refuses what is never a guest's to name: the server's own subjects, and other parties' replies.
pub(crate) fn not_reserved(text: &str) -> Result<(), String> {
    if text.starts_with('$') {
        return Err(
            "begins with `$`: such subjects belong to the server and are never a guest's"
                .to_owned(),
        );
    }
    if text.split('.').next() == Some("_INBOX") {
        return Err(
            "begins with `_INBOX`: such subjects are for replies and are never a guest's"
                .to_owned(),
        );
    }
    if is_reserved(text) {
        return Err(format!(
            "begins with `{ADMIN_ROOT}`: such subjects are for operators and are never a guest's"
        ));
    }
    Ok(())
}

const INBOX: &str = "_INBOX.";

fn tokens(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() > MAX_SUBJECT_BYTES {
        return Err(format!("is longer than {MAX_SUBJECT_BYTES} bytes"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("has whitespace or a control character".to_owned());
    }
    if text.split('.').any(str::is_empty) {
        return Err(
            "has an empty token: a dot at its beginning or end, or two in a row".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
pub(crate) use tests::fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{kind_of, lines};

    /// Checks two texts that nobody meant as subjects.
    pub(crate) fn fuzz(input: &[u8]) -> u64 {
        let [one, other] = lines(input);
        let verdicts = [pattern, subject, prefix, queue, not_reserved].map(|check| check(&one));
        for why in verdicts.iter().filter_map(|verdict| verdict.as_ref().err()) {
            assert!(
                why.len() < 200 && !why.contains(char::is_control),
                "{why:?}"
            );
        }
        for said in [check_pattern(&one), check_subject(&one), check_queue(&one)] {
            let words = said.err().unwrap_or_default();
            assert!(
                words.len() < 2000 && !words.contains(char::is_control),
                "{words:?}"
            );
        }
        let [is_pattern, is_subject, is_prefix, ..] = verdicts.each_ref().map(Result::is_ok);
        if is_subject {
            assert!(is_pattern && Pattern::new(one.clone()).covers(&one));
            // Whatever separates fields or lines of the protocol, for any client.
            assert!(!one.contains(|c: char| c.is_whitespace() || c.is_control()));
            assert!(!one.contains(['*', '>']) && one.split('.').all(|token| !token.is_empty()));
        }
        assert!(!is_prefix || one.is_empty() || subject(&format!("{one}x")).is_ok());
        if is_pattern && pattern(&other).is_ok() {
            let (ours, theirs) = (Pattern::new(one.clone()), Pattern::new(other.clone()));
            let overlaps = overlap(&one, &other);
            assert_eq!(overlaps, overlap(&other, &one));
            assert!(ours.covers(&one));
            assert!(!ours.covers(&other) || overlaps);
            assert!(!(ours.covers(&other) && theirs.covers(&one)) || one == other);
            assert!(subject(&other).is_err() || ours.covers(&other) == overlaps);
        }
        let begins = verdicts.map(|verdict| verdict.err().map(|why| why.len()));
        kind_of(&(begins, overlap(&one, &other)))
    }

    #[test]
    fn a_wildcard_is_a_token_by_itself() {
        for good in [
            "a",
            "a.b",
            "*",
            ">",
            "a.*.c",
            "a.>",
            "*.>",
            "a-b_c.1",
            "größe.µ",
            "user:1",
            "$x",
            "a.$b",
        ] {
            assert_eq!(pattern(good), Ok(()), "{good}");
        }
        for bad in ["a*", "*a.b", "a.b>", ">.a", "a.>.b", "**", ">>"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subject_to_publish_on_has_no_wildcard() {
        assert_eq!(subject("a.b"), Ok(()));
        for bad in ["a.*", ">", "a*b"] {
            assert!(subject(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_tokens_whitespace_and_endless_subjects_are_refused() {
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\tb",
            "a\r\nPUB b 0",
            "a\0",
            &"a".repeat(1025),
        ] {
            assert!(pattern(bad).is_err(), "{bad:?}");
            assert!(subject(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_put_before_as_it_is_and_never_leads_out_of_bounds() {
        for good in ["", "seismo.", "seismo", "a.b.", "_INBOXES."] {
            assert_eq!(prefix(good), Ok(()), "{good}");
        }
        for bad in [
            ".",
            "a..",
            ".a",
            "a.*.",
            "a.>",
            "$JS.",
            "_",
            "_IN",
            "_INBOX",
            "_INBOX.",
            "_INBOX.x.",
            "a b.",
            "wharf.admin.",
        ] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_servers_own_subjects_and_inboxes_are_never_a_guests() {
        for bad in [
            "$JS.API.>",
            "$KV.b.k",
            "$",
            "_INBOX.abc",
            "_INBOX",
            "wharf.admin",
            "wharf.admin.>",
        ] {
            assert!(not_reserved(bad).is_err(), "{bad}");
        }
        for good in [
            "a.$b",
            "_INBOXES.a",
            "INBOX.a",
            "*.a",
            ">",
            "wharf.admins",
            "wharf.*.a",
        ] {
            assert_eq!(not_reserved(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_queue_group_has_no_whitespace_and_no_wildcard() {
        assert_eq!(queue("workers.eu"), Ok(()));
        for bad in ["", "a b", "*", "a>"] {
            assert!(queue(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_says_which_subject_it_is_about_and_stays_short() {
        assert_eq!(
            check_subject("a b"),
            Err("the subject \"a b\" has whitespace or a control character".to_owned())
        );
        assert!(
            check_pattern(&"é".repeat(5000))
                .expect_err("too long")
                .chars()
                .count()
                < 150
        );
    }

    #[test]
    fn a_pattern_covers_what_it_stands_for_and_no_more() {
        let covers = |pattern: &str, subject: &str| Pattern(pattern.to_owned()).covers(subject);
        assert!(covers("a.b", "a.b"));
        assert!(!covers("a.b", "a.b.c"));
        assert!(!covers("a.b.c", "a.b"));
        assert!(covers("a.*", "a.b"));
        assert!(covers("a.*", "a.*"));
        assert!(!covers("a.*", "a.b.c"));
        assert!(!covers("a.*", "a.>"));
        assert!(covers("a.>", "a.b.c"));
        assert!(covers("a.>", "a.>"));
        assert!(covers("a.>", "a.*.c"));
        assert!(!covers("a.>", "a"));
        assert!(!covers("a.b", "a.*"));
        assert!(covers(">", "a"));
    }

    #[test]
    fn two_subjects_overlap_where_one_message_reaches_both() {
        for (one, other) in [
            ("a.b", "a.b"),
            ("a.*", "a.b"),
            ("a.*", "*.b"),
            ("a.>", "a.b.c"),
            (">", "a"),
            ("a.>", "*.b"),
            ("*.*", "a.>"),
        ] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("a.b", "a.c"),
            ("a", "a.b"),
            ("a.*", "a"),
            ("a.>", "a"),
            ("a.*", "b.*"),
            ("*.b", "a.*.c"),
        ] {
            assert!(
                !overlap(one, other) && !overlap(other, one),
                "{one} {other}"
            );
        }
    }
}
