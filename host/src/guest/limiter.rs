//! The memory that one instance may take.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::metrics::{GaugePart, GuestCounters};

/// Counts all memories and tables of one store together, so that a second memory gets nobody around the limit.
pub(super) struct MemoryLimiter {
    /// The limit of all memories and tables together.
    max_bytes: usize,
    /// The bytes that memories and tables have now.
    used_bytes: usize,
    /// The last request was refused: the trap that follows is likely to be about that.
    refused: bool,
    /// The guest's counters.
    counters: Arc<GuestCounters>,
    /// The store's part of the guest's memory gauge.
    held: GaugePart,
}

/// The bytes of one element of a table: a pointer.
const ELEMENT_BYTES: usize = size_of::<usize>();

impl MemoryLimiter {
    pub(super) fn new(max_bytes: usize, counters: Arc<GuestCounters>) -> Self {
        let held = counters.memory.hold(0);
        Self {
            max_bytes,
            used_bytes: 0,
            refused: false,
            counters,
            held,
        }
    }

    /// Whether memory was refused to the guest since this was last asked.
    pub(super) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    fn grow(&mut self, current_bytes: usize, desired_bytes: usize, most: Option<usize>) -> bool {
        // Beyond its own maximum nothing grows, whatever we say: do not count it.
        if most.is_some_and(|most| desired_bytes > most) {
            return false;
        }
        let wanted = self
            .used_bytes
            .saturating_add(desired_bytes.saturating_sub(current_bytes));
        if wanted > self.max_bytes {
            self.refused = true;
            self.counters.memory_refused.add_one();
            return false;
        }
        self.held.grow((wanted - self.used_bytes) as u64);
        self.used_bytes = wanted;
        self.refused = false;
        true
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(ELEMENT_BYTES);
        Ok(self.grow(bytes(current), bytes(desired), maximum.map(bytes)))
    }
}
