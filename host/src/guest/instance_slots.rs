//! The slots of a host: how many instances live at once, and who gets the next slot when there are too few.
//!
//! A guest takes slots as it needs them, up to its `instances.max`. When none is free, the first that becomes free is for a
//! guest that has no instance at all; a tenth of the slots is for such guests alone. What a guest asks for with
//! `instances.min` is set aside for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::lock::locked;

/// One in so many slots is for guests that have no instance.
const FOR_THE_FIRST: u32 = 10;

/// The time between two looks for instances that have not been used.
const SWEEP: Duration = Duration::from_secs(10);

/// The looks at which an instance was idle before it is given back: some 30 seconds.
const SWEEPS: u32 = 3;

/// The waiters at which those that have given up are cleared from the list for the first time.
const PRUNE_AT: usize = 64;

/// All slots of a host.
pub(crate) struct InstanceSlots {
    /// The slots' owners, locked for single steps and never across an await.
    state: Mutex<SlotsState>,
    /// True while a guest without any instance waits.
    starving: AtomicBool,
}

/// The owners of a host's slots.
struct SlotsState {
    /// All slots.
    capacity: u32,
    /// Slots that no instance has.
    free: u32,
    /// The part of the free slots that is set aside for versions that have fewer than their `instances.min`.
    set_aside: u32,
    /// Waiters of versions that had no instance when they came, or fewer than is set aside for them.
    first: Waiters,
    /// All other waiters.
    others: Waiters,
    /// The versions' idle instances, to be taken back for others.
    idle: Vec<Weak<dyn IdleInstances>>,
    /// The place in `idle` at which the next search begins.
    hand: usize,
}

/// The idle instances of one version, as the slots see them.
pub(super) trait IdleInstances: Send + Sync {
    /// Drops one idle instance, if none of them was used since this was last called, and so gives its slot back.
    fn take_back(&self);

    /// Drops the instances that were idle at so many sweeps.
    fn sweep(&self, sweeps: u32);
}

/// One version's part in the slots.
pub(super) struct SlotOwner {
    /// The host's slots.
    slots: Arc<InstanceSlots>,
    /// The slots that one instance of the version takes: more than one for a component with many memories or tables.
    weight: u32,
    /// The slots that are set aside for the version, whether it uses them or not. Changed under the lock of the slots only.
    min: AtomicU32,
    /// The slots that its instances have. Changed under the lock of the slots only.
    held: AtomicU32,
}

/// The right to have one instance. Given back on drop.
pub(super) struct Slot {
    /// The version that has it.
    owner: Arc<SlotOwner>,
}

/// A wait for a slot.
pub(super) struct Waiting {
    /// Gives the slot.
    granted: oneshot::Receiver<Slot>,
}

/// Those who wait for a slot, in the order in which they came.
#[derive(Default)]
struct Waiters {
    /// The waiters; some may have given up.
    queue: VecDeque<Waiter>,
    /// The number of waiters at which those who gave up are cleared away.
    prune_at: usize,
}

/// One who waits for a slot.
struct Waiter {
    /// The version that it is for.
    owner: Arc<SlotOwner>,
    /// Takes the slot.
    grant: oneshot::Sender<Slot>,
}

impl InstanceSlots {
    /// This many slots, all of them free.
    pub(super) fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(SlotsState {
                capacity,
                free: capacity,
                set_aside: 0,
                first: Waiters::default(),
                others: Waiters::default(),
                idle: Vec::new(),
                hand: 0,
            }),
            starving: AtomicBool::new(false),
        })
    }

    /// All slots.
    pub(crate) fn capacity(&self) -> u32 {
        self.state().capacity
    }

    /// Slots that instances have.
    pub(crate) fn used(&self) -> u32 {
        let state = self.state();
        state.capacity - state.free
    }

    /// Whether a guest without any instance waits for one.
    pub(super) fn is_starving(&self) -> bool {
        self.starving.load(Ordering::Relaxed)
    }

    /// Enters a version: the slots of `min` instances are set aside for it, as far as they are free.
    pub(super) fn enter(self: &Arc<Self>, weight: u32, min: u32) -> Arc<SlotOwner> {
        let min = min.saturating_mul(weight);
        let owner = SlotOwner {
            slots: Arc::clone(self),
            weight,
            min: AtomicU32::new(min),
            held: AtomicU32::new(0),
        };
        self.state().set_aside += min;
        Arc::new(owner)
    }

    /// Adds idle instances that may be taken back for others.
    pub(super) fn watch(&self, idle: Weak<dyn IdleInstances>) {
        let mut state = self.state();
        state.idle.retain(|other| other.strong_count() > 0);
        state.idle.push(idle);
    }

    fn state(&self) -> MutexGuard<'_, SlotsState> {
        locked(&self.state)
    }

    /// Takes idle instances of others back until the wait is over, or there are none.
    fn take_back_for(&self, waiting: &Waiting) {
        // The first look at each marks it as unused; the second takes it back if it still is.
        let looks = 2 * self.state().idle.len();
        for _ in 0..looks {
            if !waiting.granted.is_empty() {
                return;
            }
            let next = {
                let mut state = self.state();
                let count = state.idle.len().max(1);
                state.hand = (state.hand + 1) % count;
                state.idle.get(state.hand).and_then(Weak::upgrade)
            };
            // Without the lock: what is dropped gives its slot back.
            if let Some(idle) = next {
                idle.take_back();
            }
        }
    }

    /// Gives instances back that have not been used for a while, for as long as this is awaited.
    pub(crate) async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let all = self.state().idle.clone();
            for idle in all.iter().filter_map(Weak::upgrade) {
                idle.sweep(SWEEPS);
            }
        }
    }

    /// Hands free slots to those who wait.
    fn grant(&self, mut state: MutexGuard<'_, SlotsState>) {
        let mut unwanted = Vec::new();
        while let Some(waiter) = state.next_waiter() {
            state.take(&waiter.owner);
            let slot = Slot {
                owner: waiter.owner,
            };
            // Whoever gave up meanwhile gets nothing. Its slot must not be dropped under the lock.
            unwanted.extend(waiter.grant.send(slot).err());
        }
        let starving = !state.first.queue.is_empty();
        self.starving.store(starving, Ordering::Relaxed);
        drop(state);
        drop(unwanted);
    }
}

