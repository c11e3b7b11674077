//! Every figure that the host keeps, once.
//!
//! Counting is on the way of every message: atomics, no lock. `http/prometheus.rs` renders the figures.

mod histogram;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::{Failure, FailureKind, Outcome, OutcomeKind, TrapCause};
use crate::policy::Grant;

pub(crate) use histogram::{Distribution, Histogram};

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of one guest since it was loaded. They only grow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize)]
        #[non_exhaustive]
        pub struct GuestStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counts of [`GuestStats`], while they are counted, and gauges.
        #[derive(Debug, Default)]
        pub(crate) struct GuestCounters {
            $(pub(crate) $name: Counter,)*
            /// Times that messages took, whatever became of them.
            pub(crate) handling: Histogram,
            /// Messages that are being handled, by all versions together.
            pub(crate) in_flight: Arc<Gauge>,
            /// Instances that there are.
            pub(crate) instances: Arc<Gauge>,
            /// Bytes that the memories and tables of all instances take together.
            pub(crate) memory: Arc<Gauge>,
            /// Descriptors that all instances have open together.
            pub(crate) descriptors: Arc<Gauge>,
            /// Calls on files that are under way, those that nobody waits for any more included.
            pub(crate) file_calls: Arc<Gauge>,
            /// Bytes by which the guest has made its directories grow.
            pub(crate) disk: Gauge,
        }

        impl GuestCounters {
            /// The figures as they stand.
            pub(crate) fn snapshot(&self) -> GuestStats {
                GuestStats { $($name: self.$name.get(),)* }
            }
        }
    };
}

figures! {
    /// Messages that arrived for the guest.
    received,
    /// Messages that did not fit into the guest's queue and were dropped.
    dropped,
    /// Messages that the guest handled without a failure.
    handled,
    /// Messages for which the guest asked to be tried again later.
    retried,
    /// Messages that the guest rejected.
    rejected,
    /// Messages that ended in a trap: these, by kind, follow.
    trapped,
    /// Traps of the guest's code.
    traps_of_code,
    /// Traps after the guest was refused more memory.
    traps_of_memory,
    /// Traps because the guest exited.
    traps_by_exit,
    /// Traps because the host panicked while the guest called it.
    traps_by_panic,
    /// Messages that took longer than the guest's limit.
    timed_out,
    /// Messages for which no instance could be made.
    not_started,
    /// Times that the guest was refused more memory than its limit.
    memory_refused,
    /// Operations that no grant covers: these, by the grant that is missing, follow.
    denied,
    /// Subjects that it may not publish on.
    denied_publish,
    /// Subjects that it may not send requests to.
    denied_request,
    /// Subjects that it may not subscribe itself to.
    denied_subscribe,
    /// Buckets that it may not use.
    denied_bucket,
    /// Buckets that it may read, and may not write to.
    denied_bucket_write,
    /// Buckets whose settings are the host's.
    denied_settings,
    /// Log lines by the guest or on it that were above its limits and were dropped.
    log_lines_dropped,
    /// Calls on files that were refused because the guest had as many descriptors, or bytes on disk, as it may have.
    files_refused,
    /// Canaries that were rolled back because they failed too often.
    canaries_rolled_back,
    /// Replies and error answers that were sent.
    replied,
    /// Replies that could not be sent.
    replies_failed,
    /// Instances made.
    instances_made,
    /// Messages that were given to an instance that had handled one before.
    instances_reused,
}

impl GuestStats {
    /// The count of messages with this outcome.
    #[must_use]
    pub const fn outcome(&self, kind: OutcomeKind) -> u64 {
        match kind {
            OutcomeKind::Handled => self.handled,
            OutcomeKind::Retried => self.retried,
            OutcomeKind::Rejected => self.rejected,
            OutcomeKind::Trapped => self.trapped,
            OutcomeKind::TimedOut => self.timed_out,
            OutcomeKind::NotStarted => self.not_started,
        }
    }

