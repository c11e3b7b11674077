//! The state of one subscription, which outlives the client that it was made with.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use async_nats::{Client, Message, Subject, SubscribeError, Subscriber};
use futures_util::{FutureExt, StreamExt};

/// The most messages of ended clients that wait to be read: as many as wait in a client for one subscription.
const MAX_CARRIED: usize = 65_536;

/// The subject and queue group of a subscription.
#[derive(Debug, Clone)]
pub(super) struct SubscriptionTarget {
    /// The subject, which may have wildcards.
    pub(super) subject: Subject,
    /// The queue group, if the subscription is a member of one.
    pub(super) queue: Option<String>,
}

impl SubscriptionTarget {
    /// Subscribes with this client.
    pub(super) async fn subscribe(&self, client: &Client) -> Result<Subscriber, SubscribeError> {
        let subject = self.subject.clone();
        match self.queue.clone() {
            Some(queue) => client.queue_subscribe(subject, queue).await,
            None => client.subscribe(subject).await,
        }
    }
}

/// One subscription, over all clients of the connection.
#[derive(Debug)]
pub(super) struct SubscriptionState {
    /// The subject and queue group, to subscribe again with the next client.
    target: SubscriptionTarget,
    /// The subscriber of the current client, or of one that has ended, until the next client has subscribed.
    subscriber: Subscriber,
    /// Messages that had arrived at clients that have ended. They are read first.
    earlier: VecDeque<Message>,
    /// The reader's waker, while the reader waits for the next client.
    reader: Option<Waker>,
    /// The progress towards the subscription's end.
    phase: SubscriptionPhase,
}

/// A subscription's progress towards its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubscriptionPhase {
    /// Messages arrive.
    Open,
    /// The server was told to send no more; what is on its way still arrives.
    Stopping,
    /// Nothing more arrives.
    Ended,
}

/// A step of stopping a subscription, see the docs of `inbound.rs`.
#[derive(Debug, Clone, Copy)]
pub(super) enum StopStep {
    /// The server sends no more. It takes a count of more than nine digits as "now"; the client takes such a count as
    /// "not for a long time", and goes on delivering.
    NoMore,
    /// The client forgets the subscription; what has arrived can still be read.
    End,
}

impl SubscriptionState {
    pub(super) fn new(target: SubscriptionTarget, subscriber: Subscriber) -> Self {
        Self {
            target,
            subscriber,
            earlier: VecDeque::new(),
            reader: None,
            phase: SubscriptionPhase::Open,
        }
    }

    /// Polls for the next message, those of ended clients first. While there is no client the subscription is pending.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.earlier.pop_front() {
            return Poll::Ready(Some(message));
        }
        let next = self.subscriber.poll_next_unpin(context);
        if let Poll::Ready(None) = next
            && self.phase != SubscriptionPhase::Ended
        {
            // The client has ended, not the subscription.
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        next
    }

    /// The target that the next client has to subscribe to. `None` for a subscription that is being stopped: it has
    /// stopped by the end of the last client, and its last step finds that out, as the client refuses the command.
    pub(super) fn target_of_next_client(&self) -> Option<SubscriptionTarget> {
        (self.phase == SubscriptionPhase::Open).then(|| self.target.clone())
    }

    /// Continues with the next client's subscriber, after the messages that are still to be read. Returns the number of
    /// messages that were dropped, as more than [`MAX_CARRIED`] waited.
    pub(super) fn continue_with(&mut self, next: Subscriber) -> u64 {
        if self.phase != SubscriptionPhase::Open {
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

    /// Ends the subscription: nothing more arrives, and what has can still be read.
    pub(super) fn end(&mut self) {
        self.phase = SubscriptionPhase::Ended;
        self.wake();
    }

    /// Wakes the reader, if it waits for the next client.
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Gives the client the command of one step. `None` if there is no room for it in the client's queue.
    pub(super) fn stop(&mut self, step: StopStep) -> Option<()> {
        if self.phase == SubscriptionPhase::Ended {
            return Some(());
        }
        let given = match step {
            StopStep::NoMore => self.subscriber.unsubscribe_after(u64::MAX).now_or_never()?,
            StopStep::End => self.subscriber.unsubscribe().now_or_never()?,
        };
        match (step, given) {
            (StopStep::NoMore, Ok(())) => self.phase = SubscriptionPhase::Stopping,
            // Where the client has ended, nothing more can arrive.
            (StopStep::End, Ok(())) | (_, Err(_)) => self.end(),
        }
        Some(())
    }
}
