//! Bytes → a component that is compiled, checked, and ready to be instantiated.

use std::sync::Arc;

use super::component::{Component, LoadError};
use super::engine::Engine;
use crate::component::{ComponentSource, Digest};

/// A compiled component, that guests can be made of. A clone is the same one.
#[derive(Clone)]
pub(crate) struct CompiledComponent(Arc<Component>);

impl CompiledComponent {
    /// Compiles and checks a component, on a thread where that may take its time.
    ///
    /// # Errors
    /// The bytes are no component, or none that this host can run.
    pub(crate) async fn compile(
        engine: &Arc<Engine>,
        source: &ComponentSource,
        digest: Digest,
        bytes: Vec<u8>,
    ) -> Result<Self, LoadError> {
        let (engine, component) = (Arc::clone(engine), source.clone());
        let compiling = tokio::task::spawn_blocking(move || {
            Component::new(&engine, &component, &bytes, digest)
        });
        match compiling.await {
            Ok(compiled) => Ok(Self(Arc::new(compiled?))),
            Err(panicked) => Err(LoadError::Compile {
                component: source.clone(),
                source: panicked.into(),
            }),
        }
    }

    /// The digest of the bytes that it was compiled from.
    pub(crate) fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The instances of the host that one of its instances counts for: more than one with many memories or tables.
    pub(crate) fn slots(&self) -> u32 {
        self.0.slots
    }

    pub(super) fn parts(&self) -> &Component {
        &self.0
    }
}
