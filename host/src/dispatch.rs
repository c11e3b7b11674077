//! A message and a guest make an outcome.
//!
//! A guest has as many workers as it may have instances. Each takes a message from the guest's queue, has the guest handle
//! it, and has what became of it carried out, before it takes the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::guest::Guest;
use crate::message::{Failure, FailureKind, Outcome};
use crate::queue::Queue;
use crate::trigger::Arrival;

/// The workers of one guest.
pub(crate) struct Dispatcher {
    workers: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    guest: Arc<Guest>,
    queue: Arc<Queue<Arrival>>,
    in_hand: AtomicUsize,
    settled: AtomicU64,
}

/// What became of the messages that were there when a drain began.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) finished: u64,
    pub(crate) abandoned: u64,
}

impl Dispatcher {
    /// Starts so many workers.
    pub(crate) fn start(
        runtime: &Handle,
        guest: Arc<Guest>,
        queue: Arc<Queue<Arrival>>,
        workers: u32,
    ) -> Self {
        let shared =
            Arc::new(Shared { guest, queue, in_hand: AtomicUsize::new(0), settled: AtomicU64::new(0) });
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn_on(work(Arc::clone(&shared)), runtime);
        }
        Self { workers: tasks, shared }
    }

    /// How many messages have been handled and settled so far.
    pub(crate) fn settled(&self) -> u64 {
        self.shared.settled.load(Ordering::Relaxed)
    }

    /// Waits until the queue, which must have been closed, is empty and every message is settled. What has not finished
    /// by the deadline is abandoned.
    pub(crate) async fn drain(&mut self, settled_before: u64, deadline: Instant) -> Drained {
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                report(self.shared.guest.name(), ended);
            }
        };
        let in_time = timeout_at(deadline, all).await.is_ok();
        let mut waiting = 0;
        if !in_time {
            waiting = self.shared.queue.clear();
            self.workers.abort_all();
            // A guest yields at every tick: this does not take long.
            while let Some(ended) = self.workers.join_next().await {
                report(self.shared.guest.name(), ended);
            }
        }
        let in_hand = self.shared.in_hand.load(Ordering::Relaxed);
        Drained { finished: self.settled() - settled_before, abandoned: (waiting + in_hand) as u64 }
    }
}

fn report(guest: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(guest, "a worker has panicked: {error}");
    }
}

async fn work(shared: Arc<Shared>) {
    while let Some(arrival) = shared.queue.pop().await {
        shared.in_hand.fetch_add(1, Ordering::Relaxed);
        let (message, ticket) = arrival.open();
        let outcome = shared.guest.handle(message, None).await;
        note(&shared.guest, &ticket.subject, &outcome);
        ticket.settle(outcome).await;
        shared.in_hand.fetch_sub(1, Ordering::Relaxed);
        shared.settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts what became of a message, and says what went wrong.
fn note(guest: &Guest, subject: &str, outcome: &Outcome) {
    let counters = guest.counters();
    let Outcome::Failed(Failure { kind, reason, backtrace }) = outcome else {
        return counters.handled.add_one();
    };
    let name = guest.name();
    match kind {
        FailureKind::Retry(_) => {
            counters.retried.add_one();
            tracing::warn!(guest = %name, subject, "the guest failed, and may succeed later: {reason}");
        }
        FailureKind::Reject => {
            counters.rejected.add_one();
            tracing::warn!(guest = %name, subject, "the guest rejected the message: {reason}");
        }
        FailureKind::Trap => {
            counters.trapped.add_one();
            let backtrace = backtrace.as_deref().unwrap_or_default();
            tracing::error!(guest = %name, subject, %backtrace, "the guest trapped: {reason}");
        }
        FailureKind::Timeout => {
            counters.timed_out.add_one();
            tracing::error!(guest = %name, subject, "the guest was stopped: {reason}");
        }
        FailureKind::NotStarted => {
            counters.not_started.add_one();
            tracing::error!(guest = %name, subject, "no instance could be made: {reason}");
        }
    }
}
