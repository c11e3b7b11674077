//! A line of which only the beginning and the end are held, as it is too long.

/// The bytes at the end that are held, in which there is the last number.
const MAX_TAIL_BYTES: usize = 64;

/// The bytes at the beginning that are held, for the log.
const MAX_BEGINNING_BYTES: usize = 256;

/// A line that is too long, as far as it is held.
#[derive(Debug)]
pub(super) struct LongLine {
    /// The beginning.
    beginning: Vec<u8>,
    /// The last bytes, those of the line's end among them.
    tail: Vec<u8>,
}

impl LongLine {
    /// A line that begins with these bytes.
    pub(super) fn new(line: &[u8]) -> Self {
        let beginning = line.get(..MAX_BEGINNING_BYTES).unwrap_or(line);
        let mut long = Self {
            beginning: beginning.to_vec(),
            tail: Vec::new(),
        };
        long.push(line);
        long
    }

    /// Reads on.
    pub(super) fn push(&mut self, part: &[u8]) {
        let last = &part[part.len().saturating_sub(MAX_TAIL_BYTES)..];
        self.tail.extend_from_slice(last);
        let excess = self.tail.len().saturating_sub(MAX_TAIL_BYTES);
        self.tail.drain(..excess);
    }

    /// The last bytes read.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Whether it is the line of a message, after which as many bytes come as its last part says.
    pub(super) fn is_message(&self) -> bool {
        self.subject().len() < self.beginning.len()
    }

    /// The beginning, without the verb if it is the line of a message.
    pub(super) fn subject(&self) -> &[u8] {
        [&b"MSG "[..], b"HMSG "]
            .iter()
            .find_map(|verb| self.beginning.strip_prefix(*verb))
            .unwrap_or(&self.beginning)
    }

    /// The last part of the line, when it is complete.
    pub(super) fn last_part(&self) -> &[u8] {
        let line = self.tail.strip_suffix(b"\r\n").unwrap_or(&self.tail);
        let mut parts = line.split(|byte| *byte == b' ');
        parts.rfind(|part| !part.is_empty()).unwrap_or_default()
    }
}

/// The number of bytes of the input up to the end of the line that these held bytes begin.
pub(super) fn line_end(held: &[u8], input: &[u8]) -> Option<usize> {
    if held.ends_with(b"\r") && input.starts_with(b"\n") {
        return Some(1);
    }
    let mut from = 0;
    while let Some(found) = input[from..].iter().position(|byte| *byte == b'\n') {
        let end = from + found + 1;
        if input[..end].ends_with(b"\r\n") {
            return Some(end);
        }
        from = end;
    }
    None
}
