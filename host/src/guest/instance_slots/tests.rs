use super::*;

/// A version with idle instances.
struct IdleSlots {
    /// The slots of the instances.
    slots: Mutex<Vec<Slot>>,
    /// The version.
    owner: Arc<SlotOwner>,
}

impl IdleInstances for IdleSlots {
    fn take_back(&self) {
        if self.owner.may_give() {
            let slot = locked(&self.slots).pop();
            drop(slot);
        }
    }

    fn sweep(&self, _sweeps: u32) {}
}

fn idle(slots: &Arc<InstanceSlots>, owner: &Arc<SlotOwner>, count: usize) -> Arc<IdleSlots> {
    let idle = Arc::new(IdleSlots {
        slots: Mutex::new((0..count).map(|_| taken(owner)).collect()),
        owner: Arc::clone(owner),
    });
    let watched: Weak<IdleSlots> = Arc::downgrade(&idle);
    slots.watch(watched);
    idle
}

fn taken(owner: &Arc<SlotOwner>) -> Slot {
    owner.slot().ok().expect("a slot is free")
}

/// Begins to wait for a slot: none is free.
fn waiting(owner: &Arc<SlotOwner>) -> Waiting {
    owner.slot().err().expect("no slot is free")
}

fn granted(waiting: &mut Waiting) -> Option<Slot> {
    waiting.granted.try_recv().ok()
}

#[test]
fn a_tenth_is_for_versions_that_have_no_instance() {
    let slots = InstanceSlots::new(10);
    let (greedy, other) = (slots.enter(1, 0), slots.enter(1, 0));
    let mut all: Vec<_> = (0..9).map(|_| taken(&greedy)).collect();
    let mut tenth = waiting(&greedy);
    let first = taken(&other);
    assert_eq!(slots.used(), 10);
    drop(first);
    assert!(granted(&mut tenth).is_none(), "the last one is kept");
    all.pop();
    assert!(
        granted(&mut tenth).is_some(),
        "nobody else waits for the other"
    );
}

#[test]
fn who_has_none_comes_before_those_who_waited_longer() {
    let slots = InstanceSlots::new(2);
    let (greedy, other) = (slots.enter(1, 0), slots.enter(1, 0));
    let mut all = vec![taken(&greedy), taken(&greedy)];
    let mut third = waiting(&greedy);
    let mut first = waiting(&other);
    assert!(slots.is_starving() && greedy.should_give());
    all.pop();
    let of_other = granted(&mut first);
    assert!(of_other.is_some() && granted(&mut third).is_none());
    assert!(!slots.is_starving());
    drop(of_other);
    assert!(granted(&mut third).is_some());
}

#[test]
fn idle_instances_of_others_are_taken_back_but_not_what_is_set_aside() {
    let slots = InstanceSlots::new(3);
    let (kept, spare, late) = (slots.enter(1, 1), slots.enter(1, 0), slots.enter(1, 0));
    let of_kept = idle(&slots, &kept, 1);
    let of_spare = idle(&slots, &spare, 2);
    let mut first = waiting(&late);
    assert!(granted(&mut first).is_some(), "one was taken back at once");
    assert_eq!(locked(&of_kept.slots).len(), 1);
    assert_eq!(locked(&of_spare.slots).len(), 1);
}

#[test]
fn what_is_set_aside_is_there_whoever_takes_the_rest() {
    let slots = InstanceSlots::new(4);
    let (promised, greedy) = (slots.enter(1, 2), slots.enter(1, 0));
    let of_greedy = [taken(&greedy), taken(&greedy)];
    let mut third = waiting(&greedy);
    let of_promised = [taken(&promised), taken(&promised)];
    assert_eq!(slots.used(), 4);
    drop(of_promised);
    assert!(granted(&mut third).is_none(), "they stay set aside");
    promised.leave();
    assert!(granted(&mut third).is_some(), "the version has ended");
    drop(of_greedy);
}

#[test]
fn an_instance_with_more_memories_takes_more_slots_and_is_not_passed_by_while_it_waits() {
    let slots = InstanceSlots::new(4);
    let (large, small) = (slots.enter(3, 0), slots.enter(1, 0));
    let mut of_small = vec![taken(&small), taken(&small)];
    let mut first = waiting(&large);
    let mut next = waiting(&small);
    of_small.pop();
    let of_large = granted(&mut first);
    assert!(of_large.is_some() && granted(&mut next).is_none());
    assert_eq!(slots.used(), 4);
    drop((of_large, of_small));
    assert!(granted(&mut next).is_some());
}

#[test]
fn who_gives_up_gets_nothing_and_holds_up_nobody() {
    let slots = InstanceSlots::new(1);
    let (one, other) = (slots.enter(1, 0), slots.enter(1, 0));
    let only = taken(&one);
    drop(waiting(&other));
    let mut patient = waiting(&other);
    drop(only);
    let slot = granted(&mut patient);
    assert!(slot.is_some());
    // Given, and not looked at any more.
    let unseen = waiting(&one);
    drop(slot);
    drop(unseen);
    assert_eq!(slots.used(), 0);
}

#[test]
fn a_version_that_ends_while_it_waits_holds_up_nobody() {
    let slots = InstanceSlots::new(1);
    let one = slots.enter(1, 0);
    let only = taken(&one);
    let ended = slots.enter(1, 1);
    drop(waiting(&ended));
    ended.leave();
    drop(ended);
    drop(only);
    drop(taken(&one));
    assert_eq!(slots.used(), 0);
}
