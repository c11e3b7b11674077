//! Names that go: what their removal frees on disk.
//!
//! A file is counted with its name when it is made, and counted down when nothing has it any more, neither a name nor somebody
//! who has it open. So a name more (a hard link) is counted, and not counted down.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use cap_primitives::fs::{FollowSymlinks, OpenOptions, stat};
use wasmtime_wasi::p2::FsResult;

use super::file_handle::Handle;
use super::guest_files::{GuestFiles, NAME_BYTES};
use super::inodes::InodeHandle;

/// What is behind a name that is about to go.
pub(super) enum Doomed {
    /// A file, open until it has lost its name: whoever has it open last counts it down.
    File(#[expect(dead_code, reason = "kept until the name is gone")] KeptOpen),
    /// A link.
    Link,
    /// Something else, or nothing.
    Other,
}

/// A file that is open for a moment, on the thread of the call.
pub(super) struct KeptOpen {
    /// The file.
    file: File,
    /// The file among those that are open. None once it is being closed.
    inode: Option<InodeHandle>,
    /// The files of the guest that removes the name.
    files: Arc<GuestFiles>,
}

impl Doomed {
    /// Looks at what is behind a name. Waits for a disk.
    pub(super) fn find(dir: &Handle, path: &str) -> FsResult<Self> {
        let at = &dir.dir()?.dir;
        let path = Path::new(path);
        let Ok(there) = stat(at, path, FollowSymlinks::No) else {
            return Ok(Self::Other);
        };
        if there.file_type().is_symlink() {
            return Ok(Self::Link);
        }
        if !there.file_type().is_file() {
            return Ok(Self::Other);
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            ._cap_fs_ext_follow(FollowSymlinks::No)
            ._cap_fs_ext_nonblock(true);
        // One that cannot be read is not counted down.
        let Ok(file) = cap_primitives::fs::open(at, path, &options) else {
            return Ok(Self::Other);
        };
        Ok(match InodeHandle::register(&file) {
            Ok(inode) => Self::File(KeptOpen {
                file,
                inode: Some(inode),
                files: Arc::clone(&dir.files),
            }),
            Err(_) => Self::Other,
        })
    }

    /// Counts down what the name took by itself, once it is gone.
    pub(super) fn count_down(self, files: &GuestFiles) {
        match self {
            Self::Link => files.free_disk(NAME_BYTES),
            Self::File(_) | Self::Other => {}
        }
    }
}

impl Drop for KeptOpen {
    fn drop(&mut self) {
        if let Some(inode) = self.inode.take() {
            inode.close(&self.file, &self.files);
        }
    }
}
