//! Paths that no guest may have: what the host itself reads, runs or keeps.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::connection_settings::{Auth, ConnectionSettings};
use super::host_settings::HostSettings;
use crate::component::ComponentSource;

/// A device, and the number of a file or directory there.
type Id = (u64, u64);

/// A file or directory with all that it is in, as they are on the disk: what is mounted twice has two names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The path, with as many links resolved as exist.
    path: PathBuf,
    /// What is there. None if nothing is.
    id: Option<Id>,
    /// What is there, and the directories on the way there.
    with_ancestors: Vec<Id>,
}

impl Place {
    /// Looks a path up, which need not lead anywhere. May wait for a disk.
    pub(crate) fn of(path: &Path) -> Self {
        let path = resolved(path);
        let id = |path: &Path| {
            let metadata = path.metadata().ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        Self {
            id: id(&path),
            with_ancestors: path.ancestors().filter_map(id).collect(),
            path,
        }
    }

    /// What is there. None if nothing is.
    pub(crate) fn id(&self) -> Option<(u64, u64)> {
        self.id
    }

    /// Whether the other place is this one, or below it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        let by_id = self.id.is_some_and(|id| other.with_ancestors.contains(&id));
        by_id || other.path.starts_with(&self.path)
    }
}

/// A file or directory of the host's own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProtectedPath {
    /// The words for it in a refusal: `the compile cache`.
    name: String,
    /// The place of it.
    place: Place,
}

/// Files and directories of the host's own. A directory that contains one, or lies in one, is no guest's: with it the guest
/// could read the host's secrets, or change what the host runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProtectedPaths(Vec<ProtectedPath>);

impl ProtectedPaths {
    /// The files that settings were read from, the secrets that they name, the compile cache, and the data directory of a
    /// nats-server of our own, if there is one.
    pub(crate) fn new(
        files: &[PathBuf],
        host: &HostSettings,
        nats: &ConnectionSettings,
        own_server: Option<&Path>,
    ) -> Self {
        let mut protected = Self::default();
        for file in files {
            protected.add("the configuration file", file);
        }
        match &nats.auth {
            Auth::Credentials(file) | Auth::NkeyFile(file) => {
                protected.add("the host's credentials", file);
            }
            Auth::None | Auth::Token(_) | Auth::UserPassword { .. } => {}
        }
        if let Some(key) = &nats.tls.key {
            protected.add("the host's TLS key", key);
        }
        if let Some(cache) = host.cache_dir() {
            protected.add("the compile cache", &cache);
        }
        if let Some(data) = own_server {
            protected.add("the data directory of the host's nats-server", data);
        }
        protected
    }

    /// Adds the component of a guest, if it is a file. May wait for a disk.
    pub(crate) fn add_component(&mut self, guest: &str, component: &ComponentSource) {
        if let ComponentSource::File(path) = component
            && !path.as_os_str().is_empty()
        {
            self.add(&format!("the component of guest {guest:?}"), path);
        }
    }

    fn add(&mut self, name: &str, path: &Path) {
        self.0.push(ProtectedPath {
            name: name.to_owned(),
            place: Place::of(path),
        });
    }

    /// Checks a directory that is to be a guest's.
    ///
    /// # Errors
    /// Says what the directory contains, or lies in: a sentence that begins with the directory.
    pub(crate) fn check(&self, directory: &Place) -> Result<(), String> {
        for ProtectedPath { name, place } in &self.0 {
            let relation = match () {
                () if directory.contains(place) => "contains",
                () if place.contains(directory) => "lies in",
                () => continue,
            };
            return Err(format!(
                "{relation} {name}, {}, which no guest may have",
                place.path.display()
            ));
        }
        Ok(())
    }
}

/// A path as far as it exists without links, and the rest as it is written.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in absolute.ancestors() {
        if let Ok(canonical) = existing.canonicalize() {
            return match absolute.strip_prefix(existing) {
                Ok(rest) if !rest.as_os_str().is_empty() => canonical.join(rest),
                _ => canonical,
            };
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_directory_with_or_within_what_is_the_hosts_own_is_a_guests() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("wharf-protected-{}", std::process::id()));
        for directory in ["etc", "cache/wharf/deep", "parts", "open/deep"] {
            std::fs::create_dir_all(root.join(directory))?;
        }
        std::fs::write(root.join("etc/wharf.toml"), "")?;
        std::fs::write(root.join("parts/a.wasm"), "")?;
        std::os::unix::fs::symlink(root.join("etc"), root.join("link"))?;
        let host = HostSettings {
            cache: Some(root.join("cache/wharf")),
            ..HostSettings::default()
        };
        let data = root.join("data/not/there");
        let mut protected = ProtectedPaths::new(
            &[root.join("link/wharf.toml")],
            &host,
            &ConnectionSettings::default(),
            Some(&data),
        );
        protected.add_component("a", &root.join("parts/a.wasm").into());
        for (directory, why) in [
            ("etc", "contains the configuration file"),
            ("", "contains the configuration file"),
            ("cache", "contains the compile cache"),
            ("cache/wharf", "contains the compile cache"),
            ("cache/wharf/deep", "lies in the compile cache"),
            ("parts", "contains the component of guest \"a\""),
            ("data", "contains the data directory"),
            ("data/not/there/jetstream", "lies in the data directory"),
        ] {
            let refused = protected.check(&Place::of(&root.join(directory)));
            let said = refused.expect_err(directory);
            assert!(said.starts_with(why), "{directory}: {said}");
        }
        for directory in ["open", "open/deep", "data/not/other", "cache/other"] {
            assert_eq!(protected.check(&Place::of(&root.join(directory))), Ok(()));
        }
        std::fs::remove_dir_all(root)
    }
}
