//! A queue of the messages that wait for one guest: bounded in count and in bytes.
//!
//! Items wait in the main lane, for the readers that took the queue over last. A second lane can be opened, with readers of
//! its own, for a share of what comes in from then on: that of a canary.

mod share;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use self::share::Share;
use crate::lock::locked;

/// A queue with many writers and many readers that takes no more than it was made for.
pub(crate) struct Queue<T> {
    /// The lanes and their bounds, locked for single steps and never across an await.
    state: Mutex<QueueState<T>>,
    /// Wakers, one for each lane. A waiting reader is woken for each item; a reader that leaves items behind wakes the next.
    ready: [Notify; 2],
}

/// The right to take items from one lane of a queue. It ends when others get the lane, or the lane ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderId {
    /// The reader's number among all that the queue has had, from 1. Before the first there is 0, which nobody holds.
    number: u64,
    /// The lane's waker: 0 or 1.
    lane: usize,
}

/// The lanes of a queue, and who takes from them.
struct QueueState<T> {
    /// The lane of whoever took the queue over last.
    main: Lane<T>,
    /// The lane that was opened beside it, and its share.
    side: Option<(Lane<T>, Share)>,
    /// The most items of both lanes together.
    max_items: usize,
    /// The most bytes of both lanes together.
    max_bytes: usize,
    /// Readers that there have been so far.
    readers: u64,
    /// Items that there have been so far.
    items: u64,
    /// No item is taken in any more.
    closed: bool,
}

/// A part of a queue that has readers of its own.
struct Lane<T> {
    /// The reader that may take from the lane, shared by all workers of a version.
    reader: ReaderId,
    /// Items in the order in which they came.
    items: VecDeque<Item<T>>,
    /// Bytes that the items count for.
    bytes: usize,
}

/// An item that waits.
struct Item<T> {
    /// The thing that waits, handed to whoever takes it out.
    value: T,
    /// Bytes that the item counts for, in its lane and in the whole queue.
    bytes: usize,
    /// The item's number among all that came.
    number: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new(max_items: usize, max_bytes: usize) -> Self {
        let main = Lane::new(ReaderId { number: 0, lane: 0 });
        let state = QueueState {
            main,
            side: None,
            max_items,
            max_bytes,
            readers: 0,
            items: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            ready: Default::default(),
        }
    }

    /// Replaces the readers of the main lane: from now on only the returned one takes from it, within the new bounds. Items
    /// that wait there go to it. A second lane keeps its reader.
    pub(crate) fn replace_readers(&self, max_items: usize, max_bytes: usize) -> ReaderId {
        let mut state = self.state();
        let lane = state.main.reader.lane;
        let reader = state.next_reader(lane);
        state.main.reader = reader;
        (state.max_items, state.max_bytes) = (max_items, max_bytes);
        drop(state);
        self.ready[reader.lane].notify_waiters();
        reader
    }

    /// Opens a second lane: from now on this share of what comes in, from 0 to 1, is for the returned reader. Items that do
    /// not fit into the same share of the bounds, or half of them, go to the main lane. A second lane that was there is
    /// merged first.
    pub(crate) fn open_lane(&self, share: f64) -> ReaderId {
        let mut state = self.state();
        let ended = state.merge_side();
        let main = state.main.reader.lane;
        let reader = state.next_reader(1 - main);
        state.side = Some((Lane::new(reader), Share::new(share)));
        drop(state);
        if ended {
            self.ready[main].notify_one();
            self.ready[reader.lane].notify_waiters();
        }
        reader
    }

    /// Merges a second lane into the main one: items that wait there go to its reader, in the order in which they came.
    pub(crate) fn merge_lane(&self, reader: ReaderId) {
        let mut state = self.state();
        if state.is_side(reader) && state.merge_side() {
            let main = state.main.reader.lane;
            drop(state);
            self.ready[main].notify_one();
            self.ready[reader.lane].notify_waiters();
        }
    }

    /// Promotes the reader of a second lane: it takes from the main lane from now on, with all that waits in both. The
    /// reader before it gets nothing more.
    pub(crate) fn promote_lane(&self, reader: ReaderId) {
        let mut state = self.state();
        let before = state.main.reader;
        if state.is_side(reader) && state.merge_side() {
            state.main.reader = reader;
            drop(state);
            self.ready[before.lane].notify_waiters();
            self.ready[reader.lane].notify_one();
        }
    }

    /// Puts an item at the end, which counts for that many bytes. One that is larger than the whole queue is taken if it
    /// is alone, or it would never be handled.
    ///
    /// # Errors
    /// Gives the item back where there is no room for it, or the queue is closed.
    pub(crate) fn push(&self, value: T, bytes: usize) -> Result<(), T> {
        let mut state = self.state();
        let fits =
            state.len() < state.max_items && state.bytes().saturating_add(bytes) <= state.max_bytes;
        if state.closed || !(fits || state.len() == 0) {
            return Err(value);
        }
        state.items += 1;
        let number = state.items;
        let lane = state.lane_for(bytes);
        lane.bytes += bytes;
        lane.items.push_back(Item {
            value,
            bytes,
            number,
        });
        let lane = lane.reader.lane;
        drop(state);
        self.ready[lane].notify_one();
        Ok(())
    }

