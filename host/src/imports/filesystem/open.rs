//! Opening a path within a directory: a file or a directory, and nothing that waits for somebody at its other end.

use std::fs::File as SystemFile;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_primitives::fs::{FollowSymlinks, OpenOptions, stat};
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, OpenFlags, PathFlags,
};

use super::ON_THIS_THREAD;
use super::descriptors::DescriptorCharge;
use super::file_handle::Handle;
use super::guest_files::{GuestFiles, NAME_BYTES};

/// What a guest asks to have opened.
pub(super) struct OpenRequest {
    /// Whether the last part of the path may be a link.
    pub(super) path_flags: PathFlags,
    /// The path, within the directory.
    pub(super) path: String,
    /// Whether the file is to be made, or emptied.
    pub(super) open_flags: OpenFlags,
    /// Whether it is to be read or written.
    pub(super) flags: DescriptorFlags,
}

impl OpenRequest {
    fn follow(&self) -> FollowSymlinks {
        match self.path_flags.contains(PathFlags::SYMLINK_FOLLOW) {
            true => FollowSymlinks::Yes,
            false => FollowSymlinks::No,
        }
    }

    /// The rights with which the file is opened. One that is not written to can be read.
    fn mode(&self) -> OpenMode {
        let makes = OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let writes =
            self.flags.contains(DescriptorFlags::WRITE) || self.open_flags.intersects(makes);
        let reads = self.flags.contains(DescriptorFlags::READ)
            || !self.flags.contains(DescriptorFlags::WRITE);
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::READ, reads);
        mode.set(OpenMode::WRITE, writes);
        mode
    }

    /// Checks what can be checked without the disk.
    fn check(&self, dir: &Dir) -> Result<(), ErrorCode> {
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        let makes = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
        if self.flags.intersects(synchronous) {
            Err(ErrorCode::Unsupported)
        } else if self.open_flags.contains(OpenFlags::DIRECTORY)
            && self.open_flags.intersects(makes)
        {
            Err(ErrorCode::Invalid)
        } else if dir.perms.write_not_permitted() && self.mode().contains(OpenMode::WRITE) {
            Err(ErrorCode::NotPermitted)
        } else {
            Ok(())
        }
    }

    fn options(&self) -> OpenOptions {
        let mode = self.mode();
        let mut options = OpenOptions::new();
        options
            .read(mode.contains(OpenMode::READ))
            .write(mode.contains(OpenMode::WRITE))
            ._cap_fs_ext_follow(self.follow())
            // A pipe would have it wait for a writer. Files and directories do not care.
            ._cap_fs_ext_nonblock(true);
        options
    }

    /// Opens it. Waits for a disk.
    ///
    /// # Errors
    /// The system's; `insufficient-space` if a file were made that is one too many; `unsupported` for what is neither a file nor a
    /// directory.
    pub(super) fn open(
        &self,
        dir: &Dir,
        files: &Arc<GuestFiles>,
        charge: DescriptorCharge,
    ) -> FsResult<Handle> {
        self.check(dir)?;
        let opened = match self.open_flags.contains(OpenFlags::CREATE) {
            true => self.open_or_make(&dir.dir, files)?,
            false => self.open_existing(&dir.dir)?,
        };
        let metadata = opened.metadata()?;
        let mode = self.mode();
        let descriptor = if metadata.is_dir() {
            Descriptor::Dir(Dir::new(opened, dir.perms, mode, ON_THIS_THREAD))
        } else if self.open_flags.contains(OpenFlags::DIRECTORY) {
            return Err(ErrorCode::NotDirectory.into());
        } else if metadata.is_file() {
            Descriptor::File(File::new(opened, dir.perms, mode, ON_THIS_THREAD))
        } else {
            return Err(ErrorCode::Unsupported.into());
        };
        let handle = Handle::new(descriptor, files, charge)?;
        if self.open_flags.contains(OpenFlags::TRUNCATE) {
            handle.set_size(0)?;
        }
        Ok(handle)
    }

    fn open_existing(&self, dir: &SystemFile) -> FsResult<SystemFile> {
        let path = Path::new(&self.path);
        // To open a device can do something by itself.
        let kind = stat(dir, path, self.follow())?.file_type();
        if !kind.is_file() && !kind.is_dir() && !kind.is_symlink() {
            return Err(ErrorCode::Unsupported.into());
        }
        let mut options = self.options();
        match cap_primitives::fs::open(dir, path, &options) {
            // Another process has a lease on the file, and is told now to give it up.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && kind.is_file() => {
                options._cap_fs_ext_nonblock(false);
                Ok(cap_primitives::fs::open(dir, path, &options)?)
            }
            opened => Ok(opened?),
        }
    }

    fn open_or_make(&self, dir: &SystemFile, files: &GuestFiles) -> FsResult<SystemFile> {
        if !self.open_flags.contains(OpenFlags::EXCLUSIVE) {
            match self.open_existing(dir) {
                Err(error) if matches!(error.downcast_ref(), Some(ErrorCode::NoEntry)) => {}
                opened => return opened,
            }
        }
        files.charge_disk(NAME_BYTES)?;
        let mut options = self.options();
        options.create_new(true);
        match cap_primitives::fs::open(dir, Path::new(&self.path), &options) {
            Ok(made) => Ok(made),
            Err(error) => {
                files.free_disk(NAME_BYTES);
                let may_exist = !self.open_flags.contains(OpenFlags::EXCLUSIVE);
                match error.kind() {
                    // Somebody else has made it meanwhile.
                    io::ErrorKind::AlreadyExists if may_exist => self.open_existing(dir),
                    _ => Err(error.into()),
                }
            }
        }
    }
}
