//! Descriptors that guests have open, all guests of this process together: at most half of what the system gives the process. The
//! other half is the host's, for the server, for whoever asks over HTTP, and for components.

use std::sync::{Arc, LazyLock};

use rustix::process::{Resource, getrlimit};

use crate::metrics::{Gauge, GaugePart};

/// Descriptors that all guests have open.
static OPEN: LazyLock<Arc<Gauge>> = LazyLock::new(Arc::default);

/// One descriptor, until this is dropped.
pub(super) struct DescriptorCharge {
    /// The part of the guest's count.
    _of_guest: GaugePart,
    /// The part of the count of all guests.
    _of_all: GaugePart,
}

/// The reason for which there is no descriptor more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDescriptor {
    /// The guest has as many as it may have.
    Guest,
    /// All guests together have as many as this.
    AllGuests(u64),
}

impl DescriptorCharge {
    /// Charges one more to a guest that may have so many.
    pub(super) fn new(of_guest: &Arc<Gauge>, max: u64) -> Result<Self, NoDescriptor> {
        // The limit may be raised while the host runs.
        let max_of_all = share(getrlimit(Resource::Nofile).current);
        let of_guest = of_guest.hold_within(1, max).ok_or(NoDescriptor::Guest)?;
        let of_all = OPEN
            .hold_within(1, max_of_all)
            .ok_or(NoDescriptor::AllGuests(max_of_all))?;
        Ok(Self {
            _of_guest: of_guest,
            _of_all: of_all,
        })
    }
}

/// The guests' share of the process's descriptors. `None` is no limit.
fn share(limit: Option<u64>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_so_many_and_gives_them_back() {
        let of_guest = Arc::<Gauge>::default();
        let one = DescriptorCharge::new(&of_guest, 1);
        assert!(one.is_ok());
        let refused = DescriptorCharge::new(&of_guest, 1).err();
        assert_eq!(refused, Some(NoDescriptor::Guest));
        drop(one);
        assert_eq!(of_guest.get(), 0);
        assert!(DescriptorCharge::new(&of_guest, 1).is_ok());
        assert_eq!(share(Some(1024)), 512);
        assert_eq!(share(None), u64::MAX);
    }
}
