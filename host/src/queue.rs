//! The messages that wait for one guest: bounded in count and in bytes.
//!
//! They wait in one lane, and their readers are those to whom the queue was handed over last. A second lane can be split
//! off, with readers of its own, for a share of what comes in from then on.

mod share;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use self::share::Share;

use crate::lock::locked;

/// A queue with many writers and many readers that takes no more than it was made for.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// One for each lane. A waiting reader is woken for each item; a reader that leaves items behind wakes the next.
    ready: [Notify; 2],
}

/// Who may take from a queue: those to whom it was handed over, or those of the lane that was split off. Ends when others
/// get their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    number: u64,
    /// Which of the two lanes is theirs.
    lane: usize,
}

struct State<T> {
    main: Lane<T>,
    side: Option<(Lane<T>, Share)>,
    most_items: usize,
    most_bytes: usize,
    /// Readers that there have been so far.
    readers: u64,
    /// Items that there have been so far.
    items: u64,
    closed: bool,
}

struct Lane<T> {
    reader: Reader,
    items: VecDeque<Item<T>>,
    bytes: usize,
}

struct Item<T> {
    value: T,
    bytes: usize,
    /// In the order in which they came.
    number: u64,
}

/// There was no room.
#[derive(Debug)]
pub(crate) struct Full;

impl<T> Queue<T> {
    pub(crate) fn new(most_items: usize, most_bytes: usize) -> Self {
        let main = Lane::new(Reader { number: 0, lane: 0 });
        let (side, readers, items, closed) = (None, 0, 0, false);
        let state = State {
            main,
            side,
            most_items,
            most_bytes,
            readers,
            items,
            closed,
        };
        Self {
            state: Mutex::new(state),
            ready: Default::default(),
        }
    }

    /// From here on only the readers that are returned get items, but for those of a lane that is split off, and within
    /// these bounds. What waits is theirs.
    pub(crate) fn hand_over(&self, most_items: usize, most_bytes: usize) -> Reader {
        let mut state = self.state();
        let lane = state.main.reader.lane;
        let reader = state.next_reader(lane);
        state.main.reader = reader;
        (state.most_items, state.most_bytes) = (most_items, most_bytes);
        drop(state);
        self.ready[reader.lane].notify_waiters();
        reader
    }

    /// From here on this share of what comes in, from 0 to 1, is for the readers that are returned. What does not fit into
    /// the same share of the bounds, or half of them, is for the others. There is one such lane: another one ends.
    pub(crate) fn split_off(&self, share: f64) -> Reader {
        let mut state = self.state();
        let ended = state.join_side();
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

    /// Ends the lane of these readers. What waits there is for the others.
    pub(crate) fn join(&self, reader: Reader) {
        let mut state = self.state();
        if state.is_side(reader) && state.join_side() {
            let main = state.main.reader.lane;
            drop(state);
            self.ready[main].notify_one();
            self.ready[reader.lane].notify_waiters();
        }
    }

    /// Hands all of the queue over to the readers of the lane that was split off: there are no others from here on.
    pub(crate) fn hand_over_to(&self, reader: Reader) {
        let mut state = self.state();
        let before = state.main.reader;
        if state.is_side(reader) && state.join_side() {
            state.main.reader = reader;
            drop(state);
            self.ready[before.lane].notify_waiters();
            self.ready[reader.lane].notify_one();
        }
    }

    /// Puts an item at the end, which counts for that many bytes. One that is larger than the whole queue is taken if it
    /// is alone, or it would never be handled.
    pub(crate) fn push(&self, value: T, bytes: usize) -> Result<(), Full> {
        let mut state = self.state();
        let fits = state.len() < state.most_items
            && state.bytes().saturating_add(bytes) <= state.most_bytes;
        if state.closed || !(fits || state.len() == 0) {
            return Err(Full);
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

    /// Takes the readers' first item, and waits for one. None once the queue is closed and empty, or handed over to others.
    pub(crate) async fn pop(&self, reader: Reader) -> Option<T> {
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

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.state().len()
    }

    /// How many bytes the waiting items count for.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes()
    }

    /// How many items wait for these readers.
    pub(crate) fn len_for(&self, reader: Reader) -> usize {
        self.state()
            .lane_of(reader)
            .map_or(0, |lane| lane.items.len())
    }

    /// Takes no more; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.ready.iter().for_each(Notify::notify_one);
    }

    /// Throws away what waits for these readers, and says how many there were.
    pub(crate) fn clear(&self, reader: Reader) -> usize {
        let mut state = self.state();
        let Some(lane) = state.lane_of(reader) else {
            return 0;
        };
        let count = lane.items.len();
        lane.items.clear();
        lane.bytes = 0;
        let main = state.main.reader.lane;
        drop(state);
        self.ready[main].notify_one();
        count
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        locked(&self.state)
    }
}

impl<T> State<T> {
    fn next_reader(&mut self, lane: usize) -> Reader {
        self.readers += 1;
        Reader {
            number: self.readers,
            lane,
        }
    }