    /// The count of operations that were denied for want of this grant.
    #[must_use]
    pub const fn denied(&self, grant: Grant) -> u64 {
        match grant {
            Grant::Publish => self.denied_publish,
            Grant::Request => self.denied_request,
            Grant::Subscribe => self.denied_subscribe,
            Grant::Bucket => self.denied_bucket,
            Grant::BucketWrite => self.denied_bucket_write,
            Grant::BucketSettings => self.denied_settings,
        }
    }
}

impl GuestCounters {
    /// Counts the outcome of a message.
    pub(crate) fn count(&self, outcome: &Outcome) {
        match outcome.kind() {
            OutcomeKind::Handled => self.handled.add_one(),
            OutcomeKind::Retried => self.retried.add_one(),
            OutcomeKind::Rejected => self.rejected.add_one(),
            OutcomeKind::Trapped => self.trapped.add_one(),
            OutcomeKind::TimedOut => self.timed_out.add_one(),
            OutcomeKind::NotStarted => self.not_started.add_one(),
        }
        if let Outcome::Failed(Failure {
            kind: FailureKind::Trap(cause),
            ..
        }) = outcome
        {
            match cause {
                TrapCause::Code => self.traps_of_code.add_one(),
                TrapCause::Memory => self.traps_of_memory.add_one(),
                TrapCause::Exit => self.traps_by_exit.add_one(),
                TrapCause::Panic => self.traps_by_panic.add_one(),
            }
        }
    }

    /// Counts an operation that was denied for want of this grant.
    pub(crate) fn deny(&self, grant: Grant) {
        self.denied.add_one();
        match grant {
            Grant::Publish => self.denied_publish.add_one(),
            Grant::Request => self.denied_request.add_one(),
            Grant::Subscribe => self.denied_subscribe.add_one(),
            Grant::Bucket => self.denied_bucket.add_one(),
            Grant::BucketWrite => self.denied_bucket_write.add_one(),
            Grant::BucketSettings => self.denied_settings.add_one(),
        }
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        // No other memory is read on the strength of a count: the order does not matter.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

/// A part of a gauge. It is taken out again when this is dropped, however that comes about.
#[derive(Debug)]
pub(crate) struct GaugePart {
    /// The gauge that the part was added to.
    gauge: Arc<Gauge>,
    /// The amount that was added, and is taken out again at the end.
    amount: u64,
}

impl Gauge {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds so much for as long as the answer is kept, unless that makes it more than `max`.
    pub(crate) fn hold_within(self: &Arc<Self>, amount: u64, max: u64) -> Option<GaugePart> {
        self.add_within(amount, max).then(|| GaugePart {
            gauge: Arc::clone(self),
            amount,
        })
    }

    /// Adds so much, unless that makes it more than `max`. Returns whether it did. To add nothing never fails.
    pub(crate) fn add_within(&self, amount: u64, max: u64) -> bool {
        let more = |value: u64| value.checked_add(amount).filter(|sum| *sum <= max);
        amount == 0
            || self
                .0
                .try_update(Ordering::Relaxed, Ordering::Relaxed, more)
                .is_ok()
    }

    /// Takes so much away, down to 0 at most.
    pub(crate) fn subtract(&self, amount: u64) {
        self.0
            .update(Ordering::Relaxed, Ordering::Relaxed, |value| {
                value.saturating_sub(amount)
            });
    }

    /// Adds so much, for as long as the answer is kept.
    pub(crate) fn hold(self: &Arc<Self>, amount: u64) -> GaugePart {
        self.0.fetch_add(amount, Ordering::Relaxed);
        GaugePart {
            gauge: Arc::clone(self),
            amount,
        }
    }
}

impl GaugePart {
    /// Adds so much more.
    pub(crate) fn grow(&mut self, more: u64) {
        self.gauge.0.fetch_add(more, Ordering::Relaxed);
        self.amount += more;
    }
}

impl Drop for GaugePart {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.amount, Ordering::Relaxed);
    }
}
