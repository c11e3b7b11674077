//! Answers to the senders of messages that no version handles: dropped for want of room, or abandoned. A sender hears at once
//! what it would learn by its time-out otherwise. At most so many a second for each guest, and nobody waits for one.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_nats::Subject;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::runtime::Handle;

use crate::connection::Connection;
use crate::headers::{clean, to_wire};
use crate::lock::locked;
use crate::message::Reply;
use crate::policy::ReplySubjects;
use crate::protocol::service_error::{SERVICE_ERROR, SERVICE_ERROR_CODE};

/// The most answers of one guest in a window: a flood of messages must not become one of answers.
const MAX_ANSWERS: u32 = 100;

/// The time over which answers are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The code of the answers: the service is unavailable, as in HTTP.
const CODE: u16 = 503;

/// The answers of one guest to senders whose messages it does not handle.
pub(super) struct Refusals {
    /// The host's subjects of replies. No grant of a guest counts here, as no version has had the message.
    replies: ReplySubjects,
    /// The answers that may still be sent.
    budget: Mutex<Budget>,
}

/// The answers of the current window.
#[derive(Debug, Default)]
struct Budget {
    /// The begin of the window. `None` before the first answer.
    began: Option<Instant>,
    /// Answers that were sent in the window.
    sent: u32,
}

impl Refusals {
    pub(super) fn new(replies: ReplySubjects) -> Self {
        Self {
            replies,
            budget: Mutex::default(),
        }
    }

    /// Tells a sender the reason, if the host may answer there and has not answered too often. What the client cannot take
    /// now is not sent: then the sender's request times out.
    pub(super) fn answer(&self, connection: &Connection, reply_to: &Subject, reason: &str) {
        if !self.replies.covers(reply_to) || !locked(&self.budget).take(Instant::now()) {
            return;
        }
        // What is dropped while a runtime ends may be dropped outside of it, where nothing can be sent.
        if Handle::try_current().is_err() {
            return;
        }
        let Reply { headers, payload } = error_reply(CODE, reason);
        let Ok(headers) = to_wire(headers, None) else {
            return;
        };
        let sending = connection.publish(reply_to.clone(), None, headers, payload);
        if let Some(Err(error)) = tokio::task::unconstrained(sending).now_or_never() {
            tracing::debug!(%reply_to, "a refusal could not be sent: {error}");
        }
    }
}

impl Budget {
    /// Takes one answer. False if there is none left in this window.
    fn take(&mut self, now: Instant) -> bool {
        let is_over = |began: Instant| now.duration_since(began) >= WINDOW;
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            self.sent = 0;
        }
        let may = self.sent < MAX_ANSWERS;
        self.sent += u32::from(may);
        may
    }
}

/// A service's error as a reply.
pub(super) fn error_reply(code: u16, words: &str) -> Reply {
    // A header of an answer of ours must not make it one that cannot be sent.
    let headers = vec![
        (SERVICE_ERROR.to_owned(), clean(words)),
        (SERVICE_ERROR_CODE.to_owned(), code.to_string()),
    ];
    Reply {
        headers,
        payload: Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_answers_are_sent_in_a_second() {
        let (mut budget, begin) = (Budget::default(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert!((0..MAX_ANSWERS).all(|_| budget.take(at(0))));
        assert!(!budget.take(at(999)));
        assert!(budget.take(at(1000)));
    }
}
