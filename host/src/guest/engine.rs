//! The one engine that compiles and runs every guest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Cache, Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::compile_cache::compile_cache;
use super::state::InstanceState;
use super::wasm_features;
use crate::config::MAX_INSTANCES;
use crate::imports::{http, offered};

/// Memories in one instance. Each takes address space (4 GiB), not memory.
const MEMORIES_PER_INSTANCE: u32 = 4;
/// Tables in one instance.
const TABLES_PER_INSTANCE: u32 = 16;
/// Core modules in one instance. Languages that link libraries at build time come as several: Python as some 20.
const CORE_INSTANCES_PER_INSTANCE: u32 = 100;
/// Entries in one table. Python uses some 10,000.
const TABLE_ELEMENTS: usize = 100_000;
/// The bytes of a slot that stay in memory for its next use: clearing them is quicker than giving them back to the kernel.
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;

/// The time after which a guest that computes lets others run. Its time limit is looked at as often. A timer or an answer from the
/// network waits for about as long, times the guests that compute for each thread.
const TICK: Duration = Duration::from_millis(1);

/// The tick while no guest runs. A host with nothing to do would spend 2 % of a core on shorter ticks.
const IDLE_TICK: Duration = Duration::from_millis(10);

/// So many ticks in which no guest ran are enough to take the next ones to be idle.
const MAX_QUIET_TICKS: u32 = 100;

/// The one engine: it compiles components, gives them their imports, and interrupts those that run long.
pub(crate) struct Engine {
    /// The engine of wasmtime, whose epoch the ticker moves forward.
    pub(super) engine: wasmtime::Engine,
    /// The linker of what every guest may import, but for what it gets in the shape in which it imports it.
    linker: Linker<InstanceState>,
    /// Tells the ticker that guests run.
    pub(super) activity: Activity,
    /// The thread that interrupts guests. Ends when the engine is dropped.
    _ticker: Ticker,
}

impl Engine {
    /// `cache` is where compiled components are kept, the user's cache directory if `None`.
    pub(crate) fn new(cache: Option<&Path>) -> wasmtime::Result<Self> {
        Self::with_cache(compile_cache(cache))
    }

    /// An engine that keeps no compiled components.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn without_cache() -> wasmtime::Result<Self> {
        Self::with_cache(None)
    }

    fn with_cache(cache: Option<Cache>) -> wasmtime::Result<Self> {
        let engine = wasmtime::Engine::new(&config(cache.clone(), true)).or_else(|error| {
            tracing::warn!(
                "instances will be slower to make: cannot set memory aside for them: {error:#}"
            );
            wasmtime::Engine::new(&config(cache, false))
        })?;
        let mut linker = Linker::new(&engine);
        offered::link(
            &mut linker,
            InstanceState::config,
            InstanceState::imports,
            InstanceState::files,
        )?;
        let activity = Activity::default();
        let ticker = Ticker::start(engine.clone(), activity.clone())?;
        Ok(Self {
            engine,
            linker,
            activity,
            _ticker: ticker,
        })
    }

    /// Gives a component what it imports.
    ///
    /// # Errors
    /// It imports what there is not, or of another type.
    pub(super) fn link(
        &self,
        component: &Component,
    ) -> wasmtime::Result<InstancePre<InstanceState>> {
        if !http::is_imported(&self.engine, component) {
            return self.linker.instantiate_pre(component);
        }
        let mut linker = self.linker.clone();
        http::link(&mut linker, &self.engine, component)?;
        linker.instantiate_pre(component)
    }
}

