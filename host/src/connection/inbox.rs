//! Replies to requests, through one subscription to `_INBOX.<ours>.*`.
//!
//! The client's own requests leave an entry behind when no reply comes, which a guest could cause at will; and a server
//! that forbids a request says so only in an event. So requests are kept here instead: an entry goes with the caller that
//! waits, and a refusal ends the wait.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{Message, Subject};
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::lock::locked;
use crate::random::Token;

/// The most requests that may wait at once, over all guests. Well above the number that guests may have in flight.
const MAX_PENDING: usize = 65_536;

/// A reply, or the reason why there is none.
type ReplyResult = Result<Message, Error>;

/// The connection's inbox: the requests that wait for a reply.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The beginning of all replies' subjects, up to the last dot.
    prefix: String,
    /// The requests that wait.
    requests: Mutex<PendingRequests>,
    /// The server does not let us subscribe to the inbox.
    refused: AtomicBool,
}

/// The requests that wait for a reply.
#[derive(Debug, Default)]
struct PendingRequests {
    /// The requests, by the last token of their replies' subjects. A service sees the tokens of the requests to it: nobody
    /// may guess another one, or that service could answer in the place of others.
    by_token: HashMap<Token, PendingRequest>,
    /// The same requests by the subject that they were sent to, to find those that the server forbids.
    by_subject: BTreeSet<(Subject, Token)>,
}

/// A request that waits for a reply.
#[derive(Debug)]
struct PendingRequest {
    /// The subject that the request was sent to.
    subject: Subject,
    /// The way to the caller that waits.
    sender: oneshot::Sender<ReplyResult>,
}

impl PendingRequests {
    fn insert(&mut self, token: Token, subject: Subject, sender: oneshot::Sender<ReplyResult>) {
        self.by_subject.insert((subject.clone(), token));
        self.by_token
            .insert(token, PendingRequest { subject, sender });
    }

    /// Removes a request, and returns the way to the caller that waits.
    fn remove(&mut self, token: Token) -> Option<oneshot::Sender<ReplyResult>> {
        let PendingRequest { subject, sender } = self.by_token.remove(&token)?;
        self.by_subject.remove(&(subject, token));
        Some(sender)
    }

    /// Removes the requests to a subject.
    fn remove_all_to(&mut self, subject: &Subject) -> Vec<oneshot::Sender<ReplyResult>> {
        let from = (subject.clone(), Token::FIRST);
        let tokens: Vec<Token> = self
            .by_subject
            .range(from..)
            .take_while(|(to, _)| to == subject)
            .map(|(_, token)| *token)
            .collect();
        tokens
            .into_iter()
            .filter_map(|token| self.remove(token))
            .collect()
    }

    /// Removes the requests whose subjects do not begin with this.
    fn remove_all_beside(&mut self, prefix: &str) -> Vec<oneshot::Sender<ReplyResult>> {
        let tokens: Vec<Token> = self
            .by_subject
            .iter()
            .filter(|(to, _)| !to.starts_with(prefix))
            .map(|(_, token)| *token)
            .collect();
        tokens
            .into_iter()
            .filter_map(|token| self.remove(token))
            .collect()
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            prefix: format!("_INBOX.{}.", Token::new()),
            requests: Mutex::default(),
            refused: AtomicBool::new(false),
        }
    }

    /// The subject of the one subscription.
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
            if let Some(sender) = token.and_then(|token| locked(&self.requests).remove(token)) {
                // The caller may have stopped waiting just now.
                let _ = sender.send(Ok(message));
            }
        }
    }

    /// Registers a request to this subject, for one reply.
    ///
    /// # Errors
    /// `Failed` while the server does not let us subscribe to the inbox, `Unavailable` while too many requests wait.
    pub(super) fn pending_reply(&self, subject: &Subject) -> Result<PendingReply<'_>, Error> {
        if self.is_refused() {
            return Err(Error::Failed(format!(
                "it does not let this user subscribe to '{}', where replies arrive: allow '_INBOX.>'",
                self.subject()
            )));
        }
        self.register(Token::new(), subject.clone()).ok_or_else(|| {
            Error::Unavailable(format!(
                "{MAX_PENDING} requests are waiting for a reply already"
            ))
        })
    }

    /// Registers a message from us to us. There is always room for it.
    pub(super) fn fence(&self) -> PendingReply<'_> {
        let token = Token::new();
        let (sender, receiver) = oneshot::channel();
        let pending = PendingReply {
            inbox: self,
            token,
            receiver,
        };
        locked(&self.requests).insert(token, pending.subject(), sender);
        pending
    }

    /// Registers a request, if there is room.
    fn register(&self, token: Token, subject: Subject) -> Option<PendingReply<'_>> {
        let mut requests = locked(&self.requests);
        if requests.by_token.len() >= MAX_PENDING {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        requests.insert(token, subject, sender);
        drop(requests);
        Some(PendingReply {
            inbox: self,
            token,
            receiver,
        })
    }

    /// Whether the server does not let us subscribe to the inbox.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// Forgets the server's refusal of the inbox: a new connection may have other permissions.
    pub(super) fn forget_refusal(&self) {
        self.refused.store(false, Ordering::Release);
    }

    /// Notes an error that the server reported. If it forbids a subject that requests were sent to, they fail with the
    /// error's words. True if the error is about the inbox itself.
    pub(super) fn note_refusal(&self, error: &str) -> bool {
        let Some(subject) = forbidden_subject(error) else {
            return false;
        };
        let mut requests = locked(&self.requests);
        let mut refused = requests.remove_all_to(&subject.into());
        if subject == &*self.subject() {
            // No reply will come, to nobody; a fence finds another way.
            self.refused.store(true, Ordering::Release);
            refused.extend(requests.remove_all_beside(&self.prefix));
        }
        drop(requests);
        for sender in refused {
            let _ = sender.send(Err(Error::Failed(error.to_owned())));
        }
        subject.starts_with(&self.prefix)
    }

    /// Ends every wait: no reply will come any more.
    pub(super) fn abandon(&self) {
        // Whoever is woken by that need not wait for the lock.
        let ended = std::mem::take(&mut *locked(&self.requests));
        drop(ended);
    }
}