impl SlotOwner {
    /// Takes a slot if one is free for this version, else begins to wait for one. Idle instances of others are taken back.
    pub(super) fn slot(self: &Arc<Self>) -> Result<Slot, Waiting> {
        let slots = &self.slots;
        {
            let mut state = slots.state();
            let others_come_first = !state.first.queue.is_empty()
                || (!self.is_first() && !state.others.queue.is_empty());
            if !others_come_first && state.may_take(self) {
                state.take(self);
                let owner = Arc::clone(self);
                return Ok(Slot { owner });
            }
        }
        let waiting = {
            let mut state = slots.state();
            let (grant, granted) = oneshot::channel();
            let waiter = Waiter {
                owner: Arc::clone(self),
                grant,
            };
            if self.is_first() {
                state.first.push(waiter);
            } else {
                state.others.push(waiter);
            }
            slots.grant(state);
            Waiting { granted }
        };
        slots.take_back_for(&waiting);
        Err(waiting)
    }

    /// Ends the version's part: nothing is set aside for it any more.
    pub(super) fn leave(&self) {
        let mut state = self.slots.state();
        state.set_aside -= self.unused_part();
        self.min.store(0, Ordering::Relaxed);
        self.slots.grant(state);
    }

    /// Whether an idle instance may be taken back: beyond what is set aside.
    pub(super) fn may_give(&self) -> bool {
        self.may_spare(0)
    }

    /// Whether one more idle instance may be given back, beside so many.
    pub(super) fn may_spare(&self, instances: usize) -> bool {
        let instances = u32::try_from(instances).unwrap_or(u32::MAX);
        self.held()
            > self
                .min()
                .saturating_add(instances.saturating_mul(self.weight))
    }

    /// Whether a guest without any instance waits, and an idle instance of this version should make room for it.
    pub(super) fn should_give(&self) -> bool {
        self.slots.is_starving() && self.may_give()
    }

    fn min(&self) -> u32 {
        self.min.load(Ordering::Relaxed)
    }

    fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// The part of what is set aside that it does not use.
    fn unused_part(&self) -> u32 {
        self.min().saturating_sub(self.held())
    }

    /// Whether it comes before others: it has no instance, or fewer than are set aside for it.
    fn is_first(&self) -> bool {
        self.held() == 0 || self.unused_part() >= self.weight
    }
}

impl Waiting {
    /// Waits for the slot.
    pub(super) async fn slot(&mut self) -> Slot {
        match (&mut self.granted).await {
            Ok(slot) => slot,
            // The slots outlive every version that waits for one.
            Err(_gone) => std::future::pending().await,
        }
    }
}

impl SlotsState {
    fn may_take(&self, owner: &SlotOwner) -> bool {
        let of_others = self.set_aside - owner.unused_part();
        let available = self.free.saturating_sub(of_others);
        let kept = match owner.is_first() {
            true => 0,
            false => self.capacity / FOR_THE_FIRST,
        };
        available >= owner.weight.saturating_add(kept)
    }

    fn take(&mut self, owner: &SlotOwner) {
        self.free -= owner.weight;
        self.set_held(owner, owner.held() + owner.weight);
    }

    fn give_back(&mut self, owner: &SlotOwner) {
        self.free += owner.weight;
        self.set_held(owner, owner.held() - owner.weight);
    }

    fn set_held(&mut self, owner: &SlotOwner, held: u32) {
        self.set_aside -= owner.unused_part();
        owner.held.store(held, Ordering::Relaxed);
        self.set_aside += owner.unused_part();
    }

    /// The next who waits and may take a slot now. While one of the first cannot, nobody else gets one.
    fn next_waiter(&mut self) -> Option<Waiter> {
        self.first.prune_front();
        self.others.prune_front();
        let first_waits = !self.first.queue.is_empty();
        let next = match first_waits {
            true => self.first.queue.front()?,
            false => self.others.queue.front()?,
        };
        if !self.may_take(&next.owner) {
            return None;
        }
        match first_waits {
            true => self.first.queue.pop_front(),
            false => self.others.queue.pop_front(),
        }
    }
}

impl Waiters {
    fn push(&mut self, waiter: Waiter) {
        if self.queue.len() >= self.prune_at.max(PRUNE_AT) {
            self.queue.retain(|waiter| !waiter.grant.is_closed());
            self.prune_at = 2 * self.queue.len();
        }
        self.queue.push_back(waiter);
    }

    /// Removes those before the first who still waits.
    fn prune_front(&mut self) {
        while self
            .queue
            .front()
            .is_some_and(|waiter| waiter.grant.is_closed())
        {
            self.queue.pop_front();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.owner.slots;
        let mut state = slots.state();
        state.give_back(&self.owner);
        slots.grant(state);
    }
}

#[cfg(test)]
mod tests;
