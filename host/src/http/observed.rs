//! The one thing that the endpoints know of the host.

use crate::status::HostStatus;

/// The host, as the HTTP endpoints see it.
pub(crate) trait Observed: Send + Sync + 'static {
    /// Checks that guests receive messages.
    ///
    /// # Errors
    /// Says why they do not.
    fn ready(&self) -> Result<(), String>;

    /// The host's status.
    fn status(&self) -> HostStatus;
}
