//! The line and the headers of a message, for the client: as they are, or mended.

use super::arguments::{self, Arguments};
use super::block;
use super::kept_headers::KeptHeaders;
use super::malformed::{Malformed, MalformedCause};

/// Gets each message that was mended or dropped.
pub(super) type Report<'a> = &'a mut dyn FnMut(Malformed<'_>);

/// Appends a message's line and headers, as they are or mended.
pub(super) fn deliver(
    line: &[u8],
    arguments: &Arguments<'_>,
    block: &[u8],
    out: &mut Vec<u8>,
    report: Report<'_>,
) {
    let subject = arguments.subject.as_bytes();
    let Err(cause) = block::check(block) else {
        if arguments.lost_reply {
            report(lost_reply(arguments));
            push_message(arguments, block, out);
        } else {
            block::push_line(line, out);
            out.extend_from_slice(block);
        }
        return;
    };
    report(Malformed { cause, subject });
    let mut mended = Vec::new();
    block::mend(block, &mut mended);
    // It may have too many besides.
    if block::check(&mended).is_err() {
        let mut kept = KeptHeaders::default();
        kept.push(block);
        mended = kept.finish();
    }
    push_message(arguments, &mended, out);
}

/// Appends a message's line and headers, written anew.
pub(super) fn push_message(arguments: &Arguments<'_>, block: &[u8], out: &mut Vec<u8>) {
    arguments::push_hmsg(arguments, block.len(), out);
    out.extend_from_slice(block);
}

/// A message whose reply subject is left out.
pub(super) const fn lost_reply<'a>(arguments: &Arguments<'a>) -> Malformed<'a> {
    Malformed {
        cause: MalformedCause::Reply,
        subject: arguments.subject.as_bytes(),
    }
}
