//! Directories that a guest is granted: opened once, when a version is loaded. Nobody looks their paths up again.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::config::{DirectoryAccess, DirectoryGrant, Place, ProtectedPaths};

/// A directory that cannot be granted.
#[derive(Debug, thiserror::Error)]
#[error("cannot grant the directory {}: {why}", path.display())]
pub struct GrantError {
    /// The directory as the settings name it.
    path: PathBuf,
    /// The reason in words.
    why: String,
}

impl GrantError {
    pub(crate) fn new(path: PathBuf, why: String) -> Self {
        Self { path, why }
    }
}

/// A directory that a guest is granted, open.
pub(crate) struct GrantedDir {
    /// The open directory, with the guest's rights there. Each instance gets a clone of it.
    pub(super) dir: Dir,
    /// The path at which the guest sees it.
    pub(super) guest: String,
}

impl GrantedDir {
    /// Opens a directory, unless it is one that no guest may have. May wait for a disk.
    ///
    /// # Errors
    /// The directory cannot be opened, or contains or lies in something of the host's own.
    pub(crate) fn open(
        grant: &DirectoryGrant,
        protected: &ProtectedPaths,
    ) -> Result<Self, GrantError> {
        let failed = |why: String| GrantError::new(grant.host.clone(), why);
        let on_disk = |error: std::io::Error| failed(error.to_string());
        let file = open(&grant.host).map_err(on_disk)?;
        let opened = file.metadata().map_err(on_disk)?;
        let place = Place::of(&grant.host);
        // What was checked is what is open, whoever renames directories meanwhile.
        if place.id() != Some((opened.dev(), opened.ino())) {
            return Err(failed("it changed while it was opened".to_owned()));
        }
        protected
            .check(&place)
            .map_err(|reason| failed(format!("it {reason}")))?;
        let (perms, mode) = match grant.access {
            DirectoryAccess::Read => (FsPerms::ReadOnly, OpenMode::READ),
            DirectoryAccess::ReadWrite => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        };
        Ok(Self {
            dir: Dir::new(file, perms, mode, super::ON_THIS_THREAD),
            guest: grant.guest.clone(),
        })
    }

    /// Whether the guest may write there.
    pub(super) fn is_writable(&self) -> bool {
        !self.dir.perms.write_not_permitted()
    }
}

/// Opens a directory for looking paths up in it.
fn open(path: &Path) -> std::io::Result<File> {
    #[cfg(target_os = "linux")]
    let flags = OFlags::DIRECTORY | OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::DIRECTORY;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}
