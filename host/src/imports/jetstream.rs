//! `wharf:nats/jetstream`: publishing that waits until the server has stored the message.

use std::time::Duration;

use super::bindings::jetstream::{Ack, Host, PublishOptions};
use super::import_context::CtxView;
use super::ops::{self, Outgoing, Target};
use super::wit_error::Answer;
use crate::connection::PublishAck;
use crate::connector::StoreOptions;

impl Host for CtxView<'_> {
    async fn publish(
        &mut self,
        subject: String,
        payload: Vec<u8>,
        options: Option<PublishOptions>,
    ) -> Answer<Ack> {
        let mut target = Target::new(&subject, false);
        let mut message = Outgoing {
            payload,
            ..Outgoing::default()
        };
        let mut store = StoreOptions::default();
        if let Some(options) = options {
            target = Target::new(&subject, options.ignore_prefix);
            message.headers = options.headers;
            store.message_id = options.message_id;
            store.expected_last_subject_sequence = options.expected_last_subject_sequence;
            store.ttl = options.ttl_ms.map(Duration::from_millis);
        }
        let stored = ops::publish_acked(self.ctx, target, message, &store).await;
        Ok(stored.map(Ack::from).map_err(Into::into))
    }
}

impl From<PublishAck> for Ack {
    fn from(ack: PublishAck) -> Self {
        Self {
            stream_name: ack.stream,
            sequence: ack.sequence,
            duplicate: ack.duplicate,
        }
    }
}
