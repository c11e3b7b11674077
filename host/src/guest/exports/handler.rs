//! `wharf:nats/handler`: a guest handles one message.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Instance, Lift, Lower, TypedFunc,
};
use wasmtime::{Engine, Store};

use crate::guest::sanitize;
use crate::message::{Event, FailureKind, Message, Reply, StreamPosition};

/// The interface's name.
pub(in crate::guest) const HANDLER: &str = "wharf:nats/handler@0.2.0";

/// `message` of `wit/types.wit`.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(in crate::guest) struct WitMessage {
    /// The subject without the guest's prefix.
    subject: String,
    /// The subject on which the sender waits for a reply. None if nobody waits.
    #[component(name = "reply-to")]
    reply_to: Option<String>,
    /// Names and values of headers, one pair for each value.
    headers: Vec<(String, String)>,
    /// The body as the sender wrote it.
    payload: Bytes,
}

/// `delivery` of `wit/handler.wit`.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(in crate::guest) struct WitDelivery {
    /// The name of the stream that delivered the message.
    #[component(name = "stream-name")]
    stream_name: String,
    /// The message's number in its stream.
    sequence: u64,
    /// The number of this delivery of the message, from 1.
    attempt: u32,
    /// The time at which the stream stored the message, in nanoseconds since the Unix epoch.
    timestamp: u64,
}

/// `reply` of `wit/handler.wit`.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(in crate::guest) struct WitReply {
    /// Names and values of headers, not checked yet.
    headers: Vec<(String, String)>,
    /// The body as the guest wrote it, of any size.
    payload: Bytes,
}

/// `failure` of `wit/handler.wit`: the reason for which a guest did not handle a message.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub(in crate::guest) enum GuestFailure {
    #[component(name = "retry")]
    Retry(Retry),
    #[component(name = "reject")]
    Reject(String),
}

/// `retry` of `wit/handler.wit`.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(in crate::guest) struct Retry {
    /// The guest's own words, which are not yet fit for a log line or a header.
    reason: String,
    /// The time after which to try again, in milliseconds.
    after: Option<u64>,
}

/// `handle` as the component exports it.
type Handle =
    TypedFunc<(WitMessage, Option<WitDelivery>), (Result<Option<WitReply>, GuestFailure>,)>;

/// The handler of a component.
#[derive(Debug, Clone, Copy)]
pub(in crate::guest) struct HandlerExport(ComponentExportIndex);

/// The handler of one instance.
#[derive(Clone, Copy)]
pub(in crate::guest) struct InstanceHandler(Handle);

impl From<Message> for WitMessage {
    fn from(message: Message) -> Self {
        let Message {
            subject,
            reply_to,
            headers,
            payload,
        } = message;
        Self {
            subject,
            reply_to,
            headers,
            payload,
        }
    }
}

impl From<StreamPosition> for WitDelivery {
    fn from(position: StreamPosition) -> Self {
        Self {
            stream_name: position.stream_name,
            sequence: position.sequence,
            attempt: position.attempt,
            timestamp: position.timestamp,
        }
    }
}

impl GuestFailure {
    /// The kind of the failure, and its reason, fit for a log line and a header.
    pub(in crate::guest) fn into_parts(self) -> (FailureKind, String) {
        match self {
            Self::Retry(Retry { reason, after }) => (
                FailureKind::Retry(after.map(Duration::from_millis)),
                sanitize::reason(&reason),
            ),
            Self::Reject(reason) => (FailureKind::Reject, sanitize::reason(&reason)),
        }
    }
}

impl HandlerExport {
    /// Finds the handler of a component.
    ///
    /// # Errors
    /// Says what is wrong with it, or that there is none.
    pub(in crate::guest) fn find(engine: &Engine, component: &Component) -> Result<Self, String> {
        let no_function = || format!("{HANDLER} has no function `handle`");
        let Some((item, interface)) = component.get_export(None, HANDLER) else {
            return Err(no_handler(engine, component));
        };
        let ComponentItem::ComponentInstance(handler) = item else {
            return Err(format!("it exports {HANDLER}, but not as an interface"));
        };
        match handler.get_export(engine, "handle") {
            Some(item) if matches!(item.ty, ComponentItem::ComponentFunc(_)) => {}
            _ => return Err(no_function()),
        }
        let handle = component.get_export_index(Some(&interface), "handle");
        handle.map(Self).ok_or_else(no_function)
    }

    /// Finds the handler of an instance.
    ///
    /// # Errors
    /// It has another type.
    pub(in crate::guest) fn of_instance<T: 'static>(
        self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> wasmtime::Result<InstanceHandler> {
        instance.get_typed_func(store, self.0).map(InstanceHandler)
    }
}

impl InstanceHandler {
    /// Has the guest handle an event.
    ///
    /// # Errors
    /// The guest trapped: its instance must not be used again.
    pub(in crate::guest) async fn handle<T: Send + 'static>(
        self,
        store: &mut Store<T>,
        event: Event,
    ) -> wasmtime::Result<Result<Option<Reply>, GuestFailure>> {
        let Event { message, position } = event;
        let parameters = (message.into(), position.map(WitDelivery::from));
        let (result,) = self.0.call_async(store, parameters).await?;
        Ok(result
            .map(|reply| reply.map(|WitReply { headers, payload }| Reply { headers, payload })))
    }
}

fn no_handler(engine: &Engine, component: &Component) -> String {
    let ty = component.component_type();
    let other = ty
        .exports(engine)
        .find(|(name, _)| name.starts_with("wharf:nats/handler"));
    match other {
        Some((other, _)) => format!("it exports {other}; this host calls {HANDLER}"),
        None => format!("it does not export {HANDLER}, so it cannot receive messages"),
    }
}
