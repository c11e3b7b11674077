//! The filter: bytes from the server go in, in parts of any length; what the client can read comes out.
//!
//! Framing is the server's own, which a message cannot break: what a client sends chooses subjects, headers and payloads,
//! but no lengths. So everything is either passed on as it is, written anew, or skipped by its length.

use super::arguments::{self, Arguments, Undeliverable};
use super::block;
use super::deliver::{Report, deliver, lost_reply, push_message};
use super::info;
use super::kept_headers::KeptHeaders;
use super::long_line::{LongLine, line_end};
use super::malformed::{Malformed, MalformedCause};

/// The most bytes of a line. The server's own limit for clients, `max_control_line`, is 4 KiB by default.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// The most bytes of a message's headers that are held, and delivered.
pub(in crate::connection) const MAX_HEADER_BLOCK_BYTES: usize = 64 * 1024;

/// The server's stream cannot be followed any further, as a message's length cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a message whose length cannot be read")]
pub(crate) struct Unfollowable;

/// The filter of one connection, from the server's `INFO` to its end.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// The position in the stream.
    place: Place,
    /// The beginning of a line whose end has not arrived. In other places, the line of the message whose headers are
    /// awaited, without its end.
    line: Vec<u8>,
    /// The beginning of a block of headers whose end has not arrived.
    block: Vec<u8>,
}

/// A position in the server's stream.
#[derive(Debug, Default)]
enum Place {
    /// At the beginning of a line, or within.
    #[default]
    Line,
    /// Within a line that is too long.
    LongLine(LongLine),
    /// Within the headers of a message, whose line is held.
    Headers,
    /// Within headers that are too large, of which so many bytes are left.
    LargeHeaders(usize, Box<KeptHeaders>),
    /// Within so many bytes that are passed on as they are.
    Pass(usize),
    /// Within so many bytes that are skipped.
    Skip(usize),
}

impl Filter {
    /// Takes the next bytes from the server, and appends what the client gets.
    ///
    /// # Errors
    /// `Unfollowable`: the connection has to be given up.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        report: Report<'_>,
    ) -> Result<(), Unfollowable> {
        while !input.is_empty() {
            input = match std::mem::take(&mut self.place) {
                Place::Line => self.take_line(input, out, report)?,
                Place::LongLine(line) => self.take_long_line(line, input, report)?,
                Place::Headers => self.take_headers(input, out, report),
                Place::LargeHeaders(left, kept) => {
                    self.take_large_headers(left, kept, input, out, report)
                }
                Place::Pass(left) => {
                    let (passed, rest) = split(input, left);
                    out.extend_from_slice(passed);
                    self.place = Self::pass(left - passed.len());
                    rest
                }
                Place::Skip(left) => {
                    let (skipped, rest) = split(input, left);
                    self.place = match left - skipped.len() {
                        0 => Place::Line,
                        left => Place::Skip(left),
                    };
                    rest
                }
            };
        }
        Ok(())
    }

    fn pass(bytes: usize) -> Place {
        if bytes == 0 {
            Place::Line
        } else {
            Place::Pass(bytes)
        }
    }

    /// Takes a line, or the part of it that there is.
    fn take_line<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
        report: Report<'_>,
    ) -> Result<&'a [u8], Unfollowable> {
        let Some(end) = line_end(&self.line, input) else {
            self.line.extend_from_slice(input);
            self.limit_line();
            return Ok(b"");
        };
        let (line, rest) = input.split_at(end);
        if self.line.is_empty() {
            // The usual case: nothing is copied but to the client.
            let line = line.strip_suffix(b"\r\n").unwrap_or_default();
            if line.len() <= MAX_LINE_BYTES {
                self.operation(line, out, report)?;
                return Ok(rest);
            }
        }
        let mut held = std::mem::take(&mut self.line);
        held.extend_from_slice(line);
        if held.len() > MAX_LINE_BYTES + b"\r\n".len() {
            self.place = end_long_line(&LongLine::new(&held), report)?;
            return Ok(rest);
        }
        held.truncate(held.len() - b"\r\n".len());
        let done = self.operation(&held, out, report);
        if self.line.is_empty() {
            // Its room is used again.
            held.clear();
            self.line = held;
        }
        done.map(|()| rest)
    }

    /// Turns to skipping a line that has become too long.
    fn limit_line(&mut self) {
        // Its end may be the last byte.
        if self.line.len() > MAX_LINE_BYTES + 1 {
            self.place = Place::LongLine(LongLine::new(&self.line));
            self.line = Vec::new();
        }
    }

    fn take_long_line<'a>(
        &mut self,
        mut line: LongLine,
        input: &'a [u8],
        report: Report<'_>,
    ) -> Result<&'a [u8], Unfollowable> {
        let end = line_end(line.tail(), input);
        let (part, rest) = input.split_at(end.unwrap_or(input.len()));
        line.push(part);
        if end.is_some() {
            self.place = end_long_line(&line, report)?;
        } else {
            self.place = Place::LongLine(line);
        }
        Ok(rest)
    }

    /// Does what a line asks for, in the order in which the client looks for verbs.
    fn operation(
        &mut self,
        line: &[u8],
        out: &mut Vec<u8>,
        report: Report<'_>,
    ) -> Result<(), Unfollowable> {
        let begins = |verb: &[u8]| line.starts_with(verb);
        if begins(b"+OK") || begins(b"PING") || begins(b"PONG") {
            block::push_line(line, out);
        } else if begins(b"-ERR") {
            error(line, out, report);
        } else if let Some(json) = line.strip_prefix(b"INFO ") {
            match info::for_client(json) {
                Some(info) => out.extend_from_slice(&info),
                None => report(no_operation(line)),
            }
        } else if let Some(rest) = line.strip_prefix(b"MSG ") {
            self.msg(line, rest, out, report)?;
        } else if let Some(rest) = line.strip_prefix(b"HMSG ") {
            self.hmsg(line, rest, report)?;
        } else {
            report(no_operation(line));
        }
        Ok(())
    }

    fn msg(
        &mut self,
        line: &[u8],
        rest: &[u8],
        out: &mut Vec<u8>,
        report: Report<'_>,
    ) -> Result<(), Unfollowable> {
        match arguments::read(rest, false) {
            Ok(arguments) => {
                if arguments.lost_reply {
                    report(lost_reply(&arguments));
                    arguments::push_msg(&arguments, out);
                } else {
                    block::push_line(line, out);
                }
                self.place = Place::Pass(arguments.total_bytes + b"\r\n".len());
            }
            Err(undeliverable) => self.place = skip(&undeliverable, report)?,
        }
        Ok(())
    }

    fn hmsg(&mut self, line: &[u8], rest: &[u8], report: Report<'_>) -> Result<(), Unfollowable> {
        self.place = match arguments::read(rest, true) {
            Ok(Arguments { header_bytes, .. }) => {
                self.line.extend_from_slice(line);
                self.block.clear();
                if header_bytes <= MAX_HEADER_BLOCK_BYTES {
                    Place::Headers
                } else {
                    Place::LargeHeaders(header_bytes, Box::default())
                }
            }
            Err(undeliverable) => skip(&undeliverable, report)?,
        };
        Ok(())
    }

    fn take_headers<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
        report: Report<'_>,
    ) -> &'a [u8] {
        let line = std::mem::take(&mut self.line);
        let Ok(arguments) = arguments::read(&line[b"HMSG ".len()..], true) else {
            // It was read before it was held.
            return input;
        };
        let missing = arguments.header_bytes - self.block.len();
        if input.len() < missing {
            self.block.extend_from_slice(input);
            self.line = line;
            self.place = Place::Headers;
            return b"";
        }
        let (part, rest) = input.split_at(missing);
        let held = std::mem::take(&mut self.block);
        let whole;
        let block = if held.is_empty() {
            part
        } else {
            whole = [&held, part].concat();
            &whole
        };
        deliver(&line, &arguments, block, out, report);
        self.end_headers(&arguments);
        self.line = reused(line);
        self.block = reused(held);
        rest
    }

    fn take_large_headers<'a>(
        &mut self,
        left: usize,
        mut kept: Box<KeptHeaders>,
        input: &'a [u8],
        out: &mut Vec<u8>,
        report: Report<'_>,
    ) -> &'a [u8] {
        let (part, rest) = split(input, left);
        kept.push(part);
        let left = left - part.len();
        if left > 0 {
            self.place = Place::LargeHeaders(left, kept);
            return rest;
        }
        let line = std::mem::take(&mut self.line);
        if let Ok(arguments) = arguments::read(&line[b"HMSG ".len()..], true) {
            report(Malformed {
                cause: MalformedCause::HeaderBytes,
                subject: arguments.subject.as_bytes(),
            });
            push_message(&arguments, &kept.finish(), out);
            self.end_headers(&arguments);
        }
        self.line = reused(line);
        rest
    }

    /// Goes on to the payload.
    fn end_headers(&mut self, arguments: &Arguments<'_>) {
        let payload = arguments.total_bytes - arguments.header_bytes;
        self.place = Place::Pass(payload + b"\r\n".len());
    }
}

