//! Guests: compiled once, instantiated as often as it takes, and held to their limits. Nothing here knows where a message
//! came from, or what becomes of it.
//!
//! | file | what |
//! |---|---|
//! | `engine.rs` | the one engine: compiles, links, interrupts |
//! | `wasm_features.rs` | proposals for WebAssembly that components may use |
//! | `compile_cache.rs` | where compiled components are kept, and who may write there |
//! | `component.rs`, `compiled.rs` | bytes → a compiled component that is a guest |
//! | `state.rs`, `limiter.rs`, `log_stream.rs` | what an instance carries with it: limits, the host's side of its imports, its output |
//! | `exports/` | the interfaces that guests export |
//! | `instance.rs`, `pool.rs` | an instance, and those of one guest |
//! | `instance_slots.rs` | how many instances live at once, and who gets the next |
//! | `trap.rs`, `sanitize.rs` | what guests say and why they were ended, fit for people |

mod compile_cache;
mod compiled;
mod component;
mod engine;
mod exports;
mod instance;
mod instance_slots;
mod limiter;
mod log_stream;
mod pool;
mod sanitize;
mod state;
mod trap;
mod wasm_features;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::compiled::CompiledComponent;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::component::inspect_bytes;
pub use self::component::{ImportedInterface, Inspection, LoadError, inspect};
pub(crate) use self::engine::Engine;
pub(crate) use self::state::InstanceTemplate;

use self::exports::LifecycleExport;
use self::instance::Instance;
use self::pool::{InstancePool, Place};
use crate::config::Limits;
use crate::guest_log::GuestLog;
use crate::message::{Event, Failure, FailureKind, Outcome};
use crate::metrics::GuestCounters;
use crate::policy::Policy;
use crate::trace::TraceHeaders;

/// The longest wait for an instance while others have them all, in times of `limits.time`.
const MAX_WAIT_TIMES: u32 = 3;

/// One version of a guest, that can be given messages.
pub(crate) struct Guest {
    /// The settings, rights and log that all instances of the version have in common.
    template: Arc<InstanceTemplate>,
    /// The instances that wait for a message, and all that it takes to make more.
    pool: InstancePool,
    /// The guest's `start` and `stop`, as far as the component has them.
    lifecycle: LifecycleExport,
}

/// Errors of a guest's start: correct the guest, or what its start needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestStartError {
    /// No instance could be made, or it trapped while it started.
    #[error("it trapped while it started: {0}")]
    Trapped(String),
    /// Its `start` function did not return within the time of a message.
    #[error("its start function did not return within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// Its `start` function returned an error, with these words.
    #[error("its start function failed: {0}")]
    Refused(String),
}

impl Guest {
    /// A version that has no instance yet.
    pub(crate) fn new(
        engine: Arc<Engine>,
        component: CompiledComponent,
        template: Arc<InstanceTemplate>,
    ) -> Self {
        Self {
            lifecycle: component.parts().lifecycle,
            pool: InstancePool::new(engine, component, Arc::clone(&template)),
            template,
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.template.log.guest
    }

    pub(crate) fn counters(&self) -> &Arc<GuestCounters> {
        &self.template.imports.counters
    }

    /// The version's log.
    pub(crate) fn log(&self) -> &GuestLog {
        &self.template.log
    }

    /// The guest's rights.
    pub(crate) fn policy(&self) -> &Policy {
        &self.template.imports.policy
    }

    /// The version's number.
    pub(crate) fn version(&self) -> u32 {
        self.template.log.version
    }

    /// The most messages that it may be given at once: no more than the host has instances.
    pub(crate) fn max_instances(&self) -> u32 {
        let max = self.template.settings.instances.max.get();
        max.min(self.pool.instances_of_the_host())
    }

    fn limits(&self) -> &Limits {
        &self.template.settings.limits
    }

    /// Makes a first instance and calls the guest's `start`, if it has one.
    pub(crate) async fn start(&self) -> Result<(), GuestStartError> {
        let starting = async {
            let mut instance = self.instance(self.pool.place().await).await?;
            match instance.start(self.lifecycle).await {
                Ok(answer) => Ok((instance, answer)),
                Err(error) => Err(self.trapped(&error, &mut instance)),
            }
        };
        let time = self.limits().time;
        match tokio::time::timeout(time, starting).await {
            Err(_elapsed) => Err(GuestStartError::TimedOut(time)),
            Ok(Err(failure)) => Err(GuestStartError::Trapped(failure.reason)),
            Ok(Ok((_, Err(reason)))) => Err(GuestStartError::Refused(sanitize::reason(&reason))),
            Ok(Ok((instance, Ok(())))) => {
                self.pool.give_back(instance);
                Ok(())
            }
        }
    }

    /// Calls the guest's `stop`, if it has one, once all messages are handled. Returns what went wrong, if anything.
    pub(crate) async fn stop(&self, deadline: Instant) -> Result<(), String> {
        if !self.lifecycle.has_stop() {
            return Ok(());
        }
        let stopping = async {
            let mut instance = self.instance(self.pool.place().await).await?;
            let stopped = instance.stop(self.lifecycle).await;
            stopped.map_err(|error| self.trapped(&error, &mut instance))
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
        let place = match self.place(time).await {
            Ok(place) => place,
            Err(failure) => return Outcome::Failed(failure),
        };
        let handling = async {
            let mut instance = self.instance(place).await?;
            if instance.uses > 0 {
                self.counters().instances_reused.add_one();
            }
            match instance.handle(event, trace).await {
                Ok(answer) => Ok((instance, answer)),
                Err(error) => Err(self.trapped(&error, &mut instance)),
            }
        };
        match tokio::time::timeout(time, handling).await {
            Ok(Ok((instance, answer))) => {
                self.pool.give_back(instance);
                match answer {
                    Ok(reply) => Outcome::Handled(reply),
                    Err(failure) => {
                        let (kind, reason) = failure.into_parts();
                        Outcome::Failed(Failure::new(kind, reason))
                    }
                }
            }
            Ok(Err(failure)) => Outcome::Failed(failure),
            // What runs is dropped with its instance: it must not be used again.
            Err(_elapsed) => {
                let reason = format!(
                    "it took longer than its limit of {}",
                    humantime::format_duration(time)
                );
                Outcome::Failed(Failure::new(FailureKind::Timeout, reason))
            }
        }
    }

    /// An instance, or the right to make one. To wait for it is not the guest's fault, and no part of its time; but it ends.
    async fn place(&self, time: Duration) -> Result<Place, Failure> {
        if let Some(place) = self.pool.try_place() {
            return Ok(place);
        }
        let most = time.saturating_mul(MAX_WAIT_TIMES);
        tokio::time::timeout(most, self.pool.place()).await.map_err(|_elapsed| {
            let most = humantime::format_duration(most);
            let reason = format!("no instance was free within {most}: raise `[host] instances`, or lower `instances.max` of others");
            Failure::new(FailureKind::NotStarted, reason)
        })
    }

    async fn instance(&self, place: Place) -> Result<Box<Instance>, Failure> {
        self.pool.instance(place).await.map_err(|error| Failure {
            kind: FailureKind::NotStarted,
            ..trap::explain(&error, &self.template, None)
        })
    }

    fn trapped(&self, error: &wasmtime::Error, instance: &mut Instance) -> Failure {
        trap::explain(error, &self.template, Some(instance))
    }
}
