//! Places of connections: of those that have not asked yet, and of those that fetch figures. Nobody keeps others out by
//! taking places and leaving them unused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The most connections that have not asked for anything yet. One more takes the place of the oldest.
const MAX_WAITING: usize = 64;

/// The most answers with figures at once, from their rendering until they are fetched.
const MAX_FIGURES: usize = 8;

/// The places of one server.
#[derive(Debug)]
pub(super) struct Places {
    /// Connections that had not asked yet when they were last looked at, the oldest first.
    waiting: VecDeque<Weak<Place>>,
    /// Places of answers with figures.
    figures: Arc<Semaphore>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    /// The connection has asked.
    has_asked: AtomicBool,
    /// Cancelled when another connection takes the place.
    taken: CancellationToken,
    /// The place of an answer with figures, if the connection was given one.
    figures: OnceLock<OwnedSemaphorePermit>,
    /// Places of answers with figures.
    all_figures: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            figures: Arc::new(Semaphore::new(MAX_FIGURES)),
        }
    }

    /// A place for a new connection. There always is one: at worst, the one that has waited longest for its connection to
    /// ask.
    pub(super) fn take(&mut self) -> Arc<Place> {
        if self.waiting.len() >= MAX_WAITING {
            let waits =
                |place: &Weak<Place>| place.upgrade().is_some_and(|place| !place.has_asked());
            self.waiting.retain(waits);
        }
        if self.waiting.len() >= MAX_WAITING
            && let Some(oldest) = self.waiting.pop_front().and_then(|oldest| oldest.upgrade())
        {
            oldest.taken.cancel();
        }
        let place = Arc::new(Place {
            has_asked: AtomicBool::new(false),
            taken: CancellationToken::new(),
            figures: OnceLock::new(),
            all_figures: Arc::clone(&self.figures),
        });
        self.waiting.push_back(Arc::downgrade(&place));
        place
    }
}

impl Place {
    /// Notes that the connection has asked: it keeps its place until it is answered.
    pub(super) fn ask(&self) {
        self.has_asked.store(true, Ordering::Release);
    }

    fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Acquire)
    }

    /// Takes a place for an answer with figures, until this place is dropped. False if there is none.
    pub(super) fn take_figures(&self) -> bool {
        let permit = Arc::clone(&self.all_figures).try_acquire_owned();
        permit.is_ok_and(|permit| self.figures.set(permit).is_ok())
    }

    /// Waits until the place is another connection's.
    pub(super) async fn taken(&self) {
        self.taken.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_waited_longest_makes_way_and_one_that_has_asked_does_not() {
        let mut places = Places::new();
        let held: Vec<_> = (0..MAX_WAITING).map(|_| places.take()).collect();
        held[0].ask();
        let next = places.take();
        assert!(held.iter().all(|place| !place.taken.is_cancelled()));
        let last = places.take();
        assert!(held[1].taken.is_cancelled() && !held[0].taken.is_cancelled());
        drop((next, last, held));
        // All have ended: nobody has to make way.
        let (first, _second) = (places.take(), places.take());
        assert!(!first.taken.is_cancelled());
        assert!(places.waiting.len() <= MAX_WAITING);
    }

    #[test]
    fn figures_are_for_so_many_at_once() {
        let mut places = Places::new();
        let mut held: Vec<_> = (0..MAX_FIGURES).map(|_| places.take()).collect();
        assert!(held.iter().all(|place| place.take_figures()));
        assert!(!places.take().take_figures());
        held.pop();
        assert!(places.take().take_figures());
    }
}
