//! A message and a guest make an outcome.
//!
//! A guest has as many workers as it may have instances. Each takes a message from the guest's queue, has the guest handle
//! it, and has what became of it carried out, before it takes the next.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::canary_analysis::CanaryAnalysis;
use crate::guest::Guest;
use crate::message::{Failure, FailureKind, Outcome};
use crate::queue::{Queue, ReaderId};
use crate::trigger::Incoming;

/// The workers of one guest.
pub(crate) struct Dispatcher {
    workers: JoinSet<()>,
    shared: Arc<WorkerContext>,
}

struct WorkerContext {
    guest: Arc<Guest>,
    queue: Arc<Queue<Incoming>>,
    reader: ReaderId,
    /// The version is on trial, or has been.
    analysis: Option<Arc<CanaryAnalysis>>,
    in_flight: AtomicUsize,
    settled: AtomicU64,
}

/// What became of the messages that were there when a drain began.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) finished: u64,
    pub(crate) abandoned: u64,
}

impl Dispatcher {
    /// Starts as many workers as the guest may have instances, who take from the queue until others get their place. If the
    /// version is on trial and fails too often, they give up their place themselves.
    pub(crate) fn start(
        guest: Arc<Guest>,
        queue: Arc<Queue<Incoming>>,
        reader: ReaderId,
        analysis: Option<Arc<CanaryAnalysis>>,
    ) -> Self {
        let workers = guest.max_instances();
        let shared = Arc::new(WorkerContext {
            guest,
            queue,
            reader,
            analysis,
            in_flight: AtomicUsize::new(0),
            settled: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(work(Arc::clone(&shared)));
        }
        Self {
            workers: tasks,
            shared,
        }
    }

    /// How many messages have been handled and settled so far.
    pub(crate) fn settled(&self) -> u64 {
        self.shared.settled.load(Ordering::Relaxed)
    }

    /// What its workers take from the queue as.
    pub(crate) fn reader(&self) -> ReaderId {
        self.shared.reader
    }

    /// How many messages are being handled.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until every message is settled: those in hand, and those in the queue, which must have been closed or handed
    /// over. What has not finished by the deadline is abandoned.
    pub(crate) async fn drain(&mut self, settled_before: u64, deadline: Instant) -> Drained {
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                report(self.shared.guest.name(), ended);
            }
        };
        let in_time = timeout_at(deadline, all).await.is_ok();
        let mut waiting = Vec::new();
        if !in_time {
            waiting = self.shared.queue.clear(self.shared.reader);
            self.workers.abort_all();
            // A guest yields at every tick: this does not take long.
            while let Some(ended) = self.workers.join_next().await {
                report(self.shared.guest.name(), ended);
            }
        }
        Drained {
            finished: self.settled() - settled_before,
            abandoned: (waiting.len() + self.in_flight()) as u64,
        }
    }
}

fn report(guest: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(guest, "a worker has panicked: {error}");
    }
}

async fn work(shared: Arc<WorkerContext>) {
    while let Some(incoming) = shared.queue.pop(shared.reader).await {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        let counters = shared.guest.counters();
        let _held = counters.in_flight.hold(1);
        let (event, mut unsettled) = incoming.open();
        let began = Instant::now();
        let handling = shared.guest.handle(event, unsettled.trace().cloned());
        let handling = AssertUnwindSafe(unsettled.during(handling)).catch_unwind();
        // A panic is a mistake of ours. It costs this message and its instance, not the worker.
        let outcome = handling.await.unwrap_or_else(|_panic| {
            counters.traps_by_panic.add_one();
            let reason = "the host panicked while the guest called it".to_owned();
            Outcome::Failed(Failure {
                kind: FailureKind::Trap,
                reason,
                backtrace: None,
            })
        });
        counters.handling.observe(began.elapsed());
        note(&shared.guest, &unsettled.subject, &outcome);
        shared.judge(&outcome);
        unsettled.end_span(shared.guest.version(), &outcome);
        unsettled.settle(outcome).await;
        shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        shared.settled.fetch_add(1, Ordering::Relaxed);
    }
}

impl WorkerContext {
    /// A version on trial that fails too often gets no more messages, before whoever sent this one hears of it.
    fn judge(&self, outcome: &Outcome) {
        let Some(analysis) = &self.analysis else {
            return;
        };
        if analysis.count(matches!(outcome, Outcome::Failed(_))) {
            self.queue.merge_lane(self.reader);
        }
    }
}

/// Counts what became of a message, and says what went wrong.
fn note(guest: &Guest, subject: &str, outcome: &Outcome) {
    let counters = guest.counters();
    let Outcome::Failed(Failure {
        kind,
        reason,
        backtrace,
    }) = outcome
    else {
        return counters.handled.add_one();
    };
    let (name, version) = (guest.name(), guest.version());
    match kind {
        FailureKind::Retry(_) => {
            counters.retried.add_one();
            tracing::warn!(guest = %name, version, subject, "the guest failed, and may succeed later: {reason}");
        }
        FailureKind::Reject => {
            counters.rejected.add_one();
            tracing::warn!(guest = %name, version, subject, "the guest rejected the message: {reason}");
        }
        FailureKind::Trap => {
            counters.trapped.add_one();
            let backtrace = backtrace.as_deref().unwrap_or_default();
            tracing::error!(guest = %name, version, subject, %backtrace, "the guest trapped: {reason}");
        }
        FailureKind::Timeout => {
            counters.timed_out.add_one();
            tracing::error!(guest = %name, version, subject, "the guest was stopped: {reason}");
        }
        FailureKind::NotStarted => {
            counters.not_started.add_one();
            tracing::error!(guest = %name, version, subject, "no instance could be made: {reason}");
        }
    }
}
