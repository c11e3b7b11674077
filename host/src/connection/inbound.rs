//! A subscription, how several are stopped without losing a message, and how all move to another client.
//!
//! The recipe for stopping: (1) every subscription tells the server "no more", while the client keeps delivering what is
//! on its way; (2) one fence for all of them, after which it has arrived; (3) every subscription ends, and its reader
//! reads the rest. Draining by the client itself closes on its next wake-up and loses messages under load.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::{Client, Message, Subject, SubscribeError, Subscriber};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, sleep};

use super::lines::Lines;
use super::locked;
use crate::error::Error;

/// How long to wait when the client's queue has no room for a command.
const RETRY: Duration = Duration::from_millis(5);

/// The most messages of ended clients that wait to be read: as many as wait in a client for one subscription.
const MAX_CARRIED: usize = 65_536;

/// The messages of one subscription. Dropping it unsubscribes.
///
/// The lock is there for those who act without the reader's help, who may be busy with a message: a [`Stopper`], and
/// the connection when it gets another client.
#[derive(Debug)]
pub(crate) struct Inbound {
    line: Arc<Mutex<Line>>,
    /// What all subscriptions of the connection are in.
    lines: Arc<Lines>,
    /// Its number there.
    number: u64,
}

impl Inbound {
    pub(super) fn new(line: Arc<Mutex<Line>>, lines: Arc<Lines>, number: u64) -> Self {
        Self {
            line,
            lines,
            number,
        }
    }

    /// The next message. `None` when the subscription was stopped and everything is read, or the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        StreamExt::next(self).await
    }

    /// Lets somebody else stop it.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::downgrade(&self.line))
    }
}

impl Stream for Inbound {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        locked(&self.line).poll_next(context, &self.lines)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.lines.leave(self.number);
    }
}

/// What a subscription is to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) subject: Subject,
    /// The queue group, if it is a member of one.
    pub(super) queue: Option<String>,
}

impl Target {
    /// Subscribes by this client.
    pub(super) async fn subscribe(&self, client: &Client) -> Result<Subscriber, SubscribeError> {
        let subject = self.subject.clone();
        match self.queue.clone() {
            Some(queue) => client.queue_subscribe(subject, queue).await,
            None => client.subscribe(subject).await,
        }
    }
}

/// One subscription, over all clients.
#[derive(Debug)]
pub(super) struct Line {
    target: Target,
    /// That of the client of now, or of one that has ended, until there is another.
    subscriber: Subscriber,
    /// What had arrived by clients that have ended. It is read first.
    earlier: VecDeque<Message>,
    /// Who waits for the next client.
    reader: Option<Waker>,
    phase: Phase,
}

/// How far a subscription is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The server was told "no more"; what is on its way still arrives.
    Stopping,
    /// Nothing more arrives.
    Ended,
}

impl Line {
    pub(super) fn new(target: Target, subscriber: Subscriber) -> Self {
        Self {
            target,
            subscriber,
            earlier: VecDeque::new(),
            reader: None,
            phase: Phase::Open,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>, lines: &Lines) -> Poll<Option<Message>> {
        if let Some(message) = self.earlier.pop_front() {
            return Poll::Ready(Some(message));
        }
        let next = self.subscriber.poll_next_unpin(context);
        if let Poll::Ready(None) = next
            && self.phase != Phase::Ended
            && !lines.is_closed()
        {
            // The client has ended, not the subscription.
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        next
    }

    /// What the next client has to subscribe to. What is being stopped has stopped by the end of the last client; that it
    /// has ended it learns in the last step, in which the client refuses the command.
    pub(super) fn wanted(&self) -> Option<Target> {
        (self.phase == Phase::Open).then(|| self.target.clone())
    }

    /// Goes on with the next client's subscription, behind what is still to be read. Returns how many messages did not
    /// fit in.
    pub(super) fn carry_on(&mut self, next: Subscriber) -> u64 {
        if self.phase != Phase::Open {
            self.end();
            return 0;
        }
        let mut last = std::mem::replace(&mut self.subscriber, next);
        let mut dropped = 0;
        // Nothing is added to it any more. Without the budget of the task, which would end this early.
        while let Some(Some(message)) = tokio::task::unconstrained(last.next()).now_or_never() {
            if self.earlier.len() < MAX_CARRIED {
                self.earlier.push_back(message);
            } else {
                dropped += 1;
            }
        }
        self.wake();
        dropped
    }

    /// Nothing more arrives. What has can still be read.
    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.wake();
    }

    /// Has the reader look again.
    pub(super) fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Gives the client the command of one step, if there is room. `None` if there is none.
    fn step(&mut self, step: Step) -> Option<()> {
        if self.phase == Phase::Ended {
            return Some(());
        }
        let given = match step {
            Step::NoMore => self.subscriber.unsubscribe_after(u64::MAX).now_or_never()?,
            Step::End => self.subscriber.unsubscribe().now_or_never()?,
        };
        match (step, given) {
            (Step::NoMore, Ok(())) => self.phase = Phase::Stopping,
            // Where the client has ended, nothing more can arrive.
            (Step::End, Ok(())) | (_, Err(_)) => self.end(),
        }
        Some(())
    }
}

/// A step of the recipe.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The server takes a count of more than nine digits as "now"; the client takes it as "not for a long time".
    NoMore,
    /// The client forgets the subscription; what has arrived can still be read.
    End,
}

/// Stops an [`Inbound`], see [`super::Connection::quiesce`]. Does not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Weak<Mutex<Line>>);

impl Stopper {
    /// Whether the subscription is gone already.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Takes a step, as soon as there is room for the command.
    ///
    /// A command is a future that borrows the subscriber, which must not be locked across an await: so each try is one
    /// poll under the lock.
    async fn take(&self, step: Step, deadline: Instant) -> Result<(), Error> {
        loop {
            let Some(line) = self.0.upgrade() else {
                return Ok(());
            };
            let taken = locked(&line).step(step);
            match taken {
                Some(()) => return Ok(()),
                None if Instant::now() >= deadline => return Err(Error::Timeout),
                None => drop(line),
            }
            sleep(RETRY).await;
        }
    }
}

/// Step 1.
pub(super) async fn unsubscribe_all(all: &[Stopper], deadline: Instant) -> Result<(), Error> {
    for_each(all, Step::NoMore, deadline).await
}

/// Step 3.
pub(super) async fn end_all(all: &[Stopper], deadline: Instant) -> Result<(), Error> {
    for_each(all, Step::End, deadline).await
}

/// All of them, also after one that failed. The first error counts.
async fn for_each(all: &[Stopper], step: Step, deadline: Instant) -> Result<(), Error> {
    let mut result = Ok(());
    for stopper in all {
        result = result.and(stopper.take(step, deadline).await);
    }
    result
}
