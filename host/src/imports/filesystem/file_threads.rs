//! The threads on which one guest's calls on files wait for disks: few, and its own. A disk, or a network's file system, that
//! does not answer holds up that guest and nobody else.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::lock::locked;
use crate::metrics::{Gauge, GaugePart};

/// The time after which a thread ends that has nothing to do.
const IDLE: Duration = Duration::from_secs(10);

/// Enough for calls of the system and their arguments; address space, not memory.
const STACK_BYTES: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one guest, all of its versions together. A thread that the system does not let go cannot be ended by
/// anybody; it keeps its part of what the guest may use until then.
pub(crate) struct FileThreads(Arc<Shared>);

/// The state that a guest's threads and those who call on files share.
struct Shared {
    /// Calls that are under way. A call that is given up counts until its thread is back.
    calls: Arc<Gauge>,
    /// Woken when a call has ended.
    ended: Notify,
    /// Calls that idle threads are to take, and how many of those there are.
    pool: Mutex<Pool>,
    /// Woken when there is a job for an idle thread, or none will come any more.
    work: Condvar,
    /// Files to be closed, which may wait for a disk, too. The next thread that is free does it.
    closing: Mutex<VecDeque<Closing>>,
}

/// A file that is to be closed.
struct Closing {
    /// Closes it.
    close: Job,
    /// The most calls that may be under way at once, where it is one.
    max_calls: u64,
}

/// The idle threads, and what they are to do.
#[derive(Default)]
struct Pool {
    /// Jobs for idle threads: never more than there were idle threads.
    jobs: VecDeque<(Job, Slot)>,
    /// Threads that wait for a job that is not among these.
    idle: usize,
    /// True when no job will come any more.
    is_closed: bool,
}

/// A call that is under way.
struct Slot {
    /// The part of the count of calls. None once it is given back.
    part: Option<GaugePart>,
    /// The guest's threads, of whom others may wait for this call to end.
    shared: Arc<Shared>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.part.take());
        self.shared.ended.notify_waiters();
    }
}

impl FileThreads {
    /// Threads whose calls are counted here. There are none before the first call.
    pub(crate) fn new(calls: &Arc<Gauge>) -> Self {
        Self(Arc::new(Shared {
            calls: Arc::clone(calls),
            ended: Notify::new(),
            pool: Mutex::default(),
            work: Condvar::new(),
            closing: Mutex::default(),
        }))
    }

    /// Runs a call that may wait for a disk, once fewer than `max_calls` are under way. If nobody waits for it any more it is not begun; one
    /// that has begun goes on.
    ///
    /// # Errors
    /// The system gives no thread, or the call has panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        max_calls: u64,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let slot = self.0.slot(max_calls).await;
        let (sender, result) = oneshot::channel();
        let job = move || {
            if !sender.is_closed() {
                // Whoever has given up meanwhile wants no result.
                let _unheard = sender.send(call());
            }
        };
        self.0.submit(Box::new(job), slot)?;
        result
            .await
            .map_err(|_| io::Error::other("a call on a file has panicked"))
    }

    /// Closes a file soon: at once if fewer than `max_calls` calls are under way, else after one of those.
    pub(super) fn close(&self, max_calls: u64, close: impl FnOnce() + Send + 'static) {
        let close = Box::new(close);
        locked(&self.0.closing).push_back(Closing { close, max_calls });
        self.0.close_waiting();
    }
}

impl Shared {
    fn try_slot(self: &Arc<Self>, max_calls: u64) -> Option<Slot> {
        let part = self.calls.hold_within(1, max_calls)?;
        Some(Slot {
            part: Some(part),
            shared: Arc::clone(self),
        })
    }

