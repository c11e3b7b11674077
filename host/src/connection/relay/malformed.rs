//! The causes for which the filter mends or drops a message, and their counts.

use crate::listed::listed;

listed! {
    /// A cause for which a message was mended or dropped before the client read it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum MalformedCause {
        /// Text that is no UTF-8, in the headers.
        Encoding,
        /// Headers that do not begin with `NATS/1.0`.
        Version,
        /// A status that is no number from 100 to 999.
        Status,
        /// A line of the headers without a colon.
        HeaderLine,
        /// A header's name with a character that is not allowed there.
        HeaderName,
        /// A header's value with a carriage return in it.
        HeaderValue,
        /// More headers than the limit.
        HeaderCount,
        /// More bytes of headers than the limit.
        HeaderBytes,
        /// A reply subject that cannot be read.
        Reply,
        /// A subject that cannot be read.
        Subject,
        /// A line longer than the limit.
        LineLength,
        /// A message whose line has other parts than it should.
        Arguments,
        /// A line that is no operation of the protocol.
        Operation,
    }
}

impl MalformedCause {
    /// The cause's label in metrics and in the log.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::Version => "version",
            Self::Status => "status",
            Self::HeaderLine => "header_line",
            Self::HeaderName => "header_name",
            Self::HeaderValue => "header_value",
            Self::HeaderCount => "header_count",
            Self::HeaderBytes => "header_bytes",
            Self::Reply => "reply",
            Self::Subject => "subject",
            Self::LineLength => "line_length",
            Self::Arguments => "arguments",
            Self::Operation => "operation",
        }
    }

    /// Whether such a message is dropped. The others are delivered without the part that cannot be read.
    #[must_use]
    pub const fn is_dropped(self) -> bool {
        matches!(
            self,
            Self::Subject | Self::LineLength | Self::Arguments | Self::Operation
        )
    }
}

/// Counts of messages that were mended or dropped, by their cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MalformedCounts([u64; MalformedCause::ALL.len()]);

impl MalformedCounts {
    /// The number of messages of this cause.
    #[must_use]
    pub const fn of(&self, cause: MalformedCause) -> u64 {
        self.0[cause as usize]
    }

    /// The number of messages of all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts one message.
    pub(crate) const fn add_one(&mut self, cause: MalformedCause) {
        self.0[cause as usize] += 1;
    }
}

/// A message that was mended or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed<'a> {
    /// The cause.
    pub(crate) cause: MalformedCause,
    /// The message's subject, or the beginning of a line that is no message.
    pub(crate) subject: &'a [u8],
}

/// The most characters of a subject in the log.
const MAX_SHOWN: usize = 80;

impl Malformed<'_> {
    /// The subject for the log: escaped, and cut to [`MAX_SHOWN`] characters.
    pub(crate) fn shown_subject(&self) -> String {
        let beginning = self.subject.get(..MAX_SHOWN).unwrap_or(self.subject);
        let mut shown = beginning.escape_ascii().to_string();
        if shown.len() > MAX_SHOWN || beginning.len() < self.subject.len() {
            shown.truncate(MAX_SHOWN - 1);
            shown.push('…');
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_shown_escaped_and_short() {
        let shown = |subject: &[u8]| {
            let cause = MalformedCause::Subject;
            Malformed { cause, subject }.shown_subject()
        };
        assert_eq!(shown(b"a.b\xff\x1b"), "a.b\\xff\\x1b");
        let eighty = "x".repeat(80);
        assert_eq!(shown(eighty.as_bytes()), eighty);
        for long in ["x".repeat(81), "\u{7}".repeat(80), "é".repeat(1000)] {
            let short = shown(long.as_bytes());
            assert_eq!(short.chars().count(), 80, "{short}");
            assert!(short.ends_with('…'));
        }
    }

    #[test]
    fn each_cause_is_counted_apart() {
        let mut counts = MalformedCounts::default();
        for (times, cause) in (1..).zip(MalformedCause::ALL) {
            (0..times).for_each(|_| counts.add_one(cause));
        }
        for (times, cause) in (1..).zip(MalformedCause::ALL) {
            assert_eq!(counts.of(cause), times, "{cause:?}");
        }
        assert_eq!(counts.total(), 91);
    }
}
