//! Replies to requests, through one subscription to `_INBOX.<ours>.*`.
//!
//! The client's own requests leave an entry behind when no reply comes, which a guest could cause at will; and a server
//! that forbids a request says so only in an event. Both are seen to here.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{Message, Subject};
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

use super::locked;
use crate::error::Error;
use crate::random::Token;

/// Requests that may wait at once, over all guests. Well above what they may have in flight.
const MAX_WAITING: usize = 65_536;

type Answer = Result<Message, Error>;

#[derive(Debug)]
pub(super) struct Inbox {
    /// What all replies' subjects begin with, and the dot at its end.
    prefix: String,
    /// Who waits, by the last part of the subject. A service sees those of the requests to it: nobody may guess
    /// another one, or it could answer in the place of others.
    waiting: Mutex<HashMap<Token, Waiting>>,
    /// The server does not let us subscribe to it.
    refused: AtomicBool,
}

#[derive(Debug)]
struct Waiting {
    /// What the request was sent to.
    subject: Subject,
    sender: oneshot::Sender<Answer>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            prefix: format!("_INBOX.{}.", Token::new()),
            waiting: Mutex::default(),
            refused: AtomicBool::new(false),
        }
    }

    /// What the one subscription is to.
    pub(super) fn subject(&self) -> Subject {
        format!("{}*", self.prefix).into()
    }

    /// Hands replies on, until the subscription ends.
    pub(super) async fn serve(&self, mut replies: impl Stream<Item = Message> + Unpin) {
        while let Some(message) = replies.next().await {
            let token = message
                .subject
                .strip_prefix(&self.prefix)
                .and_then(Token::parse);
            if let Some(Waiting { sender, .. }) =
                token.and_then(|token| locked(&self.waiting).remove(&token))
            {
                // It may have stopped waiting just now.
                let _ = sender.send(Ok(message));
            }
        }
    }

    /// A place to wait for one reply.
    pub(super) fn ticket(&self, subject: &Subject) -> Result<Ticket<'_>, Error> {
        if self.is_refused() {
            return Err(Error::Failed(format!(
                "it does not let this user subscribe to '{}', where replies arrive: allow '_INBOX.>'",
                self.subject()
            )));
        }
        self.enter(Token::new(), subject.clone()).ok_or_else(|| {
            Error::Unavailable(format!(
                "{MAX_WAITING} requests are waiting for a reply already"
            ))
        })
    }

    /// A place to wait for a message from us to us. There is always room for it.
    pub(super) fn fence(&self) -> Ticket<'_> {
        let token = Token::new();
        let (sender, receiver) = oneshot::channel();
        let ticket = Ticket {
            inbox: self,
            token,
            receiver,
        };
        locked(&self.waiting).insert(
            token,
            Waiting {
                subject: ticket.subject(),
                sender,
            },
        );
        ticket
    }

    fn enter(&self, token: Token, subject: Subject) -> Option<Ticket<'_>> {
        let mut waiting = locked(&self.waiting);
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(token, Waiting { subject, sender });
        drop(waiting);
        Some(Ticket {
            inbox: self,
            token,
            receiver,
        })
    }

    /// Whether the server lets replies through to us.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// There is a new connection: its permissions may be others.
    pub(super) fn allowed(&self) {
        self.refused.store(false, Ordering::Release);
    }

    /// The server reported an error. If it forbids a subject that somebody waits for, they learn it. True if the error
    /// is about the inbox itself.
    pub(super) fn refused(&self, error: &str) -> bool {
        let Some(subject) = forbidden_subject(error) else {
            return false;
        };
        if subject == &*self.subject() {
            self.refused.store(true, Ordering::Release);
        }
        let mut waiting = locked(&self.waiting);
        let is_inbox = self.is_refused();
        let is_fence = |subject: &str| subject.starts_with(&self.prefix);
        // With the inbox itself forbidden no reply will come, to nobody; a fence finds another way.
        let concerned =
            |entry: &Waiting| &*entry.subject == subject || (is_inbox && !is_fence(&entry.subject));
        let tokens: Vec<_> = waiting
            .iter()
            .filter(|(_, entry)| concerned(entry))
            .map(|(token, _)| *token)
            .collect();
        for Waiting { sender, .. } in tokens.iter().filter_map(|token| waiting.remove(token)) {
            let _ = sender.send(Err(Error::Failed(error.to_owned())));
        }
        is_fence(subject)
    }

    /// No reply will come any more.
    pub(super) fn abandon(&self) {
        locked(&self.waiting).clear();
    }
}

