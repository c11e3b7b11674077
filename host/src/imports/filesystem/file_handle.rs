//! An open file or directory of a guest, and what is counted while it is open.

use std::fs::File as SystemFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use wasmtime_wasi::filesystem::{Descriptor, Dir, File};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{FsError, FsResult};

use super::descriptors::DescriptorCharge;
use super::guest_files::GuestFiles;
use super::inodes::InodeHandle;
use crate::lock::locked;

/// An open file or directory. When the last part of the guest lets go of it, it is closed on one of the guest's threads:
/// that may wait for a disk.
pub(super) struct Handle {
    /// The file or directory, with the guest's rights to it. None once it is being closed.
    descriptor: Option<Descriptor>,
    /// The files of the version of the guest that has it open.
    pub(super) files: Arc<GuestFiles>,
    /// The part of the count of descriptors. None for a granted directory, which stays open as long as the version.
    charge: Option<DescriptorCharge>,
    /// The file among those that may grow or be removed. None where nothing can be written.
    inode: Option<InodeHandle>,
}

impl Handle {
    /// A granted directory.
    pub(super) fn of_preopen(dir: &Dir, files: &Arc<GuestFiles>) -> Self {
        Self {
            descriptor: Some(Descriptor::Dir(dir.clone())),
            files: Arc::clone(files),
            charge: None,
            inode: None,
        }
    }

    /// A file or directory that has been opened. Waits for a disk.
    ///
    /// # Errors
    /// The file has been removed meanwhile.
    pub(super) fn new(
        descriptor: Descriptor,
        files: &Arc<GuestFiles>,
        charge: DescriptorCharge,
    ) -> io::Result<Self> {
        let inode = match &descriptor {
            Descriptor::File(file) if !file.perms.write_not_permitted() => {
                Some(InodeHandle::register(&file.file)?)
            }
            Descriptor::File(_) | Descriptor::Dir(_) => None,
        };
        Ok(Self {
            descriptor: Some(descriptor),
            files: Arc::clone(files),
            charge: Some(charge),
            inode,
        })
    }

    /// The file or directory, for one call.
    pub(super) fn descriptor(&self) -> FsResult<Descriptor> {
        let open = self.descriptor.as_ref().ok_or(ErrorCode::BadDescriptor)?;
        Ok(open.clone())
    }

    /// The file, if it is one.
    pub(super) fn file(&self) -> FsResult<&File> {
        match &self.descriptor {
            Some(Descriptor::File(file)) => Ok(file),
            Some(Descriptor::Dir(_)) | None => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// The file, if it is one and the guest may write to it.
    pub(super) fn writable(&self) -> FsResult<&File> {
        let file = self.file()?;
        match file.perms.write_not_permitted() {
            true => Err(ErrorCode::NotPermitted.into()),
            false => Ok(file),
        }
    }

    /// The directory, if it is one.
    pub(super) fn dir(&self) -> FsResult<&Dir> {
        match &self.descriptor {
            Some(Descriptor::Dir(dir)) => Ok(dir),
            Some(Descriptor::File(_)) | None => Err(ErrorCode::NotDirectory.into()),
        }
    }

    /// Reads up to so many bytes at a place. None are there at the end of the file. Waits for a disk.
    pub(super) fn read(&self, len: usize, offset: u64) -> FsResult<Vec<u8>> {
        let mut bytes = vec![0; len];
        let read = retried(|| {
            self.file()?
                .file
                .read_at(&mut bytes, offset)
                .map_err(FsError::from)
        })?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Writes at a place, some of the bytes at least. Waits for a disk.
    ///
    /// # Errors
    /// `insufficient-space` if the file would grow by more than the guest may add.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> FsResult<usize> {
        let end = offset.saturating_add(bytes.len() as u64);
        self.resize(|size| size.max(end), |file| file.write_at(bytes, offset))
    }

    /// Writes at the end of the file, some of the bytes at least. Waits for a disk.
    ///
    /// # Errors
    /// `insufficient-space` if that is more than the guest may add.
    pub(super) fn append(&self, bytes: &[u8]) -> FsResult<usize> {
        let more = bytes.len() as u64;
        self.resize(|size| size.saturating_add(more), |file| append(file, bytes))
    }

    /// Makes the file so long. Waits for a disk.
    ///
    /// # Errors
    /// `insufficient-space` if it would grow by more than the guest may add.
    pub(super) fn set_size(&self, size: u64) -> FsResult<()> {
        self.resize(|_| size, |file| file.set_len(size))
    }

    /// Changes a file's size, by `change`, to what `to` makes of it at most. What it may grow by is charged before.
    fn resize<T>(
        &self,
        to: impl Fn(u64) -> u64,
        change: impl Fn(&SystemFile) -> io::Result<T>,
    ) -> FsResult<T> {
        let file = &self.writable()?.file;
        let _sizing = self.inode.as_ref().map(|inode| locked(&inode.size));
        let before = file.metadata()?.len();
        let charged = to(before).saturating_sub(before);
        self.files.charge_disk(charged)?;
        let changed = retried(|| change(file).map_err(FsError::from));
        let after = match file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(_) => before.saturating_add(charged),
        };
        let grown = after.saturating_sub(before);
        self.files.free_disk(charged.saturating_sub(grown));
        self.files.free_disk(before.saturating_sub(after));
        changed
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let (charge, inode) = (self.charge.take(), self.inode.take());
        let Some(descriptor) = self.descriptor.take() else {
            return;
        };
        // A clone of a granted directory closes nothing.
        let Some(charge) = charge else { return };
        let files = Arc::clone(&self.files);
        self.files.close(move || {
            if let (Some(inode), Descriptor::File(file)) = (inode, &descriptor) {
                inode.close(&file.file, &files);
            }
            drop(descriptor);
            drop(charge);
        });
    }
}

/// Does it again as long as a signal interrupts it.
fn retried<T>(mut call: impl FnMut() -> FsResult<T>) -> FsResult<T> {
    loop {
        match call() {
            Err(error) if matches!(error.downcast_ref(), Some(ErrorCode::Interrupted)) => {}
            other => return other,
        }
    }
}

/// Writes where the file ends, whoever else appends to it.
fn append(file: &SystemFile, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags, pwritev2};
        let slices = [io::IoSlice::new(bytes)];
        match pwritev2(file, &slices, 0, ReadWriteFlags::APPEND) {
            // Some file systems cannot.
            Err(Errno::NOSYS | Errno::NOTSUP) => {}
            written => return Ok(written?),
        }
    }
    file.write_at(bytes, file.metadata()?.len())
}
