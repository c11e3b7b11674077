//! Dispatch: a message and a guest → an outcome.
//!
//! A guest has as many workers as it may have instances. Each takes a message from the guest's queue, has the guest handle
//! it, and settles it with its sender, before it takes the next.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::canary_analysis::CanaryAnalysis;
use crate::guest::Guest;
use crate::message::{Failure, FailureKind, Outcome, TrapCause};
use crate::queue::{Queue, ReaderId};
use crate::task::log_panic;
use crate::trigger::{ABANDONED, Incoming};

/// The workers of one version of a guest.
pub(crate) struct Dispatcher {
    /// The workers' tasks.
    workers: JoinSet<()>,
    /// The queue and the counts that all workers share, read for status and drain.
    shared: Arc<WorkerContext>,
}

/// Shared by the workers.
struct WorkerContext {
    /// The version of the guest that handles the messages.
    guest: Arc<Guest>,
    /// The guest's queue, which its other versions read, too.
    queue: Arc<Queue<Incoming>>,
    /// The right of these workers to the queue's items.
    reader: ReaderId,
    /// The analysis of the version's outcomes, if it is a canary or has been.
    analysis: Option<Arc<CanaryAnalysis>>,
    /// Messages that are being handled.
    in_flight: AtomicUsize,
    /// Messages that have been settled.
    settled: AtomicU64,
}

/// Counts of the messages that were there when a drain began.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Drained {
    /// Messages that were settled.
    pub(crate) finished: u64,
    /// Messages that were not settled in time.
    pub(crate) abandoned: u64,
}

impl Dispatcher {
    /// Starts as many workers as the guest may have instances, that take from the queue until others get their place. Those of a
    /// canary that fails too often give up their place themselves.
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

    /// A worker, as logs name it.
    fn worker(&self) -> String {
        format!("a worker of guest {:?}", self.shared.guest.name())
    }

    /// The messages that have been settled so far.
    pub(crate) fn settled(&self) -> u64 {
        self.shared.settled.load(Ordering::Relaxed)
    }

    /// The queue reader of these workers.
    pub(crate) fn reader(&self) -> ReaderId {
        self.shared.reader
    }

    /// The messages that are being handled.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until every message is settled: those in flight, and those in the queue, which must have been closed or
    /// handed over. What has not finished by the deadline is abandoned.
    pub(crate) async fn drain(&mut self, settled_before: u64, deadline: Instant) -> Drained {
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                log_panic(&self.worker(), ended);
            }
        };
        let in_time = timeout_at(deadline, all).await.is_ok();
        let mut abandoned = 0;
        if !in_time {
            let waiting = self.shared.queue.clear(self.shared.reader);
            abandoned = waiting.len();
            waiting
                .into_iter()
                .for_each(|incoming| incoming.refuse(ABANDONED));
            self.workers.abort_all();
            // A guest yields at every tick: this does not take long.
            while let Some(ended) = self.workers.join_next().await {
                log_panic(&self.worker(), ended);
            }
        }
        Drained {
            finished: self.settled() - settled_before,
            abandoned: (abandoned + self.in_flight()) as u64,
        }
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
            let reason = "the host panicked while the guest called it".to_owned();
            Outcome::Failed(Failure::new(FailureKind::Trap(TrapCause::Panic), reason))
        });
        counters.handling.observe(began.elapsed());
        counters.count(&outcome);
        if let Outcome::Failed(failure) = &outcome {
            log_failure(&shared.guest, &unsettled.subject, failure);
        }
        shared.judge(&outcome);
        unsettled.end_span(shared.guest.version(), &outcome);
        unsettled.settle(outcome, shared.guest.policy()).await;
        shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        shared.settled.fetch_add(1, Ordering::Relaxed);
    }
}

impl WorkerContext {
    /// Counts an outcome of a canary. One that fails too often gets no more messages, before the sender of this one hears of
    /// it.
    fn judge(&self, outcome: &Outcome) {
        let Some(analysis) = &self.analysis else {
            return;
        };
        if analysis.count(outcome.kind().is_failure()) {
            self.queue.merge_lane(self.reader);
        }
    }
}

/// Logs why a message was not handled, within what the guest may log.
fn log_failure(guest: &Guest, subject: &str, failure: &Failure) {
    let Failure {
        kind,
        reason,
        backtrace,
    } = failure;
    let backtrace = backtrace.as_deref().unwrap_or_default();
    if !guest
        .log()
        .admits(subject.len() + reason.len() + backtrace.len())
    {
        return;
    }
    let (guest, version) = (guest.name(), guest.version());
    match kind {
        FailureKind::Retry(_) => {
            tracing::warn!(%guest, version, subject, "the guest failed, and may succeed later: {reason}");
        }
        FailureKind::Reject => {
            tracing::warn!(%guest, version, subject, "the guest rejected the message: {reason}");
        }
        FailureKind::Trap(_) => {
            tracing::error!(%guest, version, subject, %backtrace, "the guest trapped: {reason}");
        }
        FailureKind::Timeout => {
            tracing::error!(%guest, version, subject, "the guest was stopped: {reason}");
        }
        FailureKind::NotStarted => {
            tracing::error!(%guest, version, subject, "no instance could be made: {reason}");
        }
    }
}
