//! One instance of a guest: a store of its own, and the functions that the host calls.

use std::sync::Arc;

use wasmtime::{Store, UpdateDeadline, component};

use super::component::Component;
use super::engine::{Activity, Engine};
use super::exports::{GuestFailure, InstanceHandler, LifecycleExport};
use super::state::{InstanceState, InstanceTemplate};
use crate::message::{Event, Reply};
use crate::trace::TraceHeaders;

/// Ticks of the engine's epoch after which an instance lets others run.
const TICKS_A_SLICE: u64 = 1;

/// One instance. After a trap, or a call that was not awaited to its end, it must not be used again.
pub(super) struct Instance {
    /// The store, with the instance's memories and the host's side of its imports.
    store: Store<InstanceState>,
    /// The instance itself, in which `start` and `stop` are looked up at each call.
    instance: component::Instance,
    /// The guest's `handle`, looked up once when the instance was made.
    handler: InstanceHandler,
    /// Tells the engine's ticker that a guest runs.
    activity: Activity,
    /// The messages that it has been given.
    pub(super) uses: u32,
}

impl Instance {
    pub(super) async fn new(
        engine: &Engine,
        component: &Component,
        template: &Arc<InstanceTemplate>,
    ) -> wasmtime::Result<Self> {
        let mut store = Store::new(&engine.engine, template.state());
        store.limiter(|state| &mut state.limiter);
        store.set_max_component_handles(template.max_resources());
        // At every tick the guest lets others run, and whoever waits for it can see that its time is up.
        let activity = engine.activity.clone();
        store.epoch_deadline_callback(move |_| {
            activity.note();
            Ok(UpdateDeadline::Yield(TICKS_A_SLICE))
        });
        prepare(&mut store, &engine.activity);
        let instance = component.pre.instantiate_async(&mut store).await?;
        let handler = component.handler.of_instance(&mut store, &instance)?;
        Ok(Self {
            store,
            instance,
            handler,
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
        let reply_to = event.message.reply_to.clone();
        self.store.data_mut().imports.begin_message(reply_to, trace);
        self.handler.handle(&mut self.store, event).await
    }

    /// Calls the guest's `start`, if it has one.
    pub(super) async fn start(
        &mut self,
        lifecycle: LifecycleExport,
    ) -> wasmtime::Result<Result<(), String>> {
        prepare(&mut self.store, &self.activity);
        lifecycle.start(&mut self.store, &self.instance).await
    }

    /// Calls the guest's `stop`, if it has one.
    pub(super) async fn stop(&mut self, lifecycle: LifecycleExport) -> wasmtime::Result<()> {
        prepare(&mut self.store, &self.activity);
        self.store.data_mut().imports.begin_message(None, None);
        lifecycle.stop(&mut self.store, &self.instance).await
    }

    /// Whether the guest was refused memory since this was last asked.
    pub(super) fn was_refused_memory(&mut self) -> bool {
        self.store.data_mut().limiter.take_refused()
    }
}

/// Gives the call that follows a whole slice: the deadline counts from when it is set, and an instance that waited for
/// its next message would let others run before it did anything.
fn prepare(store: &mut Store<InstanceState>, activity: &Activity) {
    activity.note();
    store.set_epoch_deadline(TICKS_A_SLICE);
    // The server's limits may be others since it was last called.
    let most = store.data().max_bytes_per_call();
    store.set_hostcall_fuel(most);
}
