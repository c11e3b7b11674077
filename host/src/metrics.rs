//! Every figure that the host keeps about a guest, once.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What has happened to one guest since it was loaded. All are counts that only grow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
        #[non_exhaustive]
        pub struct GuestStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same, while they are counted.
        #[derive(Debug, Default)]
        pub(crate) struct GuestCounters {
            $(pub(crate) $name: Counter,)*
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
    /// Messages that ended in a trap.
    trapped,
    /// Messages that took longer than the guest's limit.
    timed_out,
    /// Messages for which no instance could be made.
    not_started,
    /// Times that the guest was refused more memory than its limit.
    memory_refused,
    /// Operations that no grant covers.
    denied,
    /// Replies and error answers that were sent.
    replied,
    /// Replies that could not be sent.
    replies_failed,
    /// Instances made.
    instances_made,
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
