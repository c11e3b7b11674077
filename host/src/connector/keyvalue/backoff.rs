//! Waiting before an operation on a bucket is tried again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// The longest pause before the second attempt; it doubles with every further one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(128);

/// Waits before the next attempt, so that others get done: a random time, longer with every attempt. False where there
/// is no time left.
pub(super) async fn backoff(pause: &mut Duration, deadline: Instant) -> bool {
    let share = RandomState::new().hash_one(()) % 1000;
    let this_time = pause.mul_f64(share as f64 / 1000.0);
    let in_time = Instant::now() + this_time < deadline;
    if in_time {
        tokio::time::sleep(this_time).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
    }
    in_time
}
