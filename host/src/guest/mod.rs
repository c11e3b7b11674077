//! Guests: compiled once, instantiated as often as it takes, and held to their limits. Nothing here knows where a message
//! came from, or what becomes of it.

mod component;
mod engine;
mod instance;
mod limiter;
mod load;
mod logs;
mod state;
mod unasked;
mod words;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytesize::ByteSize;
use tokio::time::Instant;
use wasmtime::WasmBacktrace;

pub use self::component::{ImportedInterface, Inspection, LoadError, inspect};
pub(crate) use self::engine::Engine;
pub(crate) use self::load::CompiledComponent;
pub(crate) use self::state::InstanceTemplate;

use self::instance::Instance;
use crate::config::Limits;
use crate::message::{Event, Failure, FailureKind, Outcome};
use crate::metrics::{Counter, GuestCounters};
use crate::trace::TraceHeaders;

/// A guest that can be given messages.
pub(crate) struct Guest {
    engine: Arc<Engine>,
    component: CompiledComponent,
    template: Arc<InstanceTemplate>,
    /// Instances that wait for their next message. The one used last is used next, so that as few as possible stay.
    idle: Mutex<Vec<Instance>>,
}

/// Part of wasmtime's words where a call hands over more than it may. The error has no type that we could ask for.
const TOO_MUCH_IN_A_CALL: &str = "fuel allocated for hostcalls has been exhausted";

/// The count of a kind of trap.
type TrapKind = fn(&GuestCounters) -> &Counter;

/// Why a guest did not come into service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestStartError {
    /// It cannot be instantiated, or trapped while it started.
    #[error("it trapped while it started: {0}")]
    Trapped(String),
    #[error("its start function did not return within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    #[error("its start function failed: {0}")]
    Refused(String),
}

impl Guest {
    pub(crate) fn new(
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

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.template.name
    }

    pub(crate) fn counters(&self) -> &Arc<GuestCounters> {
        &self.template.imports.counters
    }

    /// Which version of the guest it is.
    pub(crate) fn version(&self) -> u32 {
        self.template.version
    }

    /// How many messages it may be given at once.
    pub(crate) fn max_instances(&self) -> u32 {
        self.template.settings.instances.max.get()
    }

    fn limits(&self) -> &Limits {
        &self.template.settings.limits
    }

    /// Makes a first instance and calls the guest's `start`, if it has one.
    pub(crate) async fn start(&self) -> Result<(), GuestStartError> {
        let starting = async {
            let mut instance = self.instance().await?;
            let answer = instance
                .start(self.component.parts())
                .await
                .map_err(|e| self.explain(&e, Some(&mut instance)))?;
            Ok::<_, Failure>((instance, answer))
        };
        let time = self.limits().time;
        match tokio::time::timeout(time, starting).await {
            Err(_elapsed) => Err(GuestStartError::TimedOut(time)),
            Ok(Err(failure)) => Err(GuestStartError::Trapped(failure.reason)),
            Ok(Ok((_, Err(reason)))) => Err(GuestStartError::Refused(words::reason(&reason))),
            Ok(Ok((instance, Ok(())))) => {
                self.give_back(instance);
                Ok(())
            }
        }
    }

    /// Calls the guest's `stop`, if it has one, once all messages are handled. Returns what went wrong, if anything.
    pub(crate) async fn stop(&self, deadline: Instant) -> Result<(), String> {
        if self.component.parts().stop.is_none() {
            return Ok(());
        }
        let stopping = async {
            let mut instance = self.instance().await?;
            instance
                .stop(self.component.parts())
                .await
                .map_err(|e| self.explain(&e, Some(&mut instance)))
        };
        let deadline = deadline.min(Instant::now() + self.limits().time);
        match tokio::time::timeout_at(deadline, stopping).await {
            Err(_elapsed) => Err("its stop function did not return in time".to_owned()),
            Ok(stopped) => stopped.map_err(|failure| failure.reason),
        }
    }

    /// Gives the guest a message, within its limits. What the guest sends meanwhile goes into this trace.
    pub(crate) async fn handle(&self, event: Event, trace: Option<TraceHeaders>) -> Outcome {
        let time = self.limits().time;
        let handling = async {
            let mut instance = self.instance().await?;
            if instance.uses > 0 {
                self.counters().instances_reused.add_one();
            }
            match instance.handle(event, trace).await {
                Ok(answer) => Ok((instance, answer)),
                Err(error) => {
                    let (kind, failure) = self.diagnose(&error, Some(&mut instance));
                    kind(self.counters()).add_one();
                    Err(failure)
                }
            }
        };
        match tokio::time::timeout(time, handling).await {
            Ok(Ok((instance, answer))) => {
                self.give_back(instance);
                answer.map_or_else(
                    |failure| {
                        let (kind, reason) = failure.into_parts();
                        Outcome::Failed(Failure {
                            kind,
                            reason,
                            backtrace: None,
                        })
                    },
                    Outcome::Handled,
                )
            }
            Ok(Err(failure)) => Outcome::Failed(failure),
            // What runs is dropped with its instance: it must not be used again.
            Err(_elapsed) => {
                let reason = format!(
                    "it took longer than its limit of {}",
                    humantime::format_duration(time)
                );
                Outcome::Failed(Failure {
                    kind: FailureKind::Timeout,
                    reason,
                    backtrace: None,
                })
            }
        }
    }

    async fn instance(&self) -> Result<Instance, Failure> {
        if let Some(instance) = self.idle().pop() {
            return Ok(instance);
        }
        let made = Instance::new(&self.engine, self.component.parts(), &self.template).await;
        let instance = made.map_err(|error| Failure {
            kind: FailureKind::NotStarted,
            ..self.explain(&error, None)
        })?;
        self.counters().instances_made.add_one();
        Ok(instance)
    }

    fn give_back(&self, instance: Instance) {
        if instance.uses < self.template.settings.instances.reuse.get() {
            self.idle().push(instance);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        // Only pushes and pops happen under the lock: it is whole even if a thread panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a trap means, in words.
    fn explain(&self, error: &wasmtime::Error, instance: Option<&mut Instance>) -> Failure {
        self.diagnose(error, instance).1
    }

    /// What kind of trap it is, by what it is counted as, and what it means in words.
    fn diagnose(
        &self,
        error: &wasmtime::Error,
        instance: Option<&mut Instance>,
    ) -> (TrapKind, Failure) {
        let mut root = error.root_cause().to_string();
        if root.contains(TOO_MUCH_IN_A_CALL) {
            let most = ByteSize(self.template.max_bytes_per_call() as u64);
            root = format!("it handed over more than {most} in one call, which nothing takes");
        }
        let (kind, reason): (TrapKind, _) = if instance.is_some_and(Instance::was_refused_memory) {
            let limit = ByteSize(self.limits().memory_bytes);
            let reason = format!("{root} (it was refused more memory than its limit of {limit})");
            (|counters| &counters.traps_of_memory, reason)
        } else if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            (
                |counters| &counters.traps_by_exit,
                format!("it exited with code {}", exit.0),
            )
        } else {
            (|counters| &counters.traps_of_code, root)
        };
        // Only where in the guest: the host's own frames say nothing about it, and take long to name.
        let backtrace = error
            .downcast_ref::<WasmBacktrace>()
            .map(|trace| words::in_lines(&trace.to_string()));
        (
            kind,
            Failure {
                kind: FailureKind::Trap,
                reason,
                backtrace,
            },
        )
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
