//! `wharf:nats/pubsub`: core NATS, at most once.

use std::time::Duration;

use super::bindings::pubsub::{Host, PublishOptions, RequestOptions, SubscribeOptions};
use super::bindings::types;
use super::import_context::CtxView;
use super::ops::{self, Outgoing, Target};
use super::wit_error::Answer;
use crate::message::Message;

impl Host for CtxView<'_> {
    async fn publish(
        &mut self,
        subject: String,
        payload: Vec<u8>,
        options: Option<PublishOptions>,
    ) -> Answer<()> {
        let (headers, reply_to, ignore_prefix) = options.map_or_else(Default::default, |o| {
            (o.headers, o.reply_to, o.ignore_prefix)
        });
        let target = Target::new(&subject, ignore_prefix);
        let message = Outgoing { headers, payload };
        let published = ops::publish(self.ctx, target, reply_to.as_deref(), message).await;
        Ok(published.map_err(Into::into))
    }

    async fn request(
        &mut self,
        subject: String,
        payload: Vec<u8>,
        options: Option<RequestOptions>,
    ) -> Answer<types::Message> {
        let (headers, timeout_ms, ignore_prefix) = options.map_or_else(Default::default, |o| {
            (o.headers, o.timeout_ms, o.ignore_prefix)
        });
        let target = Target::new(&subject, ignore_prefix);
        let message = Outgoing { headers, payload };
        let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let reply = ops::request(self.ctx, target, message, timeout).await;
        Ok(reply.map(types::Message::from).map_err(Into::into))
    }

    async fn subscribe(
        &mut self,
        subject: String,
        options: Option<SubscribeOptions>,
    ) -> Answer<()> {
        let (queue, ignore_prefix) = subscription(options);
        let target = Target::new(&subject, ignore_prefix);
        let subscribed = ops::subscribe(self.ctx, target, queue).await;
        Ok(subscribed.map_err(Into::into))
    }

    async fn unsubscribe(
        &mut self,
        subject: String,
        options: Option<SubscribeOptions>,
    ) -> Answer<()> {
        let (queue, ignore_prefix) = subscription(options);
        let target = Target::new(&subject, ignore_prefix);
        let unsubscribed = ops::unsubscribe(self.ctx, target, queue).await;
        Ok(unsubscribed.map_err(Into::into))
    }
}

fn subscription(options: Option<SubscribeOptions>) -> (Option<String>, bool) {
    options.map_or_else(Default::default, |o| (o.queue, o.ignore_prefix))
}

impl From<Message> for types::Message {
    fn from(message: Message) -> Self {
        Self {
            subject: message.subject,
            reply_to: message.reply_to,
            headers: message.headers,
            payload: message.payload.into(),
        }
    }
}