    fn is_side(&self, reader: Reader) -> bool {
        self.side
            .as_ref()
            .is_some_and(|(lane, _)| lane.reader == reader)
    }

    fn lane_of(&mut self, reader: Reader) -> Option<&mut Lane<T>> {
        let side = self.side.as_mut().map(|(lane, _)| lane);
        std::iter::once(&mut self.main)
            .chain(side)
            .find(|lane| lane.reader == reader)
    }

    /// Where the next item goes.
    fn lane_for(&mut self, bytes: usize) -> &mut Lane<T> {
        if let Some((lane, share)) = &mut self.side
            && share.takes_next()
        {
            // Whatever the share, half of the room is the main lane's.
            let (half_items, half_bytes) = (self.most_items / 2, self.most_bytes / 2);
            let most_items = share
                .of(self.most_items)
                .clamp(1.min(half_items), half_items);
            let fits = lane.items.len() < most_items
                && (lane.items.is_empty()
                    || lane.bytes.saturating_add(bytes)
                        <= share.of(self.most_bytes).min(half_bytes));
            if fits && bytes <= half_bytes {
                return lane;
            }
        }
        &mut self.main
    }

    /// Ends the lane that was split off, if there is one. All keep their order.
    fn join_side(&mut self) -> bool {
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
    fn new(reader: Reader) -> Self {
        Self {
            reader,
            items: VecDeque::new(),
            bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn queue<T>(most_items: usize, most_bytes: usize) -> (Queue<T>, Reader) {
        let queue = Queue::new(0, 0);
        let reader = queue.hand_over(most_items, most_bytes);
        (queue, reader)
    }

    #[test]
    fn it_takes_no_more_than_its_count_and_its_bytes() {
        let (queue, reader) = queue(2, 100);
        assert!(queue.push("a", 60).is_ok());
        assert!(
            queue.push("b", 60).is_err(),
            "120 bytes do not fit into 100"
        );
        assert!(queue.push("b", 40).is_ok());
        assert!(queue.push("c", 0).is_err(), "three do not fit into two");
        assert_eq!(queue.clear(reader), 2);
        assert!(
            queue.push("large", 1000).is_ok(),
            "alone, a large one is taken"
        );
    }

    /// Takes what waits for these readers.
    fn taken(queue: &Queue<u32>, reader: Reader) -> Vec<u32> {
        let next = || queue.pop(reader).now_or_never().flatten();
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_lane_gets_its_share_and_what_waits_there_goes_back_in_order() {
        let (queue, main) = queue(1000, 1000);
        let side = queue.split_off(0.5);
        (0..100).for_each(|item| queue.push(item, 1).expect("there is room"));
        assert_eq!(queue.len_for(side), 50);
        assert_eq!((queue.len(), queue.bytes()), (100, 100));
        queue.join(side);
        assert_eq!(queue.len_for(side), 0);
        assert!(taken(&queue, side).is_empty());
        assert_eq!(taken(&queue, main), (0..100).collect::<Vec<_>>());
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn what_does_not_fit_into_a_lane_is_for_the_others() {
        let (queue, main) = queue(100, 1000);
        let side = queue.split_off(0.1);
        (0..100).for_each(|item| queue.push(item, 1).expect("there is room"));
        assert!(
            queue.push(100, 1).is_err(),
            "both lanes together are within the bound"
        );
        // Those of the lane take nothing: it is full, and all else goes on.
        for item in 0..1000 {
            assert!(!taken(&queue, main).is_empty());
            queue.push(item, 1).expect("there is room");
        }
        assert_eq!(queue.len_for(side), 10, "a tenth of the bound");
    }

    #[test]
    fn a_lane_leaves_room_to_the_others_whatever_its_share() {
        let (queue, main) = queue(4, 100);
        let side = queue.split_off(1.0);
        (0..4).for_each(|item| queue.push(item, 1).expect("there is room"));
        assert_eq!(queue.len_for(side), 2, "half of the room");
        assert_eq!(
            (taken(&queue, main), taken(&queue, side)),
            (vec![2, 3], vec![0, 1])
        );
        queue.push(4, 60).expect("there is room");
        assert_eq!(queue.len_for(side), 0, "too large to wait beside others");
        let (single, main) = self::queue(1, 100);
        let side = single.split_off(1.0);
        single.push(1, 1).expect("there is room");
        assert_eq!((taken(&single, main), single.len_for(side)), (vec![1], 0));
    }

    #[test]
    fn a_queue_is_handed_over_to_those_of_a_lane() {
        let (queue, main) = queue(100, 100);
        let side = queue.split_off(0.3);
        (0..50).for_each(|item| queue.push(item, 1).expect("there is room"));
        queue.hand_over_to(side);
        assert!(taken(&queue, main).is_empty());
        assert_eq!(taken(&queue, side), (0..50).collect::<Vec<_>>());
        let next = queue.split_off(1.0);
        queue.push(50, 1).expect("there is room");
        assert_eq!(
            (taken(&queue, side), taken(&queue, next)),
            (vec![], vec![50])
        );
    }

    #[tokio::test]
    async fn the_readers_of_a_closed_queue_wait_for_what_a_lane_may_give_back() {
        let (queue, main) = queue(100, 100);
        let side = queue.split_off(1.0);
        queue.push(1, 1).expect("there is room");
        queue.close();
        let mut waiting = std::pin::pin!(queue.pop(main));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        queue.join(side);
        assert_eq!(waiting.await, Some(1));
        assert_eq!(queue.pop(main).await, None);
    }

    #[tokio::test]
    async fn the_readers_of_a_closed_queue_end_once_a_lane_is_empty() {
        let (queue, main) = queue(100, 100);
        let side = queue.split_off(1.0);
        queue.push(1, 1).expect("there is room");
        queue.close();
        let mut waiting = [queue.pop(main), queue.pop(main)].map(Box::pin);
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        assert_eq!(queue.pop(side).await, Some(1));
        assert_eq!(queue.pop(side).await, None);
        assert_eq!(futures_util::future::join_all(waiting).await, [None, None]);
    }

    #[tokio::test]
    async fn what_waits_can_be_taken_after_closing_and_then_it_ends() {
        let (queue, reader) = queue(2, 100);
        assert!(queue.push(1, 1).is_ok());
        queue.close();
        assert!(queue.push(2, 1).is_err());
        assert_eq!(queue.pop(reader).await, Some(1));
        assert_eq!(queue.pop(reader).await, None);
        assert_eq!(queue.pop(reader).await, None);
    }

    #[tokio::test]
    async fn readers_take_every_item_once_and_all_end() {
        let (queue, mut reader) = queue(10_000, 10_000);
        let read = async |reader| {
            let mut taken = Vec::new();
            while let Some(item) = queue.pop(reader).await {
                taken.push(item);
                tokio::task::yield_now().await;
            }
            taken
        };
        let first = futures_util::future::join_all((0..8).map(|_| read(reader)));
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
        reader = next;
        let second = futures_util::future::join_all((0..8).map(|_| read(reader)));
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
