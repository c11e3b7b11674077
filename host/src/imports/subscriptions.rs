//! How a guest subscribes itself, without the imports knowing where messages come from.

use std::future::Future;
use std::pin::Pin;

use async_nats::Subject;

use crate::error::Error;

pub(crate) type Changed<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// The subscriptions of one version of a guest. What it asks for while it starts begins when it comes into service.
pub(crate) trait Subscriptions: Send + Sync {
    /// Subscribes the guest to a subject as it travels. Subscribing again does nothing.
    fn subscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
        ignore_prefix: bool,
    ) -> Changed<'_>;

    /// Ends a subscription. What has arrived is still handled; nothing happens where there is none.
    fn unsubscribe(&self, subject: Subject, queue: Option<String>) -> Changed<'_>;
}
