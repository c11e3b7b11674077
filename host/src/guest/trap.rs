//! Traps, in words: why a guest's code was ended.

use bytesize::ByteSize;
use wasmtime::WasmBacktrace;

use super::instance::Instance;
use super::sanitize;
use super::state::InstanceTemplate;
use crate::message::{Failure, FailureKind, TrapCause};

/// Part of wasmtime's words where a call hands over more than it may. The error has no type that we could ask for.
const TOO_MUCH_IN_A_CALL: &str = "fuel allocated for hostcalls has been exhausted";

/// Explains a trap. The instance is that which trapped, if there is one.
pub(super) fn explain(
    error: &wasmtime::Error,
    template: &InstanceTemplate,
    instance: Option<&mut Instance>,
) -> Failure {
    let mut root = error.root_cause().to_string();
    if root.contains(TOO_MUCH_IN_A_CALL) {
        let most = ByteSize(template.max_bytes_per_call() as u64);
        root = format!("it handed over more than {most} in one call, which nothing takes");
    }
    let (cause, reason) = if instance.is_some_and(Instance::was_refused_memory) {
        let limit = ByteSize(template.settings.limits.memory_bytes);
        let reason = format!("{root} (it was refused more memory than its limit of {limit})");
        (TrapCause::Memory, reason)
    } else if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        let reason = format!("it exited with code {}", exit.0);
        (TrapCause::Exit, reason)
    } else {
        (TrapCause::Code, root)
    };
    // Only where in the guest: the host's own frames say nothing about it, and take long to name.
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    Failure {
        kind: FailureKind::Trap(cause),
        reason,
        backtrace: backtrace.map(|trace| sanitize::in_lines(&trace.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Store};

    use super::*;

    #[test]
    fn a_call_that_hands_over_too_much_is_known_by_wasmtimes_words() -> wasmtime::Result<()> {
        let text = r#"(component
            (import "take" (func $take (param "text" string)))
            (core module $memory (memory (export "memory") 1))
            (core instance $memory (instantiate $memory))
            (core func $take (canon lower (func $take) (memory (core memory $memory "memory"))))
            (core module $m
                (import "" "take" (func $take (param i32 i32)))
                (func (export "run") (call $take (i32.const 0) (i32.const 1000))))
            (core instance $i (instantiate $m (with "" (instance (export "take" (func $take))))))
            (func (export "run") (canon lift (core func $i "run"))))"#;
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str(text)?)?;
        let mut linker = Linker::new(&engine);
        linker
            .root()
            .func_wrap("take", |_, (_,): (String,)| Ok(()))?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &component)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        run.call(&mut store, ())?;
        store.set_hostcall_fuel(999);
        let trap = run.call(&mut store, ()).expect_err("it is too much");
        let words = trap.root_cause().to_string();
        assert!(words.contains(TOO_MUCH_IN_A_CALL), "{words}");
        Ok(())
    }
}
