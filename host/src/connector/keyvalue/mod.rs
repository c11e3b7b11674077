//! Key/value: buckets of values, each a JetStream stream with a subject per key.
//!
//! Reading order: [`bucket`] is what callers see, [`write`] and [`scan`] how it works, [`buckets`] how buckets come to
//! be, [`api`] what the server is asked; [`key`], [`ttl`], [`stored`] and [`settings`] are pure.

mod api;
mod bucket;
mod buckets;
mod key;
mod scan;
mod settings;
mod stored;
mod ttl;
mod write;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use bucket::Bucket;
pub(crate) use buckets::Buckets;
pub use stored::Entry;

/// The time that one operation may take. A listing has it for each of its pages.
const TIME_ALLOWED: Duration = Duration::from_secs(5);

/// Locks what is only ever replaced as a whole, so that a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
