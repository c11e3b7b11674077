//! The cache of compiled components: machine code, which is run as it is found. So nobody else may write there, nor replace
//! a directory on the way there.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use wasmtime::{Cache, CacheConfig};

use crate::config::HostSettings;

/// The bits of a mode by which a group, or everybody, may write.
const OTHERS_WRITE: u32 = 0o022;
/// The bit of a mode by which only its owner, and that of the directory, may rename or remove what is in a directory.
const STICKY: u32 = 0o1000;
/// The user who may do anything anyway.
const ROOT: u32 = 0;

/// Opens the cache in this directory, in the user's cache directory if `None`. Without a cache a start takes longer, and
/// nothing else: what is wrong with it is said and not fatal.
pub(super) fn compile_cache(directory: Option<&Path>) -> Option<Cache> {
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => HostSettings::default().cache_dir()?,
    };
    let opened = private_directory(&directory).and_then(|directory| {
        let mut config = CacheConfig::new();
        config.with_directory(directory);
        Cache::new(config)
    });
    opened
        .inspect_err(|error| {
            tracing::warn!(
                "compiled components are not kept: cache {}: {error:#}",
                directory.display()
            );
        })
        .ok()
}

/// Makes and checks a directory that only we can write, with all directories on the way there. Returns its path without links.
fn private_directory(directory: &Path) -> wasmtime::Result<PathBuf> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let directory = directory.canonicalize()?;
    let us = rustix::process::geteuid().as_raw();
    let metadata = directory.metadata()?;
    if metadata.uid() != us || metadata.mode() & OTHERS_WRITE != 0 {
        wasmtime::bail!(
            "others may write there; it takes a directory that is only ours (mode 0700)"
        );
    }
    let mut owner_below = metadata.uid();
    for ancestor in directory.ancestors().skip(1) {
        let metadata = ancestor.metadata()?;
        if !keeps(metadata.uid(), metadata.mode(), owner_below, us) {
            wasmtime::bail!(
                "others may put another directory in its place: they may write to {}; it takes one that is ours or root's \
                 and that nobody else may write to, or that is sticky",
                ancestor.display()
            );
        }
        owner_below = metadata.uid();
    }
    Ok(directory)
}

/// Whether nobody but us and root can replace an entry of a directory by something else: the rule of ssh for the files that
/// it trusts, and sticky directories besides, whose entries are their owners'.
fn keeps(owner: u32, mode: u32, owner_of_entry: u32, us: u32) -> bool {
    let is_trusted = |uid: u32| uid == us || uid == ROOT;
    is_trusted(owner)
        && (mode & OTHERS_WRITE == 0 || (mode & STICKY != 0 && is_trusted(owner_of_entry)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_may_write_to_the_cache_or_to_a_directory_on_the_way_there()
    -> wasmtime::Result<()> {
        let root = std::env::temp_dir().join(format!("wharf-cache-{}", std::process::id()));
        let (middle, cache) = (root.join("middle"), root.join("middle/inner/cache"));
        let made = private_directory(&cache)?;
        assert_eq!(made, cache.canonicalize()?);
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        };
        for (path, mode, words) in [
            (&cache, 0o770, "only ours"),
            (&cache, 0o702, "only ours"),
            (&cache, 0o1777, "only ours"),
            (&middle, 0o770, "another directory in its place"),
            (&middle, 0o707, "another directory in its place"),
            (&root, 0o775, "another directory in its place"),
        ] {
            set(path, mode)?;
            let refused = private_directory(&cache).expect_err("others may write");
            assert!(refused.to_string().contains(words), "{mode:o}: {refused}");
            set(path, 0o755)?;
            private_directory(&cache)?;
        }
        set(&middle, 0o1777)?;
        private_directory(&cache)?;
        // By a link it is the place that counts.
        set(&middle, 0o777)?;
        let link = root.join("link");
        std::os::unix::fs::symlink(&cache, &link)?;
        assert!(private_directory(&link).is_err());
        std::fs::remove_dir_all(root)?;
        Ok(())
    }

    #[test]
    fn a_directory_keeps_its_entries_if_its_owner_is_trusted_and_others_cannot_rename_them() {
        const US: u32 = 1000;
        const OTHER: u32 = 1001;
        for (owner, mode, owner_of_entry) in [
            (US, 0o755, OTHER),
            (ROOT, 0o755, US),
            (ROOT, 0o1777, US),
            (US, 0o1775, ROOT),
        ] {
            assert!(keeps(owner, mode, owner_of_entry, US), "{owner} {mode:o}");
        }
        for (owner, mode, owner_of_entry) in [
            (OTHER, 0o755, US),
            (OTHER, 0o1777, US),
            (ROOT, 0o777, US),
            (US, 0o720, US),
            (US, 0o702, US),
            (ROOT, 0o1777, OTHER),
        ] {
            assert!(!keeps(owner, mode, owner_of_entry, US), "{owner} {mode:o}");
        }
    }
}
