//! Changes of the files that a host is run from.
//!
//! Editors and builds replace files, deployments change symbolic links. So directories are watched, and a file has
//! changed if it is another one than before.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::sleep;

/// Time without a change after which a file counts as written: builds write a component in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// Data that differ between two contents of a file, without reading it: device, inode, size, time of the last change
/// (seconds and nanoseconds).
type Stamp = (u64, u64, u64, i64, i64);

/// Device and inode of a directory. One that was removed and made again has others, and has to be watched again.
type DirectoryId = (u64, u64);

/// Files that are followed for changes.
pub(super) struct FileWatcher {
    /// The watches on directories.
    watcher: RecommendedWatcher,
    /// Wakes [`changed`](Self::changed) when something happens in a directory. Holds one wake-up, however much happens.
    woken: Arc<Notify>,
    /// The files by absolute path, each as it was when it was marked last; `None` where there was none.
    files: BTreeMap<PathBuf, Option<Stamp>>,
    /// The directories that are watched.
    directories: BTreeMap<PathBuf, DirectoryId>,
}

impl FileWatcher {
    /// Begins to follow these files.
    ///
    /// # Errors
    /// If the system cannot watch them.
    pub(super) fn follow(files: impl IntoIterator<Item = PathBuf>) -> notify::Result<Self> {
        let woken = Arc::new(Notify::new());
        let waking = Arc::clone(&woken);
        // An error, such as a queue that has run over, is a reason to look as well.
        let watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
            waking.notify_one()
        })?;
        let mut following = Self {
            watcher,
            woken,
            files: BTreeMap::new(),
            directories: BTreeMap::new(),
        };
        following.set(files)?;
        Ok(following)
    }

    /// Follows these files from now on, and no others. To be called before they are read: later changes are noticed.
    ///
    /// # Errors
    /// If the system cannot watch some of them; the others are followed.
    pub(super) fn set(&mut self, files: impl IntoIterator<Item = PathBuf>) -> notify::Result<()> {
        let absolute = |file: PathBuf| std::path::absolute(&file).unwrap_or(file);
        let mut before = std::mem::take(&mut self.files);
        let mut new = Vec::new();
        for file in files.into_iter().map(absolute) {
            let seen = before.remove(&file);
            if seen.is_none() {
                new.push(file.clone());
            }
            self.files.insert(file, seen.flatten());
        }
        let watching = self.watch_directories();
        // Not before they are watched, or a change in between would be missed.
        self.files
            .extend(new.into_iter().map(|file| (file.clone(), stamp(&file))));
        watching
    }

    /// Marks the files as known as they are now. To be called before they are read.
    pub(super) fn mark(&mut self) {
        self.files
            .iter_mut()
            .for_each(|(file, seen)| *seen = stamp(file));
    }

    /// Waits until the files have changed, and have then been quiet. They stay changed until they are marked as known.
    pub(super) async fn changed(&mut self) {
        loop {
            self.woken.notified().await;
            // Directories come and go, too.
            if let Err(error) = self.watch_directories() {
                tracing::warn!("some changes of files may be missed: {error}");
            }
            let mut now = self.stamps();
            loop {
                sleep(QUIET).await;
                let later = self.stamps();
                if later == now {
                    break;
                }
                now = later;
            }
            if !now.iter().eq(self.files.values()) {
                return;
            }
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files.keys().map(|file| stamp(file)).collect()
    }

    /// Watches the directories through which the files are found now.
    fn watch_directories(&mut self) -> notify::Result<()> {
        let mut result = Ok(());
        loop {
            let found = self
                .files
                .keys()
                .flat_map(|file| directories(file))
                .collect();
            // What changes between looking and watching would be missed: it is looked at again.
            if self.directories == found {
                return result;
            }
            let before = std::mem::replace(&mut self.directories, found);
            for (path, identity) in &before {
                if self.directories.get(path) != Some(identity) {
                    // Where the directory is gone, so is the watch.
                    let _gone = self.watcher.unwatch(path);
                }
            }
            for (path, identity) in &self.directories {
                if before.get(path) != Some(identity) {
                    result = result.and(self.watcher.watch(path, RecursiveMode::NonRecursive));
                }
            }
        }
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let data = file.metadata().ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.len(),
        data.mtime(),
        data.mtime_nsec(),
    ))
}

/// The directories to watch for a change of the file at this path: the one that the file is in, or the nearest that
/// exists, and those of the symbolic links on the way.
fn directories(file: &Path) -> Vec<(PathBuf, DirectoryId)> {
    let is_link = |path: &&Path| path.symlink_metadata().is_ok_and(|data| data.is_symlink());
    let links = file
        .ancestors()
        .filter(is_link)
        .filter_map(|link| directory(link.parent()?).ok());
    let target = file
        .canonicalize()
        .ok()
        .and_then(|target| directory(target.parent()?).ok());
    let nearest = file
        .ancestors()
        .skip(1)
        .find_map(|path| directory(path).ok());
    links.chain(target).chain(nearest).collect()
}

/// The directory by its canonical path: a directory that is watched under two names is watched once.
fn directory(path: &Path) -> io::Result<(PathBuf, DirectoryId)> {
    let path = path.canonicalize()?;
    let data = path.metadata()?;
    match data.is_dir() {
        true => Ok((path, (data.dev(), data.ino()))),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}
