//! `wharf:nats/lifecycle`: a guest is told when it goes into and out of service.

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};

/// The interface's name.
pub(in crate::guest) const LIFECYCLE: &str = "wharf:nats/lifecycle@0.2.0";

/// The lifecycle functions of a component, as far as it has them.
#[derive(Debug, Clone, Copy)]
pub(in crate::guest) struct LifecycleExport {
    /// The place of `start` among the exports. None if the component has none.
    start: Option<ComponentExportIndex>,
    /// The place of `stop` among the exports. None if the component has none.
    stop: Option<ComponentExportIndex>,
}

impl LifecycleExport {
    /// Finds the lifecycle functions of a component.
    pub(in crate::guest) fn find(component: &Component) -> Self {
        let interface = component.get_export_index(None, LIFECYCLE);
        let function = |name| component.get_export_index(Some(&interface?), name);
        Self {
            start: function("start"),
            stop: function("stop"),
        }
    }

    pub(in crate::guest) fn has_stop(self) -> bool {
        self.stop.is_some()
    }

    /// Calls the guest's `start`, if it has one.
    ///
    /// # Errors
    /// The guest trapped.
    pub(in crate::guest) async fn start<T: Send + 'static>(
        self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> wasmtime::Result<Result<(), String>> {
        let Some(start) = self.start else {
            return Ok(Ok(()));
        };
        let start: TypedFunc<(), (Result<(), String>,)> =
            instance.get_typed_func(&mut *store, start)?;
        Ok(start.call_async(store, ()).await?.0)
    }

    /// Calls the guest's `stop`, if it has one.
    ///
    /// # Errors
    /// The guest trapped.
    pub(in crate::guest) async fn stop<T: Send + 'static>(
        self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> wasmtime::Result<()> {
        let Some(stop) = self.stop else {
            return Ok(());
        };
        let stop: TypedFunc<(), ()> = instance.get_typed_func(&mut *store, stop)?;
        stop.call_async(store, ()).await
    }
}