/// A buffer to be used again.
fn reused(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer
}

/// Appends an error that the server reports. The client reads from the sixth byte on, and wants text there.
fn error(line: &[u8], out: &mut Vec<u8>, report: Report<'_>) {
    match line.get(b"-ERR ".len()..) {
        None => report(no_operation(line)),
        Some(words) if str::from_utf8(words).is_ok() => block::push_line(line, out),
        Some(words) => {
            report(Malformed {
                cause: MalformedCause::Encoding,
                subject: line,
            });
            let words = String::from_utf8_lossy(words);
            block::push_line(format!("-ERR {words}").as_bytes(), out);
        }
    }
}

/// Reports a message that cannot be delivered. Returns the place behind its line.
fn skip(undeliverable: &Undeliverable<'_>, report: Report<'_>) -> Result<Place, Unfollowable> {
    let Undeliverable {
        cause,
        subject,
        total_bytes,
    } = *undeliverable;
    report(Malformed { cause, subject });
    let bytes = total_bytes.ok_or(Unfollowable)?;
    Ok(Place::Skip(bytes + b"\r\n".len()))
}

/// Reports a line that was too long. Returns the place behind it.
fn end_long_line(line: &LongLine, report: Report<'_>) -> Result<Place, Unfollowable> {
    report(Malformed {
        cause: MalformedCause::LineLength,
        subject: line.subject(),
    });
    if !line.is_message() {
        return Ok(Place::Line);
    }
    let bytes = arguments::length(line.last_part()).ok_or(Unfollowable)?;
    Ok(Place::Skip(bytes + b"\r\n".len()))
}

const fn no_operation(line: &[u8]) -> Malformed<'_> {
    Malformed {
        cause: MalformedCause::Operation,
        subject: line,
    }
}

/// The first bytes, up to so many, and the rest.
fn split(input: &[u8], bytes: usize) -> (&[u8], &[u8]) {
    input.split_at(bytes.min(input.len()))
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed_stream;

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod tests;
