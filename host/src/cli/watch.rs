//! Follows the files that a host is run from: says when they have changed and are quiet again.
//!
//! Editors and builds replace files, deployments turn symbolic links: what is watched are the directories, and what counts
//! is whether a file is another one than before.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::sleep;

/// A file that has not changed for this long is written: builds write a component in several goes.
const QUIET: Duration = Duration::from_millis(200);

/// What tells one content of a file from another without reading it: device, inode, size, and when it was changed.
type Stamp = (u64, u64, u64, i64, i64);

/// A directory as it is now. One that was removed and made again has to be watched again.
type Identity = (u64, u64);

/// Files, and how they were when they were read last.
pub(super) struct Files {
    watcher: RecommendedWatcher,
    /// Something has happened in a directory. Holds one wake-up, however much happens.
    woken: Arc<Notify>,
    files: BTreeMap<PathBuf, Option<Stamp>>,
    directories: BTreeMap<PathBuf, Identity>,
}

impl Files {
    /// Begins to follow these.
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

    /// Follows these from now on, and no others. To be called before they are read: what changes later is noticed.
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

    /// Takes the files as they are now for known. To be called before they are read.
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

/// The directories in which something happens when this path comes to lead to another file: the one that the file is in,
/// or the nearest that there is, and those of the symbolic links on the way.
fn directories(file: &Path) -> Vec<(PathBuf, Identity)> {
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

/// The directory under the one name that it has without links: watching it under two would watch it once.
fn directory(path: &Path) -> io::Result<(PathBuf, Identity)> {
    let path = path.canonicalize()?;
    let data = path.metadata()?;
    match data.is_dir() {
        true => Ok((path, (data.dev(), data.ino()))),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}