    async fn slot(self: &Arc<Self>, max_calls: u64) -> Slot {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // From here on no end is missed.
            ended.as_mut().enable();
            if let Some(slot) = self.try_slot(max_calls) {
                return slot;
            }
            ended.await;
        }
    }

    /// Has a thread take the job: an idle one, or another.
    fn submit(self: &Arc<Self>, job: Job, slot: Slot) -> io::Result<()> {
        let mut pool = locked(&self.pool);
        if pool.idle > 0 {
            pool.idle -= 1;
            pool.jobs.push_back((job, slot));
            self.work.notify_one();
            return Ok(());
        }
        drop(pool);
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name("wharf-files".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.serve(job, slot))
            .map(drop)
    }

    /// The life of a thread.
    fn serve(self: Arc<Self>, job: Job, slot: Slot) {
        let mut next = Some((job, slot));
        while let Some((job, slot)) = next {
            job();
            self.close_all();
            next = self.next(slot);
        }
    }

    /// The next job. None when there has been none for a while.
    fn next(self: &Arc<Self>, slot: Slot) -> Option<(Job, Slot)> {
        let mut pool = locked(&self.pool);
        // Idle before the slot is free: whoever gets it finds this thread.
        pool.idle += 1;
        drop(pool);
        drop(slot);
        // What was to be closed while this thread was busy, and came too late for it.
        self.close_waiting();
        pool = locked(&self.pool);
        loop {
            if let Some(next) = pool.jobs.pop_front() {
                return Some(next);
            }
            if pool.is_closed {
                pool.idle = pool.idle.saturating_sub(1);
                return None;
            }
            let waited = self.work.wait_timeout(pool, IDLE);
            let (woken, time) = waited.unwrap_or_else(PoisonError::into_inner);
            pool = woken;
            if time.timed_out() && pool.jobs.is_empty() && pool.idle > 0 {
                pool.idle -= 1;
                return None;
            }
        }
    }

    /// Closes what is to be closed, if there is room for a call. Where the system gives no thread it stays for the next call.
    fn close_waiting(self: &Arc<Self>) {
        let Some(max_calls) = locked(&self.closing).front().map(|next| next.max_calls) else {
            return;
        };
        if let Some(slot) = self.try_slot(max_calls) {
            let shared = Arc::clone(self);
            if let Err(error) = self.submit(Box::new(move || shared.close_all()), slot) {
                tracing::warn!("files of a guest are closed later: {error}");
            }
        }
    }

    fn close_all(&self) {
        loop {
            let next = locked(&self.closing).pop_front();
            match next {
                Some(closing) => (closing.close)(),
                None => return,
            }
        }
    }
}

impl Drop for FileThreads {
    fn drop(&mut self) {
        locked(&self.0.pool).is_closed = true;
        self.0.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn threads() -> (FileThreads, Arc<Gauge>) {
        let calls = Arc::<Gauge>::default();
        (FileThreads::new(&calls), calls)
    }

    async fn until(holds: impl Fn() -> bool) {
        while !holds() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_counts_until_its_thread_is_back_and_others_wait() {
        let (threads, calls) = threads();
        let (stuck, release) = mpsc::channel::<()>();
        let stuck_call = threads.run(1, move || release.recv().is_ok());
        let given_up = tokio::time::timeout(Duration::from_millis(20), stuck_call);
        assert!(given_up.await.is_err(), "it is stuck");
        assert_eq!(calls.get(), 1);
        assert_eq!(threads.run(2, || 7).await.ok(), Some(7));
        let waiting = tokio::time::timeout(Duration::from_millis(20), threads.run(1, || 8));
        assert!(waiting.await.is_err(), "there is no room");
        drop(stuck);
        assert_eq!(threads.run(1, || 9).await.ok(), Some(9));
        until(|| calls.get() == 0).await;
    }

    #[tokio::test]
    async fn what_is_to_be_closed_while_all_threads_are_busy_is_closed_when_one_is_back() {
        let (threads, calls) = threads();
        let (stuck, release) = mpsc::channel::<()>();
        let busy = threads.run(1, move || release.recv().is_ok());
        tokio::pin!(busy);
        let begun = tokio::time::timeout(Duration::from_millis(20), busy.as_mut());
        assert!(begun.await.is_err());
        let (closed, is_closed) = mpsc::channel();
        threads.close(1, move || {
            drop(closed.send(thread::current().name().map(str::to_owned)))
        });
        assert!(is_closed.try_recv().is_err(), "all threads are busy");
        drop(stuck);
        assert_eq!(busy.await.ok(), Some(false));
        let on_thread = is_closed.recv_timeout(Duration::from_secs(10));
        assert_eq!(on_thread, Ok(Some("wharf-files".to_owned())));
        until(|| calls.get() == 0).await;
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error_and_its_room_is_free_again() {
        let (threads, calls) = threads();
        let panicked = threads.run(1, || -> u8 { panic!("on purpose") }).await;
        assert!(panicked.is_err());
        assert_eq!(threads.run(1, || 1).await.ok(), Some(1));
        until(|| calls.get() == 0).await;
    }
}
