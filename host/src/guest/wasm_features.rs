//! Proposals for WebAssembly that components may use: those that this build of wasmtime has all of.

use wasmtime::{Config, WasmFeatures};

/// Switches off what this build of wasmtime has the compiler's half of, and not the runtime's: a component that is compiled
/// with it would call a function that is not there, and that ends the process. wasmtime 48 leaves `gc` and
/// `function-references` on without its cargo feature `gc`: with no more than types of functions and `ref.test` a guest gets
/// there (RUSTSEC-2026-0570). The others are off by themselves without their cargo features; here they are off for certain. So
/// are concurrent calls, whose functions are not built in, either.
pub(super) fn switch_off(config: &mut Config) {
    let without_runtime = WasmFeatures::GC
        | WasmFeatures::GC_TYPES
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::LEGACY_EXCEPTIONS
        | WasmFeatures::THREADS
        | WasmFeatures::SHARED_EVERYTHING_THREADS
        | WasmFeatures::STACK_SWITCHING
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_MORE_ASYNC_BUILTINS
        | WasmFeatures::CM_ASYNC_STACKFUL
        | WasmFeatures::CM_THREADING
        | WasmFeatures::CM_ERROR_CONTEXT
        | WasmFeatures::CM_GC;
    config.wasm_features(without_runtime, false);
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::Component;

    use super::*;

    fn compiled(module: &str) -> wasmtime::Result<Component> {
        compiled_component(&format!("(core module {module})"))
    }

    fn compiled_component(parts: &str) -> wasmtime::Result<Component> {
        let mut config = Config::new();
        config.concurrency_support(false);
        switch_off(&mut config);
        let bytes = wat::parse_str(format!("(component {parts})"))?;
        Component::new(&Engine::new(&config)?, bytes)
    }

    /// Asks of a function whether it is of a type that only wasmtime's collector of garbage can tell.
    const ASKS_FOR_A_SUBTYPE: &str = r#"
        (type $r (func)) (type $a (sub (func))) (type $b (sub $a (func)))
        (func $f (type $a)) (elem declare func $f)
        (func (export "run") (type $r) (drop (ref.test (ref $b) (ref.func $f))))"#;

    #[test]
    fn no_component_with_a_half_supported_proposal_is_compiled() {
        for module in [
            ASKS_FOR_A_SUBTYPE,
            "(rec (type (func)) (type (func)))",
            "(type (sub (func)))",
            "(type (struct (field i32)))",
            "(type (array i32))",
            "(func (drop (ref.i31 (i32.const 1))))",
            "(func (param anyref))",
            "(func (param externref))",
            "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
            "(type $f (func)) (func (result (ref null $f)) (ref.null $f))",
            "(func (param funcref) (drop (ref.as_non_null (local.get 0))))",
            "(tag) (func (throw 0))",
            "(memory 1 1 shared)",
            "(memory 1 1) (func (drop (i32.atomic.load (i32.const 0))))",
            "(memory 1 1) (func (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))",
            "(func (atomic.fence))",
            "(type $f (func)) (type $c (cont $f))",
        ] {
            let text = format!("(module {module})");
            assert!(wat::parse_str(&text).is_ok(), "{text} is no text");
            assert!(compiled(module).is_err(), "{module} is compiled");
        }
    }

    #[test]
    fn no_component_that_wants_to_run_concurrently_is_compiled() {
        for parts in [
            "(core func (canon task.cancel))",
            "(core func (canon subtask.drop))",
            "(core func (canon waitable-set.new))",
            "(core func (canon thread.yield))",
            "(core func (canon error-context.drop))",
            "(type (stream u8))",
            "(type (future u8))",
            "(type (func async))",
        ] {
            let text = format!("(component {parts})");
            assert!(wat::parse_str(&text).is_ok(), "{text} is no text");
            assert!(compiled_component(parts).is_err(), "{parts} is compiled");
        }
    }

    #[test]
    fn what_languages_use_is_compiled() {
        for module in [
            "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))",
            "(table 1 funcref) (func (drop (ref.null func)))",
            "(func (param v128))",
            "(func $f (return_call $f))",
            "(func (result i32 i32) (i32.const 0) (i32.const 1))",
            "(memory 1) (memory 1)",
            "(global i32 (i32.add (i32.const 1) (i32.const 1)))",
        ] {
            let done = compiled(module);
            assert!(done.is_ok(), "{module}: {:?}", done.err());
        }
    }
}
