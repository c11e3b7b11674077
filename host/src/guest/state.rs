//! What one instance carries with it: its limits, and the host's side of everything it imports.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;

use super::limiter::MemoryLimiter;
use super::log_stream::{LogStream, StandardStream};
use crate::config::{GuestSettings, Serializer};
use crate::guest_log::GuestLog;
use crate::imports::{self, CtxView, FileThreads, FilesystemView, GrantedDir, GuestFiles};
use crate::metrics::GaugePart;

/// Under this key of `wasi:config` the SDK finds how the host wants values written.
const SERIALIZER_KEY: &str = "wharf.serializer";

/// The most bytes that a guest may write to a file at once, if it may write to any: streams take 64 KiB, but a write at a
/// place (`pwrite`) comes in one piece, whatever its length.
const MAX_FILE_WRITE_BYTES: usize = 16 * 1024 * 1024;

/// The most random bytes that one call gives: making them takes milliseconds for each 100 KiB, in which nobody else runs.
const MAX_RANDOM_BYTES: u64 = 64 * 1024;

/// The template of the instances of one version of a guest.
pub(crate) struct InstanceTemplate {
    /// The version's log.
    pub(super) log: Arc<GuestLog>,
    /// The settings that the version runs with.
    pub(super) settings: GuestSettings,
    /// Values that the guest reads through `wasi:config`: its own, and the host's serializer.
    config: WasiConfigVariables,
    /// The guest's directories, and its bounds there.
    files: Arc<GuestFiles>,
    /// The rights, the connection and the counters that all instances' imports share.
    pub(super) imports: Arc<imports::ImportContext>,
}

impl InstanceTemplate {
    pub(crate) fn new(
        name: &str,
        version: u32,
        settings: GuestSettings,
        imports: imports::ImportContext,
        dirs: Vec<GrantedDir>,
        file_threads: Arc<FileThreads>,
    ) -> Self {
        let mut config: WasiConfigVariables = settings.config.clone().into_iter().collect();
        let serializer = match settings.serializer {
            Serializer::Json => "json",
            Serializer::Msgpack => "msgpack",
        };
        config.insert(SERIALIZER_KEY, serializer);
        let limits = &settings.limits;
        let log = GuestLog::new(
            name.into(),
            version,
            Arc::clone(&imports.counters),
            limits.log_lines,
            limits.log_bytes,
        );
        let log = Arc::new(log);
        let counters = Arc::clone(&imports.counters);
        let files = GuestFiles::new(dirs, limits, counters, file_threads, Arc::clone(&log));
        Self {
            log,
            settings,
            config,
            files: Arc::new(files),
            imports: Arc::new(imports),
        }
    }

    /// All that an instance may hold.
    pub(super) fn memory_bytes(&self) -> usize {
        usize::try_from(self.settings.limits.memory_bytes).unwrap_or(usize::MAX)
    }

    /// The most bytes that the guest may hand over in one call. They are copied to our side: no more than it may hold
    /// itself.
    pub(super) fn max_bytes_per_call(&self) -> usize {
        let to_files = match self.files.is_writable() {
            true => MAX_FILE_WRITE_BYTES,
            false => 0,
        };
        let most = self.imports.max_bytes_per_call().max(to_files);
        most.min(self.memory_bytes())
    }

    /// Resources that an instance may hold at once: open buckets, files, streams.
    pub(super) fn max_resources(&self) -> usize {
        self.settings.limits.resources
    }

    /// The state of a new instance.
    pub(super) fn state(self: &Arc<Self>) -> InstanceState {
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.max_resources());
        InstanceState {
            wasi: None,
            table,
            limiter: MemoryLimiter::new(self.memory_bytes(), Arc::clone(&self.imports.counters)),
            _counted: self.imports.counters.instances.hold(1),
            imports: imports::Ctx::new(Arc::clone(&self.imports)),
            template: Arc::clone(self),
        }
    }

    fn wasi(&self) -> WasiCtx {
        let mut wasi = WasiCtx::builder();
        let log = |stream| LogStream::new(Arc::clone(&self.log), stream);
        wasi.stdout(log(StandardStream::Stdout))
            .stderr(log(StandardStream::Stderr));
        wasi.max_random_size(MAX_RANDOM_BYTES);
        // Sockets are there, as many languages import them unasked; nothing may be done with them.
        wasi.allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        for (name, value) in &self.settings.env {
            wasi.env(name, value);
        }
        wasi.build()
    }
}

/// The state that one instance carries with it.
pub(crate) struct InstanceState {
    /// The instance's side of WASI but for files: variables, output, random numbers. `None` until the guest first calls one of
    /// them: many never do, and its random numbers alone cost a fresh instance more than its message.
    wasi: Option<Box<WasiCtx>>,
    /// Resources that the guest holds, such as open buckets and files: at most `limits.resources`.
    table: ResourceTable,
    /// The bound on the instance's memory, which notes a refusal.
    pub(super) limiter: MemoryLimiter,
    /// The instance's part of the count of instances.
    _counted: GaugePart,
    /// The instance's side of `wharf:nats`: its rights, and the reply subject and trace of its message.
    pub(super) imports: imports::Ctx,
    /// The template that the state was made from, for its `wasi:config` and its bounds.
    template: Arc<InstanceTemplate>,
}

impl InstanceState {
    /// See [`InstanceTemplate::max_bytes_per_call`].
    pub(super) fn max_bytes_per_call(&self) -> usize {
        self.template.max_bytes_per_call()
    }

    pub(super) fn imports(&mut self) -> CtxView<'_> {
        CtxView {
            ctx: &mut self.imports,
            table: &mut self.table,
        }
    }

    pub(super) fn files(&mut self) -> FilesystemView<'_> {
        FilesystemView {
            files: &self.template.files,
            table: &mut self.table,
        }
    }

    pub(super) fn config(&mut self) -> wasmtime_wasi_config::WasiConfig<'_> {
        (&self.template.config).into()
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let template = &self.template;
        let wasi = self.wasi.get_or_insert_with(|| Box::new(template.wasi()));
        WasiCtxView {
            ctx: wasi,
            table: &mut self.table,
        }
    }
}
