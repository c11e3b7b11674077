//! Words of guests, made fit for a line of a log, a terminal or a header.

use std::borrow::Cow;

/// A longer reason is cut: it goes into a log line and into a header.
const MAX_REASON_BYTES: usize = 4 * 1024;

/// The most of a line of a backtrace, as there are dozens.
const MAX_LINE_BYTES: usize = 512;

/// One line. Control characters become spaces, or a guest could write lines that look like the host's own, and tell a
/// terminal what to do.
pub(super) fn in_one_line(text: &str) -> Cow<'_, str> {
    let is_unfit = |c: char| c.is_control() && c != '\t';
    if text.contains(is_unfit) {
        text.replace(is_unfit, " ").into()
    } else {
        text.into()
    }
}

/// Several lines, each of them fit, and all but the first behind an indent: a component chooses the names of its
/// functions, which may have 100,000 bytes each.
pub(super) fn in_lines(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(|line| cut(line.trim_start(), MAX_LINE_BYTES))
        .collect();
    lines.join("\n    ")
}

/// Makes a guest's reason for its failure one line, and cuts it.
pub(super) fn reason(text: &str) -> String {
    cut(text, MAX_REASON_BYTES)
}

/// The beginning of a text, in one line.
fn cut(text: &str, most_bytes: usize) -> String {
    let end = text.floor_char_boundary(most_bytes);
    let more = if end < text.len() { "…" } else { "" };
    in_one_line(&text[..end]).into_owned() + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_break_and_no_escape_sequence_is_left() {
        assert_eq!(in_one_line("größer\tas\tis"), "größer\tas\tis");
        assert_eq!(
            in_one_line("a\r\nERROR \x1b[2J\u{9b}\0z"),
            "a  ERROR  [2J  z"
        );
    }

    #[test]
    fn no_line_of_a_backtrace_looks_like_one_of_the_hosts() {
        assert_eq!(
            in_lines("at:\n  0: a\nERROR\x1b[2J b"),
            "at:\n    0: a\n    ERROR [2J b"
        );
        assert_eq!(
            in_lines(&format!("at:\n0: {}\nb", "a".repeat(100_000))).len(),
            "at:\n    …\n    b".len() + MAX_LINE_BYTES
        );
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(reason("no such order"), "no such order");
        let cut = reason(&format!("x{}", "é".repeat(MAX_REASON_BYTES)));
        assert!(
            cut.ends_with("é…") && cut.len() <= MAX_REASON_BYTES + "…".len(),
            "{}",
            cut.len()
        );
    }
}
