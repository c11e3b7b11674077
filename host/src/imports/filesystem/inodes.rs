//! Files that guests have open in directories to which they may write: so that the bytes of a file that is removed count
//! until nobody has it open any more, and count down once.
//!
//! One table for all guests of this process, as several may be granted the same directory.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use super::guest_files::{GuestFiles, NAME_BYTES};
use crate::lock::locked;

/// A file's device and its number there.
type Id = (u64, u64);

static OPEN: Mutex<BTreeMap<Id, OpenInode>> = Mutex::new(BTreeMap::new());

/// A file that is open.
struct OpenInode {
    /// Times that it is open.
    handles: usize,
    /// True once somebody has seen that it has no name any more.
    is_removed: bool,
    /// Held by whoever changes the file's size, so that what is counted is what it grew by.
    size: Arc<Mutex<()>>,
}

/// One of the times that a file is open.
pub(super) struct InodeHandle {
    /// The file.
    id: Id,
    /// Held by whoever changes the file's size.
    pub(super) size: Arc<Mutex<()>>,
}

fn id(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

impl InodeHandle {
    /// Notes that a file has been opened. Waits for a disk.
    ///
    /// # Errors
    /// `NotFound` if the file has been removed meanwhile: its bytes have been counted down.
    pub(super) fn register(file: &File) -> io::Result<Self> {
        let id = id(&file.metadata()?);
        let mut all = locked(&OPEN);
        let is_first = !all.contains_key(&id);
        let inode = all.entry(id).or_insert_with(|| OpenInode {
            handles: 0,
            is_removed: false,
            size: Arc::default(),
        });
        inode.handles += 1;
        let handle = Self {
            id,
            size: Arc::clone(&inode.size),
        };
        drop(all);
        if !is_first {
            return Ok(handle);
        }
        match file.metadata() {
            Ok(metadata) if metadata.nlink() > 0 => Ok(handle),
            other => {
                handle.leave(false);
                Err(other
                    .err()
                    .unwrap_or_else(|| io::ErrorKind::NotFound.into()))
            }
        }
    }

    /// Notes that the file is about to be closed, and counts it down if nothing has it any more. Waits for a disk.
    pub(super) fn close(self, file: &File, files: &GuestFiles) {
        if let Some(bytes) = self.unregister(file) {
            files.free_disk(bytes.saturating_add(NAME_BYTES));
        }
    }

    /// Returns the file's size if nothing has it any more.
    fn unregister(self, file: &File) -> Option<u64> {
        let metadata = file.metadata();
        let is_removed = matches!(&metadata, Ok(metadata) if metadata.nlink() == 0);
        let is_freed = self.leave(is_removed);
        metadata.ok().filter(|_| is_freed).map(|it| it.len())
    }

    /// Returns whether the file was open for the last time, and has been removed.
    fn leave(self, is_removed: bool) -> bool {
        let mut all = locked(&OPEN);
        let Some(inode) = all.get_mut(&self.id) else {
            return false;
        };
        inode.handles -= 1;
        inode.is_removed |= is_removed;
        let is_freed = inode.handles == 0 && inode.is_removed;
        if inode.handles == 0 {
            all.remove(&self.id);
        }
        is_freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_files_bytes_are_freed_once_by_whoever_closes_it_last() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("wharf-inodes-{}", std::process::id()));
        std::fs::write(&path, "12345")?;
        let (a, b) = (File::open(&path)?, File::open(&path)?);
        let (first, second) = (InodeHandle::register(&a)?, InodeHandle::register(&b)?);
        assert!(Arc::ptr_eq(&first.size, &second.size));
        std::fs::remove_file(&path)?;
        assert_eq!(first.unregister(&a), None, "it is still open");
        assert_eq!(second.unregister(&b), Some(5));
        let too_late = InodeHandle::register(&a).err().map(|error| error.kind());
        assert_eq!(too_late, Some(io::ErrorKind::NotFound), "it is counted");
        std::fs::write(&path, "12345")?;
        let a = File::open(&path)?;
        let kept = InodeHandle::register(&a)?;
        assert_eq!(kept.unregister(&a), None, "it has its name");
        std::fs::remove_file(&path)
    }
}
