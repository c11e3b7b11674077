//! `wharf:nats/jetstream`: publishing that waits until the server has stored the message.

use async_nats::header::{
    HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_MESSAGE_TTL,
};

use super::bindings::jetstream::{Ack, Host, PublishOptions};
use super::bindings::types;
use super::{Answer, Ctx, CtxView, OPERATION_TIMEOUT};
use crate::headers::{MAX_HEADER_BYTES, set, set_checked, to_wire};
use crate::policy::Action;
use crate::trace::TraceHeaders;

/// A message id travels as a header field; this leaves room for others.
const MAX_MESSAGE_ID_BYTES: usize = MAX_HEADER_BYTES / 2;

impl Host for CtxView<'_> {
    async fn publish(
        &mut self,
        subject: String,
        payload: Vec<u8>,
        options: Option<PublishOptions>,
    ) -> Answer<Ack> {
        Ok(publish(self.ctx, &subject, payload, options).await)
    }
}

async fn publish(
    ctx: &Ctx,
    subject: &str,
    payload: Vec<u8>,
    options: Option<PublishOptions>,
) -> Result<Ack, types::Error> {
    let ignore_prefix = options
        .as_ref()
        .is_some_and(|options| options.ignore_prefix);
    let on_wire = ctx.subject(Action::Publish, subject, ignore_prefix)?;
    ctx.fits(&payload)?;
    let trace = ctx.trace.as_ref();
    let headers = match options {
        Some(options) => orders(options, trace)?,
        None => to_wire(Vec::new(), trace)?,
    };
    let connection = &ctx.shared.connection;
    let ack = connection
        .store(on_wire, headers, payload.into(), OPERATION_TIMEOUT)
        .await?;
    Ok(Ack {
        stream_name: ack.stream,
        sequence: ack.sequence,
        duplicate: ack.duplicate,
    })
}

/// The guest's own headers, and those that carry the options to the server.
fn orders(
    options: PublishOptions,
    trace: Option<&TraceHeaders>,
) -> Result<Option<HeaderMap>, types::Error> {
    let mut headers = to_wire(options.headers, trace)?.unwrap_or_default();
    if let Some(id) = options.message_id {
        if id.is_empty() || id.len() > MAX_MESSAGE_ID_BYTES {
            return Err(types::Error::Invalid(format!(
                "a message id has 1 to {MAX_MESSAGE_ID_BYTES} bytes"
            )));
        }
        set_checked(&mut headers, NATS_MESSAGE_ID, &id, "the message id")?;
    }
    if let Some(sequence) = options.expected_last_subject_sequence {
        let name = NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
        set(&mut headers, name, &sequence.to_string());
    }
    if let Some(ms) = options.ttl_ms {
        // The server counts whole seconds and refuses less than one: never shorter than asked for.
        if ms < 1000 {
            return Err(types::Error::Invalid(format!(
                "a time to live is at least 1000 ms, not {ms}"
            )));
        }
        let seconds = format!("{}s", ms.div_ceil(1000));
        set(&mut headers, NATS_MESSAGE_TTL, &seconds);
    }
    Ok((!headers.is_empty()).then_some(headers))
}
