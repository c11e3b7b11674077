//! Operations of guests, without WIT: the policy is asked, then NATS does it. Every world that guests may be made for
//! translates to these.

use std::time::Duration;

use async_nats::Subject;

use super::import_context::Ctx;
use crate::config::{BucketAccess, BucketSettings};
use crate::connection::PublishAck;
use crate::connector::{Bucket, StoreOptions};
use crate::error::Error;
use crate::headers::{MAX_HEADER_BYTES, from_wire, to_wire};
use crate::message::Message;
use crate::policy::{Action, Denied};
use crate::protocol::reserved::is_reserved;
use crate::protocol::subject::{check_pattern, check_queue, check_subject, on_wire};
use crate::protocol::ttl::check_message_ttl;

/// The time that an operation of a guest waits for the server's answer. A request may say otherwise.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a message id. It has to fit into a message's headers beside others.
const MAX_MESSAGE_ID_BYTES: usize = MAX_HEADER_BYTES / 2;

/// Errors of an operation of a guest.
#[derive(Debug)]
pub(super) enum OpError {
    /// No grant covers it.
    Denied(Denied),
    Failed(Error),
}

/// A subject as a guest names it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// Behind the guest's prefix.
    Prefixed(&'a str),
    /// As it is.
    Absolute(&'a str),
}

/// A message that a guest sends.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Names and values of headers, not checked yet.
    pub(super) headers: Vec<(String, String)>,
    /// The body, not yet compared with the largest that the server takes.
    pub(super) payload: Vec<u8>,
}

impl From<Denied> for OpError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Error> for OpError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Target<'a> {
    pub(super) fn new(subject: &'a str, ignore_prefix: bool) -> Self {
        match ignore_prefix {
            true => Self::Absolute(subject),
            false => Self::Prefixed(subject),
        }
    }

    fn as_written(self) -> &'a str {
        match self {
            Self::Prefixed(subject) | Self::Absolute(subject) => subject,
        }
    }

    /// Another subject, behind the same prefix.
    fn with(self, subject: &str) -> Target<'_> {
        match self {
            Self::Prefixed(_) => Target::Prefixed(subject),
            Self::Absolute(_) => Target::Absolute(subject),
        }
    }
}

/// Publishes a message.
pub(super) async fn publish(
    ctx: &Ctx,
    to: Target<'_>,
    reply_to: Option<&str>,
    message: Outgoing,
) -> Result<(), OpError> {
    let subject = ctx.subject(Action::Publish, to)?;
    ctx.check_payload(&message.payload)?;
    // Where the answer goes is a subject that somebody else's rights publish on: it takes the same grant.
    let reply_to = match reply_to {
        Some(reply_to) => Some(ctx.subject(Action::Publish, to.with(reply_to))?),
        None => None,
    };
    let headers = to_wire(message.headers, ctx.trace.as_ref())?;
    let connection = &ctx.shared.connection;
    Ok(connection
        .publish(subject, reply_to, headers, message.payload.into())
        .await?)
}

/// Sends a request, and waits for the first reply.
pub(super) async fn request(
    ctx: &Ctx,
    to: Target<'_>,
    message: Outgoing,
    timeout: Option<Duration>,
) -> Result<Message, OpError> {
    let subject = ctx.subject(Action::Request, to)?;
    ctx.check_payload(&message.payload)?;
    let timeout = timeout.unwrap_or(OPERATION_TIMEOUT);
    let headers = to_wire(message.headers, ctx.trace.as_ref())?;
    let connection = &ctx.shared.connection;
    let reply = connection
        .request(subject, headers, message.payload.into(), timeout)
        .await?;
    Ok(Message {
        // The inbox that the reply came to is the host's: a guest has no use for it.
        subject: to.as_written().to_owned(),
        reply_to: reply
            .reply
            .as_ref()
            .map(|reply| reply.to_string())
            .filter(|reply| !is_reserved(reply)),
        headers: from_wire(reply.headers.as_ref()),
        payload: reply.payload,
    })
}

/// Publishes a message, and waits until a stream has stored it.
pub(super) async fn publish_acked(
    ctx: &Ctx,
    to: Target<'_>,
    message: Outgoing,
    options: &StoreOptions,
) -> Result<PublishAck, OpError> {
    let subject = ctx.subject(Action::Publish, to)?;
    ctx.check_payload(&message.payload)?;
    check_options(options)?;
    let mut headers = to_wire(message.headers, ctx.trace.as_ref())?.unwrap_or_default();
    options.apply(&mut headers)?;
    let headers = (!headers.is_empty()).then_some(headers);
    let connection = &ctx.shared.connection;
    Ok(connection
        .publish_acked(subject, headers, message.payload.into(), OPERATION_TIMEOUT)
        .await?)
}

/// Subscribes the guest to a subject, with wildcards.
pub(super) async fn subscribe(
    ctx: &Ctx,
    to: Target<'_>,
    queue: Option<String>,
) -> Result<(), OpError> {
    let subject = ctx.pattern(to, queue.as_deref())?;
    let ignore_prefix = matches!(to, Target::Absolute(_));
    let subscriptions = &ctx.shared.subscriptions;
    Ok(subscriptions
        .subscribe(subject, queue, ignore_prefix)
        .await?)
}

/// Ends a subscription that the guest has made.
pub(super) async fn unsubscribe(
    ctx: &Ctx,
    to: Target<'_>,
    queue: Option<String>,
) -> Result<(), OpError> {
    let subject = ctx.pattern(to, queue.as_deref())?;
    Ok(ctx.shared.subscriptions.unsubscribe(subject, queue).await?)
}

