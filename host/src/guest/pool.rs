//! The instances of one guest: made when none waits, given back for the next message.

use std::sync::{Arc, Mutex};

use super::compiled::CompiledComponent;
use super::engine::Engine;
use super::instance::Instance;
use super::state::InstanceTemplate;
use crate::lock::locked;

/// The instances of one version of a guest.
pub(super) struct InstancePool {
    /// The host's one engine, which all guests share.
    engine: Arc<Engine>,
    /// The component that each new instance is made of, compiled and linked.
    component: CompiledComponent,
    /// The template of the state that each new instance gets.
    template: Arc<InstanceTemplate>,
    /// Instances that wait for their next message. The one used last is used next, so that as few as possible stay.
    idle: Mutex<Vec<Instance>>,
}

impl InstancePool {
    /// No instance yet.
    pub(super) fn new(
        engine: Arc<Engine>,
        component: CompiledComponent,
        template: Arc<InstanceTemplate>,
    ) -> Self {
        Self {
            engine,
            component,
            template,
            idle: Mutex::default(),
        }
    }

    /// Takes an instance that waits, or makes one.
    ///
    /// # Errors
    /// None can be made: a trap, too little memory, or a directory that cannot be opened.
    pub(super) async fn take(&self) -> wasmtime::Result<Instance> {
        let waiting = locked(&self.idle).pop();
        if let Some(instance) = waiting {
            return Ok(instance);
        }
        let made = Instance::new(&self.engine, self.component.parts(), &self.template).await?;
        self.template.imports.counters.instances_made.add_one();
        Ok(made)
    }

    /// Gives an instance back that can be used again. It is dropped after its last use.
    pub(super) fn give_back(&self, instance: Instance) {
        if instance.uses < self.template.settings.instances.reuse.get() {
            locked(&self.idle).push(instance);
        }
    }
}
