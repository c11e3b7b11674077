//! Files of one version of a guest: its directories, and what it may use up of descriptors, threads and disk.

use std::sync::Arc;

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{FsError, FsResult};

use super::descriptors::{DescriptorCharge, NoDescriptor};
use super::file_threads::FileThreads;
use super::granted_dir::GrantedDir;
use crate::config::Limits;
use crate::guest_log::GuestLog;
use crate::metrics::GuestCounters;

/// Bytes that a name takes in a directory, with the file behind it: a block. A file system has room for so many files only.
pub(super) const NAME_BYTES: u64 = 4096;

/// The files of one version of a guest. What its versions use is counted together.
pub(crate) struct GuestFiles {
    /// The guest's directories.
    dirs: Vec<GrantedDir>,
    /// The most descriptors that the guest may have open.
    max_descriptors: u64,
    /// The most calls that may be under way at once.
    max_calls: u64,
    /// The most bytes by which the guest may make its directories grow.
    max_disk_bytes: u64,
    /// The guest's counters and gauges, which its versions share.
    counters: Arc<GuestCounters>,
    /// The guest's threads for files, which its versions share.
    threads: Arc<FileThreads>,
    /// The version's log, which is told of what is refused.
    log: Arc<GuestLog>,
}

impl GuestFiles {
    pub(crate) fn new(
        dirs: Vec<GrantedDir>,
        limits: &Limits,
        counters: Arc<GuestCounters>,
        threads: Arc<FileThreads>,
        log: Arc<GuestLog>,
    ) -> Self {
        Self {
            dirs,
            max_descriptors: limits.descriptors,
            max_calls: limits.file_calls,
            max_disk_bytes: limits.disk_bytes,
            counters,
            threads,
            log,
        }
    }

    /// Whether the guest may write to any of its directories.
    pub(crate) fn is_writable(&self) -> bool {
        self.dirs.iter().any(GrantedDir::is_writable)
    }

    /// The guest's directories.
    pub(super) fn dirs(&self) -> &[GrantedDir] {
        &self.dirs
    }

    /// Runs a call on one of the guest's threads, once there is room for it.
    ///
    /// # Errors
    /// The call's; a trap if the system gives no thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> FsResult<T> + Send + 'static,
    ) -> FsResult<T> {
        let done = self.threads.run(self.max_calls, call).await;
        done.map_err(FsError::trap)?
    }

    /// Closes a file on one of the guest's threads, soon.
    pub(super) fn close(&self, close: impl FnOnce() + Send + 'static) {
        self.threads.close(self.max_calls, close);
    }

    /// Charges one descriptor more, until the answer is dropped.
    ///
    /// # Errors
    /// `insufficient-memory` if the guest, or all guests together, have as many as they may have.
    pub(super) fn descriptor(&self) -> Result<DescriptorCharge, FsError> {
        let max = self.max_descriptors;
        DescriptorCharge::new(&self.counters.descriptors, max).map_err(|why| {
            self.refused(&match why {
                NoDescriptor::Guest => {
                    format!("it has {max} descriptors open, as many as `limits.descriptors` allows")
                }
                NoDescriptor::AllGuests(all) => format!(
                    "all guests have {all} descriptors open, half of what the system gives the host: raise its limit"
                ),
            });
            ErrorCode::InsufficientMemory.into()
        })
    }

    /// Charges bytes on disk.
    ///
    /// # Errors
    /// `insufficient-space` if that is more than the guest may add.
    pub(super) fn charge_disk(&self, bytes: u64) -> Result<(), FsError> {
        let max = self.max_disk_bytes;
        match self.counters.disk.add_within(bytes, max) {
            true => Ok(()),
            false => {
                self.refused(&format!(
                    "{bytes} bytes more on disk are more than `limits.disk` allows, which is {max}"
                ));
                Err(ErrorCode::InsufficientSpace.into())
            }
        }
    }

    /// Gives bytes on disk back.
    pub(super) fn free_disk(&self, bytes: u64) {
        self.counters.disk.subtract(bytes);
    }

    /// Counts a call that is refused. Logs it at 1, 2, 4, 8 …
    fn refused(&self, why: &str) {
        self.counters.files_refused.add_one();
        let count = self.counters.files_refused.get();
        if count.is_power_of_two() && self.log.admits(why.len()) {
            let GuestLog { guest, version, .. } = &*self.log;
            tracing::warn!(%guest, version, count, "a call on files is refused: {why}");
        }
    }
}
