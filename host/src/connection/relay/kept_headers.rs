//! The few headers that a message keeps when it has too many of them: those that say what kind of message it is.
//!
//! A tombstone of a bucket must stay one, and the answer to a read of a stream must say what was read.

use super::block::{check, push_line, push_version};

/// Headers that are kept, the first of each name: those of tombstones, and those that the server adds to what is read
/// from a stream. <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md>, ADR-31.
pub(in crate::connection) const KEPT: [&str; 6] = [
    "KV-Operation",
    "Nats-Marker-Reason",
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
];

/// The most bytes of a line that is kept: a subject of the server's longest line, and its name.
const MAX_KEPT_LINE: usize = 4096 + 64;

/// Reads a block of headers, in parts of any length, and holds only what is kept of it.
#[derive(Debug, Default)]
pub(super) struct KeptHeaders {
    /// The current line as far as it was read, or a byte more than [`MAX_KEPT_LINE`].
    line: Vec<u8>,
    /// The first line was read.
    has_version: bool,
    /// The names in [`KEPT`] that were found.
    found: [bool; KEPT.len()],
    /// The block that is made.
    block: Vec<u8>,
}

impl KeptHeaders {
    /// Reads the next part of the block.
    pub(super) fn push(&mut self, part: &[u8]) {
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_KEPT_LINE + 1 - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    /// The block of what is kept, when everything was read.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_line();
        push_line(b"", &mut self.block);
        self.block
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii_end();
        if !self.has_version {
            self.has_version = true;
            push_version(text, &mut self.block);
            return;
        }
        let name = text.split(|byte| *byte == b':').next().unwrap_or_default();
        let Some(index) = KEPT.iter().position(|kept| kept.as_bytes() == name) else {
            return;
        };
        let is_readable = || check(&[b"NATS/1.0\r\n", text, b"\r\n"].concat()).is_ok();
        if !self.found[index] && text.len() < MAX_KEPT_LINE && is_readable() {
            self.found[index] = true;
            push_line(text, &mut self.block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_among_very_many_headers_stays_one_however_it_is_split() {
        let many = "abc: d\r\n".repeat(2000);
        let long = "x".repeat(10_000);
        let block = format!(
            "NATS/1.0 200 OK\r\n{many}Long: {long}\r\nKV-Operation: DEL\r\n{many}KV-Operation: PUT\r\nNats-Subject: {long}\r\nNats-Sequence: 7\r\nNats-Stream: a\rb\r\n\r\n"
        );
        for size in [1, 2, 3, 7, 1000, block.len()] {
            let mut kept = KeptHeaders::default();
            block
                .as_bytes()
                .chunks(size)
                .for_each(|part| kept.push(part));
            let expected = "NATS/1.0 200 OK\r\nKV-Operation: DEL\r\nNats-Sequence: 7\r\n\r\n";
            assert_eq!(String::from_utf8(kept.finish()).expect("text"), expected);
        }
        assert_eq!(KeptHeaders::default().finish(), b"NATS/1.0\r\n\r\n");
    }
}
