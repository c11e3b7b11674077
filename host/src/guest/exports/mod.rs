//! The interfaces that guests export and the host calls, one file for each.

mod handler;
mod lifecycle;

pub(super) use handler::{GuestFailure, HandlerExport, InstanceHandler};
pub(super) use lifecycle::{LIFECYCLE, LifecycleExport};
