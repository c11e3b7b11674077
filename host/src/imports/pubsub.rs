//! `wharf:nats/pubsub`: core NATS, at most once.

use std::time::Duration;

use super::bindings::pubsub::{Host, PublishOptions, RequestOptions, SubscribeOptions};
use super::bindings::types;
use super::{Answer, Ctx, CtxView, OPERATION_TIMEOUT};
use crate::headers::{from_wire, to_wire};
use crate::policy::Action;
use crate::protocol::reserved::is_reserved;
use crate::protocol::subject::{check_pattern, check_queue};

impl Host for CtxView<'_> {
    async fn publish(
        &mut self,
        subject: String,
        payload: Vec<u8>,
        options: Option<PublishOptions>,
    ) -> Answer<()> {
        Ok(publish(self.ctx, &subject, payload, options).await)
    }

    async fn request(
        &mut self,
        subject: String,
        payload: Vec<u8>,
        options: Option<RequestOptions>,
    ) -> Answer<types::Message> {
        Ok(request(self.ctx, &subject, payload, options).await)
    }

    async fn subscribe(
        &mut self,
        subject: String,
        options: Option<SubscribeOptions>,
    ) -> Answer<()> {
        Ok(subscribe(self.ctx, &subject, options).await)
    }

    async fn unsubscribe(
        &mut self,
        subject: String,
        options: Option<SubscribeOptions>,
    ) -> Answer<()> {
        Ok(unsubscribe(self.ctx, &subject, options).await)
    }
}

async fn publish(
    ctx: &Ctx,
    subject: &str,
    payload: Vec<u8>,
    options: Option<PublishOptions>,
) -> Result<(), types::Error> {
    let (headers, reply_to, ignore_prefix) = options.map_or_else(Default::default, |o| {
        (o.headers, o.reply_to, o.ignore_prefix)
    });
    let on_wire = ctx.subject(Action::Publish, subject, ignore_prefix)?;
    ctx.fits(&payload)?;
    // Where the answer goes is a subject that somebody else's rights publish on: it takes the same grant.
    let reply_to = match reply_to {
        Some(subject) => Some(ctx.subject(Action::Publish, &subject, ignore_prefix)?),
        None => None,
    };
    let connection = &ctx.shared.connection;
    let headers = to_wire(headers, ctx.trace.as_ref())?;
    Ok(connection
        .publish(on_wire, reply_to, headers, payload.into())
        .await?)
}

async fn request(
    ctx: &Ctx,
    subject: &str,
    payload: Vec<u8>,
    options: Option<RequestOptions>,
) -> Result<types::Message, types::Error> {
    let (headers, timeout_ms, ignore_prefix) = options.map_or_else(Default::default, |o| {
        (o.headers, o.timeout_ms, o.ignore_prefix)
    });
    let on_wire = ctx.subject(Action::Request, subject, ignore_prefix)?;
    ctx.fits(&payload)?;
    let timeout = timeout_ms.map_or(OPERATION_TIMEOUT, |ms| Duration::from_millis(ms.into()));
    let connection = &ctx.shared.connection;
    let headers = to_wire(headers, ctx.trace.as_ref())?;
    let reply = connection
        .request(on_wire, headers, payload.into(), timeout)
        .await?;
    Ok(types::Message {
        // The inbox that the reply came to is the host's: a guest has no use for it.
        subject: subject.to_owned(),
        reply_to: reply
            .reply
            .as_ref()
            .map(|reply| reply.to_string())
            .filter(|reply| !is_reserved(reply)),
        headers: from_wire(reply.headers.as_ref()),
        payload: reply.payload.into(),
    })
}

async fn subscribe(
    ctx: &Ctx,
    subject: &str,
    options: Option<SubscribeOptions>,
) -> Result<(), types::Error> {
    let (on_wire, queue, ignore_prefix) = subscription(ctx, subject, options)?;
    Ok(ctx
        .shared
        .subscriptions
        .subscribe(on_wire, queue, ignore_prefix)
        .await?)
}

async fn unsubscribe(
    ctx: &Ctx,
    subject: &str,
    options: Option<SubscribeOptions>,
) -> Result<(), types::Error> {
    let (on_wire, queue, _) = subscription(ctx, subject, options)?;
    Ok(ctx.shared.subscriptions.unsubscribe(on_wire, queue).await?)
}

type Subscription = (async_nats::Subject, Option<String>, bool);

fn subscription(
    ctx: &Ctx,
    subject: &str,
    options: Option<SubscribeOptions>,
) -> Result<Subscription, types::Error> {
    let (queue, ignore_prefix) =
        options.map_or_else(Default::default, |o| (o.queue, o.ignore_prefix));
    check_pattern(subject).map_err(types::Error::Invalid)?;
    if let Some(queue) = &queue {
        check_queue(queue).map_err(types::Error::Invalid)?;
    }
    let on_wire = ctx.granted(Action::Subscribe, subject, ignore_prefix)?;
    Ok((on_wire, queue, ignore_prefix))
}
