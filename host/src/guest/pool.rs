//! The instances of one version of a guest: made when none waits, kept for the next message, and given back when they are
//! not used or others need their slots more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;

use super::compiled::CompiledComponent;
use super::engine::Engine;
use super::instance::Instance;
use super::instance_slots::{IdleInstances, Slot, SlotOwner};
use super::state::InstanceTemplate;
use crate::lock::locked;

/// The instances of one version of a guest.
pub(super) struct InstancePool {
    /// The host's one engine, which all guests share.
    engine: Arc<Engine>,
    /// The component that each new instance is made of, compiled and linked.
    component: CompiledComponent,
    /// The template of the state that each new instance gets.
    template: Arc<InstanceTemplate>,
    /// Instances that wait for their next message, which the host may take back.
    idle: Arc<Idle>,
}

/// An instance for a message, or the right to make one.
pub(super) enum Place {
    /// An instance that has been used before.
    Instance(Box<Instance>),
    /// The slot of one that is to be made.
    Slot(Slot),
}

/// The instances of one version that wait for their next message.
struct Idle {
    /// The instances, the one used last at the end. It is used next, so that as few as possible stay.
    instances: Mutex<VecDeque<IdleInstance>>,
    /// The version's part in the host's slots.
    owner: Arc<SlotOwner>,
    /// True once an instance has been given back, until the host looks for idle ones to take back.
    used: AtomicBool,
    /// Those who wait for a slot, or for an instance that is given back.
    waiters: AtomicUsize,
    /// Wakes one of those who wait: an instance is there.
    returned: Notify,
}

/// An instance that waits for its next message.
struct IdleInstance {
    /// The instance.
    instance: Box<Instance>,
    /// The sweeps at which it has been idle.
    sweeps: u32,
}

impl InstancePool {
    /// No instance yet.
    pub(super) fn new(
        engine: Arc<Engine>,
        component: CompiledComponent,
        template: Arc<InstanceTemplate>,
    ) -> Self {
        let min = template.settings.instances.min;
        let idle = Arc::new(Idle {
            instances: Mutex::default(),
            owner: engine.slots.enter(component.parts().slots, min),
            used: AtomicBool::new(false),
            waiters: AtomicUsize::new(0),
            returned: Notify::new(),
        });
        let watched: Weak<Idle> = Arc::downgrade(&idle);
        engine.slots.watch(watched);
        Self {
            engine,
            component,
            template,
            idle,
        }
    }

    /// The instances of all guests that may live at once.
    pub(super) fn instances_of_the_host(&self) -> u32 {
        self.engine.slots.capacity()
    }

    /// Takes an instance that waits, or a free slot. `None` if there is neither.
    pub(super) fn try_place(&self) -> Option<Place> {
        let waiting = locked(&self.idle.instances).pop_back();
        waiting.map(|idle| Place::Instance(idle.instance))
    }

    /// Takes an instance that waits or a slot, and waits for whichever is there first.
    pub(super) async fn place(&self) -> Place {
        let _counted = WaiterPart::of(&self.idle);
        loop {
            let returned = self.idle.returned.notified();
            if let Some(place) = self.try_place() {
                return place;
            }
            let mut waiting = match self.idle.owner.slot() {
                Ok(slot) => return Place::Slot(slot),
                Err(waiting) => waiting,
            };
            tokio::select! {
                slot = waiting.slot() => return Place::Slot(slot),
                () = returned => {}
            }
        }
    }

    /// The instance of a place.
    ///
    /// # Errors
    /// None can be made: a trap, too little memory, or a directory that cannot be opened.
    pub(super) async fn instance(&self, place: Place) -> wasmtime::Result<Box<Instance>> {
        let slot = match place {
            Place::Instance(instance) => return Ok(instance),
            Place::Slot(slot) => slot,
        };
        let made = Instance::new(&self.engine, self.component.parts(), &self.template, slot);
        let made = Box::new(made.await?);
        self.template.imports.counters.instances_made.add_one();
        Ok(made)
    }

    /// Gives an instance back that can be used again. It is dropped after its last use, and where a guest that has no
    /// instance waits for its slot.
    pub(super) fn give_back(&self, instance: Box<Instance>) {
        let is_used_up = instance.uses >= self.template.settings.instances.reuse.get();
        if is_used_up || self.idle.owner.should_give() {
            return;
        }
        let sweeps = 0;
        locked(&self.idle.instances).push_back(IdleInstance { instance, sweeps });
        self.idle.used.store(true, Ordering::Relaxed);
        // Whoever is counted after this look sees the instance, as the same lock is taken for it.
        if self.idle.waiters.load(Ordering::Relaxed) > 0 {
            self.idle.returned.notify_one();
        }
        // Whoever began to wait meanwhile has looked for idle instances, and not seen this one.
        if self.idle.owner.should_give() {
            let spare = locked(&self.idle.instances).pop_front();
            drop(spare);
        }
    }
}

/// One who waits, counted until it is dropped.
struct WaiterPart<'a>(&'a Idle);

impl<'a> WaiterPart<'a> {
    fn of(idle: &'a Idle) -> Self {
        idle.waiters.fetch_add(1, Ordering::Relaxed);
        Self(idle)
    }
}

impl Drop for WaiterPart<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl IdleInstances for Idle {
    fn take_back(&self) {
        if self.used.swap(false, Ordering::Relaxed) || !self.owner.may_give() {
            return;
        }
        let oldest = locked(&self.instances).pop_front();
        drop(oldest);
    }

    fn sweep(&self, sweeps: u32) {
        let mut unused = Vec::new();
        let mut instances = locked(&self.instances);
        for idle in instances.iter_mut() {
            idle.sweeps += 1;
        }
        while instances
            .front()
            .is_some_and(|oldest| oldest.sweeps >= sweeps)
            && self.owner.may_spare(unused.len())
        {
            unused.extend(instances.pop_front());
        }
        drop(instances);
        drop(unused);
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.owner.leave();
    }
}
