//! The messages that wait for one guest: bounded in count and in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue with many writers and many readers that takes no more than it was made for.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// A waiting reader is woken for each item; a reader that leaves items behind wakes the next.
    ready: Notify,
    most_items: usize,
    most_bytes: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

/// There was no room.
#[derive(Debug)]
pub(crate) struct Full;

impl<T> Queue<T> {
    pub(crate) fn new(most_items: usize, most_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, closed: false };
        Self { state: Mutex::new(state), ready: Notify::new(), most_items, most_bytes }
    }

    /// Puts an item at the end, which counts for that many bytes. One that is larger than the whole queue is taken if it
    /// is alone, or it would never be handled.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), Full> {
        let mut state = self.state();
        let fits =
            state.items.len() < self.most_items && state.bytes.saturating_add(bytes) <= self.most_bytes;
        if state.closed || !(fits || state.items.is_empty()) {
            return Err(Full);
        }
        state.bytes += bytes;
        state.items.push_back((item, bytes));
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Takes the first item, and waits for one. None once the queue is closed and empty.
    pub(crate) async fn pop(&self) -> Option<T> {
        loop {
            let ready = self.ready.notified();
            {
                let mut state = self.state();
                if let Some((item, bytes)) = state.items.pop_front() {
                    state.bytes -= bytes;
                    let more = !state.items.is_empty();
                    drop(state);
                    if more {
                        self.ready.notify_one();
                    }
                    return Some(item);
                }
                if state.closed {
                    // Every reader that waits learns it from the one before.
                    self.ready.notify_one();
                    return None;
                }
            }
            ready.await;
        }
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// Takes no more; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_one();
    }

    /// Throws away what waits, and says how many there were.
    pub(crate) fn clear(&self) -> usize {
        let mut state = self.state();
        let count = state.items.len();
        state.items.clear();
        state.bytes = 0;
        count
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_more_than_its_count_and_its_bytes() {
        let queue = Queue::new(2, 100);
        assert!(queue.push("a", 60).is_ok());
        assert!(queue.push("b", 60).is_err(), "120 bytes do not fit into 100");
        assert!(queue.push("b", 40).is_ok());
        assert!(queue.push("c", 0).is_err(), "three do not fit into two");
        assert_eq!(queue.clear(), 2);
        assert!(queue.push("large", 1000).is_ok(), "alone, a large one is taken");
    }

    #[tokio::test]
    async fn what_waits_can_be_taken_after_closing_and_then_it_ends() {
        let queue = Queue::new(2, 100);
        assert!(queue.push(1, 1).is_ok());
        queue.close();
        assert!(queue.push(2, 1).is_err());
        assert_eq!(queue.pop().await, Some(1));
        assert_eq!(queue.pop().await, None);
        assert_eq!(queue.pop().await, None);
    }

    #[tokio::test]
    async fn readers_take_every_item_once_and_all_end() {
        let queue = std::sync::Arc::new(Queue::new(10_000, 10_000));
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let queue = std::sync::Arc::clone(&queue);
                async move {
                    let mut taken = Vec::new();
                    while let Some(item) = queue.pop().await {
                        taken.push(item);
                        tokio::task::yield_now().await;
                    }
                    taken
                }
            })
            .collect();
        let readers = futures_util::future::join_all(readers);
        let writer = async {
            for item in 0..1000 {
                assert!(queue.push(item, 1).is_ok());
                if item % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            queue.close();
        };
        let (taken, ()) = tokio::join!(readers, writer);
        let mut taken: Vec<i32> = taken.into_iter().flatten().collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
    }
}
