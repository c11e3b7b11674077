//! A component's file: what it asks for, what it offers, and whether that makes it a guest.

use std::path::Path;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self, ComponentExportIndex, InstancePre};

use super::engine::Engine;
use super::state::State;
use crate::component::{ComponentSource, Digest, FetchError, read_file};

pub(super) const HANDLER: &str = "wharf:nats/handler@0.2.0";
const LIFECYCLE: &str = "wharf:nats/lifecycle@0.2.0";
const OUR_PACKAGE: &str = "wharf:nats/";
const OUR_VERSION: &str = "0.2.0";

/// Why a component cannot be a guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Its bytes cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is something else.
    #[error("{component} is not a component: {why}")]
    NotAComponent {
        /// Where it comes from.
        component: ComponentSource,
        /// What it is, and what to do.
        why: String,
    },
    /// The component cannot be compiled.
    #[error("cannot compile component {component}")]
    Compile {
        /// Where it comes from.
        component: ComponentSource,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The component is none that this host can run.
    #[error("component {component} is no guest of this host: {}", problems.join("; "))]
    NoGuest {
        /// Where it comes from.
        component: ComponentSource,
        /// All that is wrong with it.
        problems: Vec<String>,
    },
}

/// What a component asks for and offers.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The size of the file.
    pub size_bytes: u64,
    /// What the component imports.
    pub imports: Vec<ImportedInterface>,
    /// What it exports.
    pub exports: Vec<String>,
    /// The world of `wharf:nats` that it fits: `guest`, or `service` if it has a lifecycle, too.
    pub world: Option<&'static str>,
    /// Why it is no guest of this host. Empty if it is one.
    pub problems: Vec<String>,
}

/// One interface that a component imports.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct ImportedInterface {
    /// Its name, with package and version.
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

/// A component that is a guest: compiled, linked, ready to be instantiated.
pub(super) struct Component {
    pub(super) digest: Digest,
    pub(super) pre: InstancePre<State>,
    pub(super) handle: ComponentExportIndex,
    pub(super) start: Option<ComponentExportIndex>,
    pub(super) stop: Option<ComponentExportIndex>,
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
        let handle = function(&component, HANDLER, "handle")
            .ok_or_else(|| no_guest(vec![format!("{HANDLER} has no function `handle`")]))?;
        let (start, stop) = (
            function(&component, LIFECYCLE, "start"),
            function(&component, LIFECYCLE, "stop"),
        );
        Ok(Self {
            digest,
            pre,
            handle,
            start,
            stop,
        })
    }
}

fn function(
    component: &component::Component,
    interface: &str,
    name: &str,
) -> Option<ComponentExportIndex> {
    let interface = component.get_export_index(None, interface)?;
    component.get_export_index(Some(&interface), name)
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
            offered: is_offered(name),
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
        .map(|import| not_offered(&import.name))
        .collect();
    if !has(HANDLER) {
        problems.push(no_handler(&exports));
    }
    if problems.is_empty() {
        problems.extend(
            engine
                .link(component)
                .err()
                .map(|error| format!("{error:#}")),
        );
        problems.extend(handler_type(engine, component));
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

/// What is wrong with the handler that it exports, if anything.
fn handler_type(engine: &Engine, component: &component::Component) -> Option<String> {
    let (item, _) = component.get_export(None, HANDLER)?;
    let ComponentItem::ComponentInstance(handler) = item else {
        return Some(format!("it exports {HANDLER}, but not as an interface"));
    };
    match handler.get_export(&engine.engine, "handle") {
        Some(item) if matches!(item.ty, ComponentItem::ComponentFunc(_)) => None,
        _ => Some(format!("{HANDLER} has no function `handle`")),
    }
}

fn no_handler(exports: &[String]) -> String {
    let other = exports
        .iter()
        .find(|export| export.starts_with("wharf:nats/handler"));
    match other {
        Some(other) => format!("it exports {other}; this host calls {HANDLER}"),
        None => format!("it does not export {HANDLER}, so it cannot receive messages"),
    }
}

fn not_offered(import: &str) -> String {
    if import.starts_with(OUR_PACKAGE) {
        return format!(
            "it imports {import}; this host offers version {OUR_VERSION} of types, pubsub, jetstream and keyvalue"
        );
    }
    format!("it imports {import}, which this host does not offer")
}

/// Whether a component of that import can be linked. Patch versions of WASI 0.2 stand in for one another.
fn is_offered(name: &str) -> bool {
    const OURS: [&str; 4] = ["types", "pubsub", "jetstream", "keyvalue"];
    const WASI_PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
    let Some((path, version)) = name.split_once('@') else {
        return false;
    };
    let Some((package, interface)) = path.split_once('/') else {
        return false;
    };
    match package.split_once(':') {
        Some(("wharf", "nats")) => version == OUR_VERSION && OURS.contains(&interface),
        Some(("wasi", "config")) => interface == "store" && version == "0.2.0-rc.1",
        // Only its shape: see `unasked`.
        Some(("wasi", "http")) => {
            version.starts_with("0.2.") && ["types", "outgoing-handler"].contains(&interface)
        }
        Some(("wasi", package)) => version.starts_with("0.2.") && WASI_PACKAGES.contains(&package),
        _ => false,
    }
}
