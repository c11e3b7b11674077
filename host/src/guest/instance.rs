//! One instance of a guest: a store of its own, and the functions that the host calls.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentType, Lift, TypedFunc};
use wasmtime::{Store, UpdateDeadline, component};

use super::component::Component;
use super::engine::{Activity, Engine};
use super::state::{InstanceTemplate, MAX_RESOURCES, State};
use super::words;
use crate::message::{Event, FailureKind, Message, Reply, StreamPosition};
use crate::trace::TraceHeaders;

type Handle = TypedFunc<(Message, Option<StreamPosition>), (Result<Option<Reply>, GuestFailure>,)>;

/// Ticks of the engine's epoch after which an instance lets others run.
const TICKS_A_SLICE: u64 = 1;

/// One instance. After a trap, or a call that was not awaited to its end, it must not be used again.
pub(super) struct Instance {
    store: Store<State>,
    instance: component::Instance,
    handle: Handle,
    /// Tells the engine's ticker that a guest runs.
    activity: Activity,
    /// How many messages it has been given.
    pub(super) uses: u32,
}

/// Why a guest says that it did not handle a message: `failure` of `wit/handler.wit`.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub(super) enum GuestFailure {
    #[component(name = "retry")]
    Retry(Retry),
    #[component(name = "reject")]
    Reject(String),
}

/// `retry` of `wit/handler.wit`.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct Retry {
    reason: String,
    after: Option<u64>,
}

impl GuestFailure {
    pub(super) fn into_parts(self) -> (FailureKind, String) {
        match self {
            Self::Retry(Retry { reason, after }) => (
                FailureKind::Retry(after.map(Duration::from_millis)),
                words::reason(&reason),
            ),
            Self::Reject(reason) => (FailureKind::Reject, words::reason(&reason)),
        }
    }
}

impl Instance {
    pub(super) async fn new(
        engine: &Engine,
        component: &Component,
        template: &Arc<InstanceTemplate>,
    ) -> wasmtime::Result<Self> {
        let mut store = Store::new(&engine.engine, template.state()?);
        store.limiter(|state| &mut state.limiter);
        store.set_max_component_handles(MAX_RESOURCES);
        // At every tick the guest lets others run, and whoever waits for it can see that its time is up.
        let activity = engine.activity.clone();
        store.epoch_deadline_callback(move |_| {
            activity.note();
            Ok(UpdateDeadline::Yield(TICKS_A_SLICE))
        });
        prepare(&mut store, &engine.activity);
        let instance = component.pre.instantiate_async(&mut store).await?;
        let handle = instance.get_typed_func(&mut store, component.handle)?;
        Ok(Self {
            store,
            instance,
            handle,
            activity: engine.activity.clone(),
            uses: 0,
        })
    }

    pub(super) async fn handle(
        &mut self,
        event: Event,
        trace: Option<TraceHeaders>,
    ) -> wasmtime::Result<Result<Option<Reply>, GuestFailure>> {
        self.uses += 1;
        prepare(&mut self.store, &self.activity);
        let Event { message, position } = event;
        self.store
            .data_mut()
            .imports
            .take_in_hand(message.reply_to.clone(), trace);
        let (result,) = self
            .handle
            .call_async(&mut self.store, (message, position))
            .await?;
        Ok(result)
    }

    /// `lifecycle.start`, if the guest has one.
    pub(super) async fn start(
        &mut self,
        component: &Component,
    ) -> wasmtime::Result<Result<(), String>> {
        let Some(start) = component.start else {
            return Ok(Ok(()));
        };
        prepare(&mut self.store, &self.activity);
        let start: TypedFunc<(), (Result<(), String>,)> =
            self.instance.get_typed_func(&mut self.store, start)?;
        Ok(start.call_async(&mut self.store, ()).await?.0)
    }

    /// `lifecycle.stop`, if the guest has one.
    pub(super) async fn stop(&mut self, component: &Component) -> wasmtime::Result<()> {
        let Some(stop) = component.stop else {
            return Ok(());
        };
        prepare(&mut self.store, &self.activity);
        self.store.data_mut().imports.take_in_hand(None, None);
        let stop: TypedFunc<(), ()> = self.instance.get_typed_func(&mut self.store, stop)?;
        stop.call_async(&mut self.store, ()).await
    }

    /// Whether the guest was refused memory since this was last asked.
    pub(super) fn was_refused_memory(&mut self) -> bool {
        self.store.data_mut().limiter.take_refused()
    }
}

/// Gives the call that follows a whole slice: the deadline counts from when it is set, and an instance that waited for
/// its next message would let others run before it did anything.
fn prepare(store: &mut Store<State>, activity: &Activity) {
    activity.note();
    store.set_epoch_deadline(TICKS_A_SLICE);
    // The server's limits may be others since it was last called.
    let most = store.data().max_bytes_per_call();
    store.set_hostcall_fuel(most);
}