/// `Permissions Violation for Publish to "a.b"` → `a.b`; likewise `for Subscription to`.
fn forbidden_subject(error: &str) -> Option<&str> {
    let (what, subject) = error.split_once('"')?;
    what.starts_with("Permissions Violation for")
        .then_some(())?;
    subject.split('"').next()
}

/// One who waits for a reply. Nothing is left behind when it is dropped.
pub(super) struct Ticket<'a> {
    inbox: &'a Inbox,
    token: Token,
    receiver: oneshot::Receiver<Answer>,
}

impl Ticket<'_> {
    /// Where the reply goes.
    pub(super) fn subject(&self) -> Subject {
        let mut subject = String::with_capacity(self.inbox.prefix.len() + 2 * size_of::<Token>());
        subject.push_str(&self.inbox.prefix);
        self.token.push_to(&mut subject);
        subject.into()
    }

    /// The reply, or the server's refusal. `None` when there will be none, because the connection has ended.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        locked(&self.inbox.waiting).remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_left_behind_by_one_who_stopped_waiting() {
        let inbox = Inbox::new();
        let ticket = inbox.ticket(&"a".into()).expect("a place");
        assert_eq!(locked(&inbox.waiting).len(), 1);
        drop(ticket);
        assert_eq!(locked(&inbox.waiting).len(), 0);
    }

    fn reply(subject: String) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: "a reply".into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[tokio::test]
    async fn a_reply_reaches_the_one_whose_token_it_bears_and_forged_ones_reach_nobody() {
        let inbox = Inbox::new();
        let mut first = inbox.ticket(&"a".into()).expect("a place");
        let mut second = inbox.ticket(&"a".into()).expect("a place");
        // What one who has seen the first one's subject would try.
        let seen = u128::from_be_bytes(first.token.to_bytes());
        let mut tried: Vec<_> = (0..1000)
            .flat_map(|step| [seen.wrapping_add(step), seen.wrapping_sub(step)])
            .map(|number| {
                format!(
                    "{}{}",
                    inbox.prefix,
                    Token::from_bytes(number.to_be_bytes())
                )
            })
            .collect();
        tried.extend((0..1000).map(|number| format!("{}{number}", inbox.prefix)));
        let tried: Vec<_> = tried.into_iter().map(reply).collect();
        inbox.serve(futures_util::stream::iter(tried)).await;
        assert!(matches!(first.answer().await, Some(Ok(_))));
        assert!(
            second.receiver.try_recv().is_err(),
            "the second still waits"
        );
    }

    #[tokio::test]
    async fn places_are_bounded_but_a_fence_always_has_one() {
        let inbox = Inbox::new();
        let tickets: Vec<_> = (0..MAX_WAITING)
            .map(|_| inbox.ticket(&"a".into()).expect("a place"))
            .collect();
        assert!(matches!(
            inbox.ticket(&"a".into()),
            Err(Error::Unavailable(_))
        ));
        assert_eq!(locked(&inbox.waiting).len(), tickets.len());
        let _fence = inbox.fence();
        assert_eq!(locked(&inbox.waiting).len(), tickets.len() + 1);
    }

    #[tokio::test]
    async fn a_forbidden_subject_fails_the_requests_to_it_alone() {
        let inbox = Inbox::new();
        let (mut forbidden, mut other) =
            (inbox.ticket(&"a".into()).expect("a place"), inbox.fence());
        assert!(!inbox.refused("Permissions Violation for Publish to \"a\""));
        assert!(
            matches!(forbidden.answer().await, Some(Err(Error::Failed(text))) if text.contains("\"a\""))
        );
        assert!(
            other.receiver.try_recv().is_err(),
            "the other one still waits"
        );
    }

    #[tokio::test]
    async fn a_forbidden_inbox_fails_all_requests_but_no_fence() {
        let inbox = Inbox::new();
        let (mut request, mut fence) = (inbox.ticket(&"a".into()).expect("a place"), inbox.fence());
        assert!(inbox.refused(&format!(
            "Permissions Violation for Subscription to \"{}\"",
            inbox.subject()
        )));
        assert!(matches!(
            request.answer().await,
            Some(Err(Error::Failed(_)))
        ));
        assert!(fence.receiver.try_recv().is_err(), "the fence still waits");
        assert!(matches!(inbox.ticket(&"a".into()), Err(Error::Failed(_))));
    }
}