/// The subject that an error forbids: `Permissions Violation for Publish to "a.b"` → `a.b`, and likewise for
/// `for Subscription to`.
fn forbidden_subject(error: &str) -> Option<&str> {
    let (what, subject) = error.split_once('"')?;
    what.starts_with("Permissions Violation for")
        .then_some(())?;
    subject.split('"').next()
}

/// The caller's side of a request that waits for a reply. Its drop removes the request from the inbox.
pub(super) struct PendingReply<'a> {
    /// The inbox that the request is in.
    inbox: &'a Inbox,
    /// The last token of the reply's subject.
    token: Token,
    /// Gets the reply.
    receiver: oneshot::Receiver<ReplyResult>,
}

impl PendingReply<'_> {
    /// The subject that the reply is sent to.
    pub(super) fn subject(&self) -> Subject {
        let mut subject = String::with_capacity(self.inbox.prefix.len() + 2 * size_of::<Token>());
        subject.push_str(&self.inbox.prefix);
        self.token.push_to(&mut subject);
        subject.into()
    }

    /// Waits for the reply, or the server's refusal. `None` when there will be none, because the connection has ended.
    pub(super) async fn reply(&mut self) -> Option<ReplyResult> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for PendingReply<'_> {
    fn drop(&mut self) {
        let ended = locked(&self.inbox.requests).remove(self.token);
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_left_behind_by_one_who_stopped_waiting() {
        let inbox = Inbox::new();
        let pending = inbox.pending_reply(&"a".into()).expect("a place");
        assert_eq!(locked(&inbox.requests).by_token.len(), 1);
        drop(pending);
        assert_eq!(locked(&inbox.requests).by_token.len(), 0);
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
        let mut first = inbox.pending_reply(&"a".into()).expect("a place");
        let mut second = inbox.pending_reply(&"a".into()).expect("a place");
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
        assert!(matches!(first.reply().await, Some(Ok(_))));
        assert!(
            second.receiver.try_recv().is_err(),
            "the second still waits"
        );
    }

    #[tokio::test]
    async fn places_are_bounded_but_a_fence_always_has_one() {
        let inbox = Inbox::new();
        let pending: Vec<_> = (0..MAX_PENDING)
            .map(|_| inbox.pending_reply(&"a".into()).expect("a place"))
            .collect();
        assert!(matches!(
            inbox.pending_reply(&"a".into()),
            Err(Error::Unavailable(_))
        ));
        assert_eq!(locked(&inbox.requests).by_token.len(), pending.len());
        let _fence = inbox.fence();
        assert_eq!(locked(&inbox.requests).by_token.len(), pending.len() + 1);
    }

    #[tokio::test]
    async fn a_forbidden_subject_fails_the_requests_to_it_alone() {
        let inbox = Inbox::new();
        let (mut forbidden, mut other) = (
            inbox.pending_reply(&"a".into()).expect("a place"),
            inbox.fence(),
        );
        assert!(!inbox.note_refusal("Permissions Violation for Publish to \"a\""));
        assert!(
            matches!(forbidden.reply().await, Some(Err(Error::Failed(text))) if text.contains("\"a\""))
        );
        assert!(
            other.receiver.try_recv().is_err(),
            "the other one still waits"
        );
    }

    #[tokio::test]
    async fn a_refusal_takes_no_time_for_those_that_it_does_not_concern() {
        let inbox = Inbox::new();
        let _waiting: Vec<_> = (0..MAX_PENDING)
            .map(|number| {
                let subject = format!("other.{number}").into();
                inbox.pending_reply(&subject).expect("a place")
            })
            .collect();
        let begun = std::time::Instant::now();
        for _ in 0..2000 {
            inbox.note_refusal("Permissions Violation for Publish to \"forbidden\"");
        }
        assert!(begun.elapsed().as_millis() < 500, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn nothing_of_a_request_stays_behind() {
        let inbox = Inbox::new();
        drop(inbox.pending_reply(&"a".into()).expect("a place"));
        let refused = inbox.pending_reply(&"b".into()).expect("a place");
        inbox.note_refusal("Permissions Violation for Publish to \"b\"");
        let answered = inbox.pending_reply(&"c".into()).expect("a place");
        let answer = reply(answered.subject().to_string());
        inbox.serve(futures_util::stream::iter([answer])).await;
        let requests = locked(&inbox.requests);
        assert!(requests.by_token.is_empty() && requests.by_subject.is_empty());
        drop(requests);
        drop((refused, answered));
    }

    #[tokio::test]
    async fn a_forbidden_inbox_fails_all_requests_but_no_fence() {
        let inbox = Inbox::new();
        let (mut request, mut fence) = (
            inbox.pending_reply(&"a".into()).expect("a place"),
            inbox.fence(),
        );
        assert!(inbox.note_refusal(&format!(
            "Permissions Violation for Subscription to \"{}\"",
            inbox.subject()
        )));
        assert!(matches!(request.reply().await, Some(Err(Error::Failed(_)))));
        assert!(fence.receiver.try_recv().is_err(), "the fence still waits");
        assert!(matches!(
            inbox.pending_reply(&"a".into()),
            Err(Error::Failed(_))
        ));
    }
}
