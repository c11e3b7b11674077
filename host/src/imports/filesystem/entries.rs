//! A directory's entries, some at a time: however many there are, few are held.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::descriptors::DescriptorCharge;
use super::guest_files::GuestFiles;

/// Entries that are read ahead: at most 255 bytes each, on most file systems.
const MAX_BATCH: usize = 32;

/// A directory that is being read.
pub(super) struct Entries {
    /// The directory, and how far it has been read. None at its end, and while a thread reads it.
    dir: Option<OpenListing>,
    /// Entries that were read and not taken yet.
    read: VecDeque<FsResult<DirectoryEntry>>,
    /// The files of the guest that reads it.
    files: Arc<GuestFiles>,
}

/// An open directory with a position in it. Closed on one of the guest's threads.
struct OpenListing {
    /// The directory, by a descriptor of its own. None once it is being closed.
    dir: Option<Dir>,
    /// The part of the count of descriptors. None once it is given back.
    charge: Option<DescriptorCharge>,
    /// The files of the guest that reads it.
    files: Arc<GuestFiles>,
}

impl Entries {
    /// Opens a directory anew, to read it from its begin. Waits for a disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn open(
        dir: &File,
        files: &Arc<GuestFiles>,
        charge: DescriptorCharge,
    ) -> FsResult<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = rustix::fs::openat(dir, ".", flags, Mode::empty()).map_err(of_system)?;
        let own = Dir::new(own).map_err(of_system)?;
        Ok(Self {
            dir: Some(OpenListing {
                dir: Some(own),
                charge: Some(charge),
                files: Arc::clone(files),
            }),
            read: VecDeque::new(),
            files: Arc::clone(files),
        })
    }

    /// The next entry. `None` at the end.
    pub(super) async fn next(&mut self) -> FsResult<Option<DirectoryEntry>> {
        if self.read.is_empty()
            && let Some(mut listing) = self.dir.take()
        {
            let reading = self.files.run(move || {
                let (read, is_at_end) = listing.read();
                Ok((read, (!is_at_end).then_some(listing)))
            });
            (self.read, self.dir) = reading.await?;
        }
        self.read.pop_front().transpose()
    }
}

impl OpenListing {
    /// Reads some entries. True if those are the last.
    fn read(&mut self) -> (VecDeque<FsResult<DirectoryEntry>>, bool) {
        let mut read = VecDeque::new();
        let Some(dir) = &mut self.dir else {
            return (read, true);
        };
        while read.len() < MAX_BATCH {
            let entry = match dir.read() {
                None => return (read, true),
                Some(Err(error)) => {
                    read.push_back(Err(of_system(error)));
                    return (read, true);
                }
                Some(Ok(entry)) => entry,
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => dir
                    .fd()
                    .and_then(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW))
                    .map(|stat| FileType::from_raw_mode(stat.st_mode)),
                known => Ok(known),
            };
            read.push_back(match (name.to_str(), kind) {
                (Ok(name), Ok(kind)) => Ok(DirectoryEntry {
                    type_: descriptor_type(kind),
                    name: name.to_owned(),
                }),
                (Err(_), _) => Err(ErrorCode::IllegalByteSequence.into()),
                (_, Err(error)) => Err(of_system(error)),
            });
        }
        (read, false)
    }
}

impl Drop for OpenListing {
    fn drop(&mut self) {
        let (dir, charge) = (self.dir.take(), self.charge.take());
        self.files.close(move || {
            drop(dir);
            drop(charge);
        });
    }
}

fn of_system(error: rustix::io::Errno) -> FsError {
    std::io::Error::from(error).into()
}

fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::Unknown => DescriptorType::Unknown,
    }
}