/// Opens a bucket, by default the host's. Returns what the guest may do with it, too.
pub(super) async fn open_bucket(
    ctx: &Ctx,
    name: Option<String>,
) -> Result<(Bucket, BucketAccess), OpError> {
    let shared = &ctx.shared;
    let name = name.unwrap_or_else(|| shared.default_bucket.clone());
    let access = shared.policy.bucket(&name);
    let access = access.map_err(|denied| ctx.deny(denied))?;
    let may_create = access == BucketAccess::ReadWrite;
    let bucket = shared.connector.open_bucket(&name, may_create).await?;
    Ok((bucket, access))
}

/// Creates a bucket with these settings, or updates it to them.
pub(super) async fn create_bucket(
    ctx: &Ctx,
    name: &str,
    settings: BucketSettings,
) -> Result<Bucket, OpError> {
    let shared = &ctx.shared;
    match shared.policy.bucket(name) {
        Ok(BucketAccess::ReadWrite) => {}
        Ok(BucketAccess::Read) => return Err(ctx.deny(shared.policy.read_only(name))),
        Err(denied) => return Err(ctx.deny(denied)),
    }
    // What the operator wrote down about a bucket is not a guest's to change.
    let configured = shared.bucket_settings.get(name);
    if configured.is_some_and(|configured| *configured != settings) {
        return Err(ctx.deny(shared.policy.settings_are_the_hosts(name)));
    }
    Ok(shared.connector.create_bucket(name, settings).await?)
}

/// The bucket, if the guest may write to it.
pub(super) fn writable(
    ctx: &Ctx,
    bucket: &Bucket,
    access: BucketAccess,
) -> Result<Bucket, OpError> {
    match access {
        BucketAccess::ReadWrite => Ok(bucket.clone()),
        BucketAccess::Read => Err(ctx.deny(ctx.shared.policy.read_only(bucket.name()))),
    }
}

impl Ctx {
    /// The subject as it travels, if the guest may do that with it. Replying to the current message needs no
    /// grant where the host lets answers go.
    fn subject(&self, action: Action, to: Target<'_>) -> Result<Subject, OpError> {
        let subject = to.as_written();
        check_subject(subject).map_err(Error::Invalid)?;
        let is_reply = self.reply_to.as_deref() == Some(subject);
        if is_reply && action == Action::Publish && self.shared.policy.check_reply(subject).is_ok()
        {
            // Behind its prefix the guest may have a subject of that name. It means that one then: a sender must not be
            // able to divert what the guest publishes.
            let own = self.on_wire(to);
            let is_granted = self.shared.policy.check(action, &own).is_ok();
            return Ok(if is_granted { own } else { subject.into() });
        }
        self.granted(action, to)
    }

    /// The subject, with wildcards, of a subscription as it travels, if the guest may have it.
    fn pattern(&self, to: Target<'_>, queue: Option<&str>) -> Result<Subject, OpError> {
        check_pattern(to.as_written()).map_err(Error::Invalid)?;
        queue.map_or(Ok(()), check_queue).map_err(Error::Invalid)?;
        self.granted(Action::Subscribe, to)
    }

    fn granted(&self, action: Action, to: Target<'_>) -> Result<Subject, OpError> {
        let subject = self.on_wire(to);
        match self.shared.policy.check(action, &subject) {
            Ok(()) => Ok(subject),
            Err(denied) => Err(self.deny(denied)),
        }
    }

    /// Checks that the server takes a payload of this length, before anything is done with it.
    fn check_payload(&self, payload: &[u8]) -> Result<(), Error> {
        let most = self.shared.connection.max_payload();
        if payload.len() <= most {
            return Ok(());
        }
        Err(Error::TooLarge(most as u64))
    }

    fn on_wire(&self, to: Target<'_>) -> Subject {
        match (to, self.shared.policy.prefix()) {
            (Target::Prefixed(subject), prefix) if !prefix.is_empty() => {
                on_wire(prefix, subject).into()
            }
            (Target::Prefixed(subject) | Target::Absolute(subject), _) => subject.into(),
        }
    }

    /// Counts and logs a denial.
    fn deny(&self, denied: Denied) -> OpError {
        self.shared.counters.deny(denied.grant);
        tracing::debug!(target: "wharf::policy", "{denied}");
        OpError::Denied(denied)
    }
}

/// Checks what a guest asks a stream to mind.
fn check_options(options: &StoreOptions) -> Result<(), Error> {
    let fits = |id: &String| (1..=MAX_MESSAGE_ID_BYTES).contains(&id.len());
    if !options.message_id.as_ref().is_none_or(fits) {
        let words = format!("a message id has 1 to {MAX_MESSAGE_ID_BYTES} bytes");
        return Err(Error::Invalid(words));
    }
    options.ttl.map_or(Ok(()), check_message_ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_asks_a_stream_to_mind_is_bounded() {
        let with_id = |id: String| StoreOptions {
            message_id: Some(id),
            ..StoreOptions::default()
        };
        let with_ttl = |millis| StoreOptions {
            ttl: Some(Duration::from_millis(millis)),
            ..StoreOptions::default()
        };
        let good = [
            StoreOptions::default(),
            with_id("x".repeat(MAX_MESSAGE_ID_BYTES)),
            with_ttl(1000),
        ];
        for options in good {
            assert_eq!(check_options(&options), Ok(()), "{options:?}");
        }
        let bad = [
            with_id(String::new()),
            with_id("x".repeat(MAX_MESSAGE_ID_BYTES + 1)),
            with_ttl(999),
        ];
        for options in bad {
            let refused = check_options(&options);
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
    }
}