fn config(cache: Option<Cache>, pooling: bool) -> Config {
    let mut config = Config::new();
    // Engine-wide support for concurrent calls would double the price of every synchronous one.
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .cache(cache);
    wasm_features::switch_off(&mut config);
    if pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    }
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MAX_INSTANCES)
        .total_stacks(MAX_INSTANCES)
        .total_memories(MAX_INSTANCES * MEMORIES_PER_INSTANCE)
        .max_memories_per_component(MEMORIES_PER_INSTANCE)
        .total_tables(MAX_INSTANCES * TABLES_PER_INSTANCE)
        .max_tables_per_component(TABLES_PER_INSTANCE)
        .max_tables_per_module(TABLES_PER_INSTANCE)
        .table_elements(TABLE_ELEMENTS)
        .total_core_instances(MAX_INSTANCES * CORE_INSTANCES_PER_INSTANCE)
        .max_core_instances_per_component(CORE_INSTANCES_PER_INSTANCE)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// A flag: a guest has run since the last tick.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<AtomicBool>);

impl Activity {
    /// A guest runs. Only the first one writes, so that threads do not take the flag from one another at every call.
    pub(super) fn note(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The time between ticks.
#[derive(Debug, Default)]
struct Pace {
    /// Ticks since a guest ran.
    quiet_ticks: u32,
}

impl Pace {
    /// The time until the next tick, given whether a guest has run since the last one.
    fn next(&mut self, is_active: bool) -> Duration {
        self.quiet_ticks = match is_active {
            true => 0,
            false => self.quiet_ticks.saturating_add(1),
        };
        if self.quiet_ticks < MAX_QUIET_TICKS {
            TICK
        } else {
            IDLE_TICK
        }
    }
}

/// A thread that moves the engine's epoch forward. It ends with the engine.
struct Ticker {
    /// The channel that ends the thread when dropped. None once that has begun.
    stop: Option<mpsc::Sender<()>>,
    /// The thread itself. None once it has been joined.
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine, activity: Activity) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let mut pace = Pace::default();
        let thread = std::thread::Builder::new()
            .name("wharf-ticker".into())
            .spawn(move || {
                let mut next = || stopped.recv_timeout(pace.next(activity.take()));
                while let Err(RecvTimeoutError::Timeout) = next() {
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that interrupts guests has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::offered::{INTERFACES, InterfaceRole};

    #[test]
    fn ticks_come_less_often_while_no_guest_runs() {
        let activity = Activity::default();
        let mut pace = Pace::default();
        activity.note();
        activity.note();
        assert_eq!(pace.next(activity.take()), TICK);
        for _ in 1..MAX_QUIET_TICKS {
            assert_eq!(pace.next(activity.take()), TICK);
        }
        assert_eq!(pace.next(activity.take()), IDLE_TICK);
        assert_eq!(pace.next(activity.take()), IDLE_TICK);
        activity.note();
        assert_eq!(pace.next(activity.take()), TICK);
        assert_eq!(pace.next(activity.take()), TICK);
    }

    /// The `error` of `wharf:nats/types`, which stands for `$ERROR` in the imports.
    const ERROR: &str = r#"(type $e (variant (case "denied" string) (case "invalid" string) (case "not-found" string)
        (case "conflict") (case "timeout") (case "no-responders") (case "too-large" u64)
        (case "unsupported" string) (case "unavailable" string) (case "failed" string)))
        (export "error" (type $error (eq $e)))"#;

    /// An import of each interface of the table, in the order of its rows, with one function or resource of it.
    const IMPORTS: [(&str, &str); 17] = [
        (
            "wharf:nats/pubsub@0.2.0",
            r#"$ERROR
            (type $o (record (field "queue" (option string)) (field "ignore-prefix" bool)))
            (export "subscribe-options" (type $options (eq $o)))
            (export "subscribe" (func (param "subject" string) (param "options" (option $options))
                (result (result (error $error)))))"#,
        ),
        (
            "wharf:nats/jetstream@0.2.0",
            r#"$ERROR
            (type $h (list (tuple string string)))
            (export "headers" (type $headers (eq $h)))
            (type $o (record (field "headers" $headers) (field "ignore-prefix" bool)
                (field "message-id" (option string)) (field "expected-last-subject-sequence" (option u64))
                (field "ttl-ms" (option u64))))
            (export "publish-options" (type $options (eq $o)))
            (type $a (record (field "stream-name" string) (field "sequence" u64) (field "duplicate" bool)))
            (export "ack" (type $ack (eq $a)))
            (export "publish" (func (param "subject" string) (param "payload" (list u8))
                (param "options" (option $options)) (result (result $ack (error $error)))))"#,
        ),
        (
            "wharf:nats/keyvalue@0.2.0",
            r#"(export "bucket" (type (sub resource)))"#,
        ),
        // It has types only, which every component brings itself.
        ("wharf:nats/types@0.2.0", ""),
        (
            "wasi:config/store@0.2.0-rc.1",
            r#"(type $e (variant (case "upstream" string) (case "io" string)))
            (export "error" (type $error (eq $e)))
            (export "get" (func (param "key" string) (result (result (option string) (error $error)))))"#,
        ),
        (
            "wasi:cli/environment@0.2.0",
            r#"(export "get-arguments" (func (result (list string))))"#,
        ),
        ("wasi:cli/stdin@0.2.0", STANDARD_STREAM),
        ("wasi:cli/stdout@0.2.0", STANDARD_STREAM),
        ("wasi:cli/stderr@0.2.0", STANDARD_STREAM),
        (
            "wasi:cli/terminal-input@0.2.0",
            r#"(export "terminal-input" (type (sub resource)))"#,
        ),
        (
            "wasi:filesystem/types@0.2.0",
            r#"(export "descriptor" (type (sub resource)))"#,
        ),
        (
            "wasi:clocks/monotonic-clock@0.2.0",
            r#"(export "now" (func (result u64)))"#,
        ),
        (
            "wasi:random/random@0.2.0",
            r#"(export "get-random-u64" (func (result u64)))"#,
        ),
        (
            "wasi:io/poll@0.2.0",
            r#"(export "pollable" (type (sub resource)))"#,
        ),
        (
            "wasi:sockets/network@0.2.0",
            r#"(export "network" (type (sub resource)))"#,
        ),
        (
            "wasi:http/types@0.2.0",
            r#"(export "fields" (type (sub resource)))"#,
        ),
        (
            "wasi:http/outgoing-handler@0.2.0",
            r#"(export "handle" (func))"#,
        ),
    ];

    #[test]
    fn a_component_of_each_interface_of_the_table_is_linked() -> wasmtime::Result<()> {
        let engine = Engine::new(None)?;
        let mut rows: Vec<&str> = Vec::new();
        for (name, body) in IMPORTS {
            let row = offered::find(name).expect(name);
            rows.push(row.name);
            let text = match body {
                STANDARD_STREAM => standard_stream(name),
                body => format!(r#"(component (import "{name}" (instance {body})))"#),
            };
            let text = text.replace("$ERROR", ERROR);
            let component = Component::new(&engine.engine, wat::parse_str(text)?)?;
            let linked = engine.link(&component);
            assert!(linked.is_ok(), "{name}: {:?}", linked.err());
        }
        let offered = INTERFACES
            .iter()
            .filter(|row| row.role == InterfaceRole::Offered)
            .map(|row| row.name);
        assert!(offered.eq(rows), "each row has an import here");
        let unknown = r#"(component (import "x:y/z@0.1.0" (instance (export "f" (func)))))"#;
        let component = Component::new(&engine.engine, wat::parse_str(unknown)?)?;
        assert!(engine.link(&component).is_err());
        Ok(())
    }

    const STANDARD_STREAM: &str = "a standard stream";

    /// A component that imports a standard stream, whose function makes a resource of another interface.
    fn standard_stream(name: &str) -> String {
        let (_, rest) = name.split_once('/').expect("an interface");
        let (stream, _) = rest.split_once('@').expect("a version");
        let resource = match stream {
            "stdin" => "input-stream",
            _ => "output-stream",
        };
        format!(
            r#"(component
                (import "wasi:io/streams@0.2.0" (instance $io (export "{resource}" (type (sub resource)))))
                (alias export $io "{resource}" (type $resource))
                (import "{name}" (instance
                    (alias outer 1 $resource (type $outer))
                    (export "{resource}" (type $stream (eq $outer)))
                    (export "get-{stream}" (func (result (own $stream)))))))"#
        )
    }
}
