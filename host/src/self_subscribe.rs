//! A guest that subscribes itself, without its imports knowing where messages come from.

use std::future::Future;
use std::pin::Pin;

use async_nats::Subject;

use crate::error::Error;

/// A change of a guest's subscriptions, on its way.
pub(crate) type SubscriptionChange<'a> =
    Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// The subscriptions that one version of a guest makes by itself. Those that it asks for while it starts begin when it
/// comes into service.
pub(crate) trait SelfSubscribe: Send + Sync {
    /// Subscribes the guest to a subject as it travels. Subscribing again does nothing.
    fn subscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
        ignore_prefix: bool,
    ) -> SubscriptionChange<'_>;

    /// Ends a subscription. What has arrived is still handled; nothing happens where there is none.
    fn unsubscribe(&self, subject: Subject, queue: Option<String>) -> SubscriptionChange<'_>;
}
