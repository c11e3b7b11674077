//! A component: what it imports and exports, and whether that makes it a guest.

use std::path::Path;

use wasmtime::component::{self, InstancePre};

use super::engine::Engine;
use super::exports::{HandlerExport, LIFECYCLE, LifecycleExport};
use super::state::InstanceState;
use crate::component::{ComponentSource, Digest, FetchError, read_file};
use crate::imports::offered;

/// Errors of loading a component as a guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The component's bytes cannot be fetched: see [`FetchError`].
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The bytes are no WebAssembly component.
    #[error("{component} is not a component: {why}")]
    NotAComponent {
        /// The component's source.
        component: ComponentSource,
        /// The kind of file that it is, and what to do.
        why: String,
    },
    /// The component cannot be compiled.
    #[error("cannot compile component {component}")]
    Compile {
        /// The component's source.
        component: ComponentSource,
        /// The compiler's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The component is none that this host can run.
    #[error("component {component} is no guest of this host: {}", problems.join("; "))]
    NoGuest {
        /// The component's source.
        component: ComponentSource,
        /// All that is wrong with it.
        problems: Vec<String>,
    },
}

/// A component's imports and exports, and whether they make it a guest.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The size of the file.
    pub size_bytes: u64,
    /// Interfaces that the component imports.
    pub imports: Vec<ImportedInterface>,
    /// Interfaces that the component exports.
    pub exports: Vec<String>,
    /// The world of `wharf:nats` that it fits: `guest`, or `service` if it has a lifecycle, too.
    pub world: Option<&'static str>,
    /// The reasons for which it is no guest of this host. Empty if it is one.
    pub problems: Vec<String>,
}

/// One interface that a component imports.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct ImportedInterface {
    /// The interface's name, with package and version.
    pub name: String,
    /// Whether this host offers it. What languages import unasked counts as offered: of `wasi:sockets` every call is
    /// refused, and to call any of `wasi:http` is a trap.
    pub offered: bool,
}

/// Looks into a component's file. The component is compiled, and not run.
///
/// # Errors
///
/// [`LoadError`] if the file cannot be read, or is no component. A component that is no guest is not an error:
/// [`Inspection::problems`] says why.
///
/// # Examples
///
/// ```no_run
/// let found = wharf::inspect("quakes.wasm".as_ref(), None)?;
/// assert_eq!(found.world, Some("guest"));
/// # Ok::<(), wharf::LoadError>(())
/// ```
pub fn inspect(path: &Path, cache: Option<&Path>) -> Result<Inspection, LoadError> {
    let file = ComponentSource::from(path);
    let failed = |source: wasmtime::Error| LoadError::Compile {
        component: file.clone(),
        source: source.into(),
    };
    let engine = Engine::new(cache).map_err(failed)?;
    let bytes = read_file(path)?;
    Ok(look_into(
        &engine,
        &compile(&engine, &file, &bytes)?,
        bytes.len(),
    ))
}

/// Looks into a component's bytes, as [`inspect`] does.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn inspect_bytes(engine: &Engine, bytes: &[u8]) -> Result<Inspection, LoadError> {
    let source = ComponentSource::from(Path::new("fuzzed.wasm"));
    let component = compile(engine, &source, bytes)?;
    Ok(look_into(engine, &component, bytes.len()))
}

/// A component that is a guest: compiled, linked, ready to be instantiated.
pub(super) struct Component {
    /// The digest of the bytes that the component was compiled from.
    pub(super) digest: Digest,
    /// The compiled code with its imports linked, of which instances are made.
    pub(super) pre: InstancePre<InstanceState>,
    /// The place of the guest's `handle` among the exports.
    pub(super) handler: HandlerExport,
    /// The places of the guest's `start` and `stop` among the exports, as far as there are any.
    pub(super) lifecycle: LifecycleExport,
}

impl Component {
    /// Compiles and checks a component. Takes seconds of CPU for a large one: not for a thread that serves others.
    pub(super) fn new(
        engine: &Engine,
        source: &ComponentSource,
        bytes: &[u8],
        digest: Digest,
    ) -> Result<Self, LoadError> {
        let component = compile(engine, source, bytes)?;
        let problems = look_into(engine, &component, bytes.len()).problems;
        let no_guest = |problems| LoadError::NoGuest {
            component: source.clone(),
            problems,
        };
        if !problems.is_empty() {
            return Err(no_guest(problems));
        }
        let pre = engine
            .link(&component)
            .map_err(|error| no_guest(vec![format!("{error:#}")]))?;
        let handler = HandlerExport::find(&engine.engine, &component)
            .map_err(|problem| no_guest(vec![problem]))?;
        Ok(Self {
            digest,
            pre,
            handler,
            lifecycle: LifecycleExport::find(&component),
        })
    }
}

fn compile(
    engine: &Engine,
    source: &ComponentSource,
    bytes: &[u8],
) -> Result<component::Component, LoadError> {
    // The first eight bytes of a binary: `\0asm`, then a version and a layer.
    // <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>
    let why = match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => {
            return component::Component::new(&engine.engine, bytes).map_err(|error| {
                LoadError::Compile {
                    component: source.clone(),
                    source: error.into(),
                }
            });
        }
        Some(b"\0asm\x01\0\0\0") => {
            "it is a core WebAssembly module; build for wasm32-wasip2, or run `wasm-tools component new` on it"
        }
        Some(start) if start.starts_with(b"\0asm") => {
            "it is WebAssembly of a version that this host does not know"
        }
        _ => "it is not WebAssembly",
    };
    Err(LoadError::NotAComponent {
        component: source.clone(),
        why: why.to_owned(),
    })
}

fn look_into(engine: &Engine, component: &component::Component, size: usize) -> Inspection {
    let ty = component.component_type();
    let imports: Vec<_> = ty
        .imports(&engine.engine)
        .map(|(name, _)| ImportedInterface {
            offered: offered::find(name).is_some(),
            name: name.to_owned(),
        })
        .collect();
    let exports: Vec<_> = ty
        .exports(&engine.engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let has = |name: &str| exports.iter().any(|export| export == name);
    let mut problems: Vec<String> = imports
        .iter()
        .filter(|import| !import.offered)
        .map(|import| offered::refusal(&import.name))
        .collect();
    problems.extend(HandlerExport::find(&engine.engine, component).err());
    if problems.is_empty() {
        problems.extend(
            engine
                .link(component)
                .err()
                .map(|error| format!("{error:#}")),
        );
    }
    let world = match (problems.is_empty(), has(LIFECYCLE)) {
        (true, true) => Some("service"),
        (true, false) => Some("guest"),
        (false, _) => None,
    };
    Inspection {
        size_bytes: size as u64,
        imports,
        exports,
        world,
        problems,
    }
}
