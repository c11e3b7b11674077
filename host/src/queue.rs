//! The messages that wait for one guest: bounded in count and in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue with many writers and many readers that takes no more than it was made for.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// A waiting reader is woken for each item; a reader that leaves items behind wakes the next.
    ready: Notify,
}

/// Who may take from a queue: since the last [`Queue::hand_over`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term(u64);

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    most_items: usize,
    most_bytes: usize,
    term: Term,
    closed: bool,
}

/// There was no room.
#[derive(Debug)]
pub(crate) struct Full;

impl<T> Queue<T> {
    pub(crate) fn new(most_items: usize, most_bytes: usize) -> Self {
        let (items, bytes, term) = (VecDeque::new(), 0, Term(0));
        let state = State { items, bytes, most_items, most_bytes, term, closed: false };
        Self { state: Mutex::new(state), ready: Notify::new() }
    }

    /// From here on only readers of the term that is returned get items, within these bounds. What waits is theirs.
    pub(crate) fn hand_over(&self, most_items: usize, most_bytes: usize) -> Term {
        let mut state = self.state();
        state.term = Term(state.term.0 + 1);
        (state.most_items, state.most_bytes) = (most_items, most_bytes);
        let term = state.term;
        drop(state);
        self.ready.notify_waiters();
        term
    }

    /// Puts an item at the end, which counts for that many bytes. One that is larger than the whole queue is taken if it
    /// is alone, or it would never be handled.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), Full> {
        let mut state = self.state();
        let fits =
            state.items.len() < state.most_items && state.bytes.saturating_add(bytes) <= state.most_bytes;
        if state.closed || !(fits || state.items.is_empty()) {
            return Err(Full);
        }
        state.bytes += bytes;
        state.items.push_back((item, bytes));
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Takes the first item, and waits for one. None once the queue is closed and empty, or handed over to others.
    pub(crate) async fn pop(&self, term: Term) -> Option<T> {
        loop {
            let ready = self.ready.notified();
            {
                let mut state = self.state();
                if state.term != term {
                    // What woke this reader may have been meant for one of the others.
                    self.ready.notify_one();
                    return None;
                }
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

    /// How many bytes the waiting items count for.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Takes no more; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_one();
    }

    /// Throws away what waits for the readers of a term, and says how many there were.
    pub(crate) fn clear(&self, term: Term) -> usize {
        let mut state = self.state();
        if state.term != term {
            return 0;
        }
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

    fn queue<T>(most_items: usize, most_bytes: usize) -> (Queue<T>, Term) {
        let queue = Queue::new(0, 0);
        let term = queue.hand_over(most_items, most_bytes);
        (queue, term)
    }

    #[test]
    fn it_takes_no_more_than_its_count_and_its_bytes() {
        let (queue, term) = queue(2, 100);
        assert!(queue.push("a", 60).is_ok());
        assert!(queue.push("b", 60).is_err(), "120 bytes do not fit into 100");
        assert!(queue.push("b", 40).is_ok());
        assert!(queue.push("c", 0).is_err(), "three do not fit into two");
        assert_eq!(queue.clear(term), 2);
        assert!(queue.push("large", 1000).is_ok(), "alone, a large one is taken");
    }

    #[tokio::test]
    async fn what_waits_can_be_taken_after_closing_and_then_it_ends() {
        let (queue, term) = queue(2, 100);
        assert!(queue.push(1, 1).is_ok());
        queue.close();
        assert!(queue.push(2, 1).is_err());
        assert_eq!(queue.pop(term).await, Some(1));
        assert_eq!(queue.pop(term).await, None);
        assert_eq!(queue.pop(term).await, None);
    }

    #[tokio::test]
    async fn readers_take_every_item_once_and_all_end() {
        let (queue, mut term) = queue(10_000, 10_000);
        let read = async |term| {
            let mut taken = Vec::new();
            while let Some(item) = queue.pop(term).await {
                taken.push(item);
                tokio::task::yield_now().await;
            }
            taken
        };
        let first = futures_util::future::join_all((0..8).map(|_| read(term)));
        let queue = &queue;
        let write = async {
            for item in 0..500 {
                assert!(queue.push(item, 1).is_ok());
                if item % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let hand_over = async {
            write.await;
            queue.hand_over(10_000, 10_000)
        };
        let (mut taken, next) = tokio::join!(first, hand_over);
        term = next;
        let second = futures_util::future::join_all((0..8).map(|_| read(term)));
        let write = async {
            for item in 500..1000 {
                assert!(queue.push(item, 1).is_ok());
            }
            queue.close();
        };
        let (rest, ()) = tokio::join!(second, write);
        taken.extend(rest);
        let mut taken: Vec<i32> = taken.into_iter().flatten().collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
    }
}
