//! Calls to the guest when it goes into and out of service.

use crate::bindings::living::exports::wharf::nats::lifecycle as exports;
use crate::error::Result;

/// Calls to a guest when it goes into and out of service. Put [`lifecycle`](macro@crate::lifecycle) on the `impl`.
///
/// Both are made once for the guest, not for each of its instances: what they leave in memory is not there for the
/// handler.
pub trait Lifecycle {
    /// Called once, before the first message.
    ///
    /// # Errors
    /// An error keeps the guest out of service.
    fn start() -> Result<()> {
        Ok(())
    }

    /// Called once, after the last message has been handled.
    fn stop() {}
}

impl<T: Lifecycle> exports::Guest for T {
    fn start() -> Result<(), String> {
        T::start().map_err(|error| error.to_string())
    }

    fn stop() {
        T::stop();
    }
}