    /// Takes the first item of the reader's lane, and waits for one. `None` once the queue is closed and empty, or the lane
    /// is another reader's.
    pub(crate) async fn pop(&self, reader: ReaderId) -> Option<T> {
        loop {
            let ready = self.ready[reader.lane].notified();
            {
                let mut state = self.state();
                let Some(lane) = state.lane_of(reader) else {
                    // What woke this reader may have been meant for one of the others.
                    self.ready[reader.lane].notify_one();
                    return None;
                };
                if let Some(Item { value, bytes, .. }) = lane.items.pop_front() {
                    lane.bytes -= bytes;
                    let more = !lane.items.is_empty();
                    let closed_at = state.closed.then_some(state.main.reader.lane);
                    drop(state);
                    if more {
                        self.ready[reader.lane].notify_one();
                    }
                    if let Some(main) = closed_at {
                        // It may have been the last thing that the main readers waited for.
                        self.ready[main].notify_one();
                    }
                    return Some(value);
                }
                // A lane that was split off may end, and what waits there be for the others.
                if state.closed && (state.is_side(reader) || state.len() == 0) {
                    // Every reader that waits learns it from the one before.
                    self.ready[reader.lane].notify_one();
                    return None;
                }
            }
            ready.await;
        }
    }

    /// The number of items that wait.
    pub(crate) fn len(&self) -> usize {
        self.state().len()
    }

    /// The bytes that the waiting items count for.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes()
    }

    /// The number of items that wait for this reader.
    pub(crate) fn len_for(&self, reader: ReaderId) -> usize {
        self.state()
            .lane_of(reader)
            .map_or(0, |lane| lane.items.len())
    }

    /// Closes the queue: no item is taken in any more; what waits can still be taken out.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.ready.iter().for_each(Notify::notify_one);
    }

    /// Takes all items of the reader's lane out, and gives them back.
    pub(crate) fn clear(&self, reader: ReaderId) -> Vec<T> {
        let mut state = self.state();
        let Some(lane) = state.lane_of(reader) else {
            return Vec::new();
        };
        lane.bytes = 0;
        let items = std::mem::take(&mut lane.items);
        let main = state.main.reader.lane;
        drop(state);
        self.ready[main].notify_one();
        items.into_iter().map(|item| item.value).collect()
    }

    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        locked(&self.state)
    }
}

impl<T> QueueState<T> {
    fn next_reader(&mut self, lane: usize) -> ReaderId {
        self.readers += 1;
        ReaderId {
            number: self.readers,
            lane,
        }
    }

    fn is_side(&self, reader: ReaderId) -> bool {
        self.side
            .as_ref()
            .is_some_and(|(lane, _)| lane.reader == reader)
    }

    fn lane_of(&mut self, reader: ReaderId) -> Option<&mut Lane<T>> {
        let side = self.side.as_mut().map(|(lane, _)| lane);
        std::iter::once(&mut self.main)
            .chain(side)
            .find(|lane| lane.reader == reader)
    }

    /// The lane that the next item goes into.
    fn lane_for(&mut self, bytes: usize) -> &mut Lane<T> {
        if let Some((lane, share)) = &mut self.side
            && share.takes_next()
        {
            // Whatever the share, half of the room is the main lane's.
            let (half_items, half_bytes) = (self.max_items / 2, self.max_bytes / 2);
            let max_items = share
                .of(self.max_items)
                .clamp(1.min(half_items), half_items);
            let fits = lane.items.len() < max_items
                && (lane.items.is_empty()
                    || lane.bytes.saturating_add(bytes)
                        <= share.of(self.max_bytes).min(half_bytes));
            if fits && bytes <= half_bytes {
                return lane;
            }
        }
        &mut self.main
    }

    /// Merges the second lane into the main one, if there is one. All items keep their order.
    fn merge_side(&mut self) -> bool {
        let Some((side, _)) = self.side.take() else {
            return false;
        };
        let main = &mut self.main;
        main.bytes += side.bytes;
        let mut rest = std::mem::take(&mut main.items);
        for item in side.items {
            while rest.front().is_some_and(|first| first.number < item.number) {
                main.items.extend(rest.pop_front());
            }
            main.items.push_back(item);
        }
        main.items.append(&mut rest);
        true
    }

    fn len(&self) -> usize {
        self.main.items.len() + self.side.as_ref().map_or(0, |(lane, _)| lane.items.len())
    }

    fn bytes(&self) -> usize {
        self.main.bytes + self.side.as_ref().map_or(0, |(lane, _)| lane.bytes)
    }
}

impl<T> Lane<T> {
    fn new(reader: ReaderId) -> Self {
        Self {
            reader,
            items: VecDeque::new(),
            bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests;
