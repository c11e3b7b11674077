//! `wasi:http`, which some languages import unasked: the shape of it, and nothing behind it.
//!
//! An implementation would hold what a guest makes with it, in the host's memory and uncharged: a request whose method
//! has 16 MiB, again and again. So nothing can be made: every function traps, those that make resources too.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};
use wasmtime::{Engine, bail};

/// The package, with the colon and the slash of the names of its interfaces.
pub(crate) const HTTP: &str = "wasi:http/";

/// Stands for every resource of the package. There never is one.
struct Never;

/// Whether a component imports any of the package.
pub(crate) fn is_imported(engine: &Engine, component: &Component) -> bool {
    component
        .component_type()
        .imports(engine)
        .any(|(name, _)| name.starts_with(HTTP))
}

/// Gives a component all that it imports of the package, in exactly the shape that it imports.
///
/// # Errors
/// The linker has it already.
pub(crate) fn link<T: Send + 'static>(
    linker: &mut Linker<T>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<()> {
    // Interfaces repeat the resources of others that they use. Those are the others' to define.
    let mut defined: Vec<ResourceType> = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else {
            continue;
        };
        let mut stub = match name.starts_with(HTTP) {
            true => Some(linker.instance(name)?),
            false => None,
        };
        for (item_name, item) in interface.exports(engine) {
            match (item.ty, &mut stub) {
                (ComponentItem::Resource(resource), stub) if !defined.contains(&resource) => {
                    defined.push(resource);
                    if let Some(stub) = stub {
                        let never = ResourceType::host::<Never>();
                        stub.resource(item_name, never, |_, _| Ok(()))?;
                    }
                }
                (ComponentItem::ComponentFunc(_), Some(stub)) => {
                    let function = format!("{name}#{item_name}");
                    stub.func_new(item_name, move |_, _, _, _| {
                        bail!("it called {function}, and this host offers no HTTP to guests")
                    })?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;

    use super::*;

    /// A component that imports a part of the package which is like all of it: resources of its own, functions that
    /// make them, and interfaces that use resources of one another and of another package.
    const ASKS_FOR_HTTP: &str = r#"(component
        (import "wasi:io/streams@0.2.6" (instance $streams (export "output-stream" (type (sub resource)))))
        (alias export $streams "output-stream" (type $stream))
        (import "wasi:http/types@0.2.6" (instance $types
            (alias outer 1 $stream (type $outer))
            (export "output-stream" (type $out (eq $outer)))
            (export "fields" (type $fields (sub resource)))
            (export "outgoing-body" (type $body (sub resource)))
            (export "[constructor]fields" (func (result (own $fields))))
            (export "[method]outgoing-body.write" (func (param "self" (borrow $body)) (result (own $out))))))
        (alias export $types "fields" (type $fields))
        (import "wasi:http/outgoing-handler@0.2.6" (instance
            (alias outer 1 $fields (type $outer))
            (export "fields" (type $f (eq $outer)))
            (export "handle" (func (param "fields" (own $f))))))
        (alias export $types "[constructor]fields" (func $new))
        (core func $new_core (canon lower (func $new)))
        (core module $m
            (import "" "new" (func $new (result i32)))
            (func (export "run") (drop (call $new))))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new_core))))))
        (func (export "run") (canon lift (core func $i "run"))))"#;

    struct Stream;

    fn linker(engine: &Engine) -> wasmtime::Result<Linker<()>> {
        let mut linker = Linker::new(engine);
        linker.instance("wasi:io/streams@0.2.6")?.resource(
            "output-stream",
            ResourceType::host::<Stream>(),
            |_, _| Ok(()),
        )?;
        Ok(linker)
    }

    #[test]
    fn what_imports_http_is_instantiated_and_traps_when_it_calls_it() -> wasmtime::Result<()> {
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str(ASKS_FOR_HTTP)?)?;
        assert!(is_imported(&engine, &component));
        let mut linker = linker(&engine)?;
        assert!(linker.instantiate_pre(&component).is_err(), "it needs it");
        link(&mut linker, &engine, &component)?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &component)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        let trap = run.call(&mut store, ()).expect_err("there is no HTTP");
        let words = trap.root_cause().to_string();
        assert!(
            words.contains("wasi:http/types@0.2.6#[constructor]fields"),
            "{words}"
        );
        Ok(())
    }

    #[test]
    fn what_imports_none_of_it_is_left_alone() -> wasmtime::Result<()> {
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str("(component)")?)?;
        assert!(!is_imported(&engine, &component));
        Ok(())
    }
}
