//! The check of a subject that is published on.

use async_nats::Subject;

use crate::error::Error;
use crate::protocol::subject::{MAX_SUBJECT_BYTES, check_subject};

/// Checks that a subject can be published on. The usual subject is recognized by its bytes; the slower check, which words
/// the problem, is for the others.
///
/// # Errors
/// `Invalid` for a subject with wildcards, or one that is none.
pub(super) fn check_publish_subject(subject: &Subject) -> Result<(), Error> {
    let is_usual = subject.len() <= MAX_SUBJECT_BYTES
        && subject.is_valid()
        && !subject.bytes().any(|byte| matches!(byte, b'*' | b'>'));
    if is_usual {
        Ok(())
    } else {
        check_subject(subject).map_err(Error::Invalid)
    }
}
