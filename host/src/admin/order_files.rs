//! The files of the host that orders may name.

use std::path::{Path, PathBuf};

use crate::component::ComponentSource;
use crate::config::{AdminSettings, GuestSettings};

/// The directories that the host's configuration opens to orders. Whoever may give orders is no reader of the host's files.
#[derive(Debug, Clone)]
pub(super) struct OrderFiles {
    /// Directories from which orders may load components.
    components: Vec<PathBuf>,
    /// Directories that orders may grant.
    dirs: Vec<PathBuf>,
}

impl OrderFiles {
    pub(super) fn new(settings: &AdminSettings) -> Self {
        Self {
            components: settings.components.clone(),
            dirs: settings.dirs.clone(),
        }
    }

    /// Checks the files that a guest's settings name, and replaces their paths by what they lead to: a link that is changed
    /// afterwards leads nowhere else. May wait for a disk.
    ///
    /// # Errors
    /// Says which of them an order may not name.
    pub(super) fn confine(&self, settings: &mut GuestSettings) -> Result<(), String> {
        let canary = settings.canary.as_mut();
        let components = std::iter::once(&mut settings.component)
            .chain(canary.map(|canary| &mut canary.component));
        for component in components {
            if let ComponentSource::File(path) = component {
                *path = within(path, &self.components, "load components", "components")?;
            }
        }
        for grant in &mut settings.dirs {
            grant.host = within(&grant.host, &self.dirs, "grant directories", "dirs")?;
        }
        Ok(())
    }
}

/// The path without links, if it is in one of these directories. Says of a path elsewhere nothing but that: not whether
/// there is such a file.
fn within(path: &Path, allowed: &[PathBuf], what: &str, key: &str) -> Result<PathBuf, String> {
    let resolved = path.canonicalize();
    let place = match &resolved {
        Ok(resolved) => Ok(resolved.clone()),
        Err(_) => path.parent().unwrap_or(path).canonicalize(),
    };
    let is_in = |directory: &PathBuf| match (&place, directory.canonicalize()) {
        (Ok(place), Ok(directory)) => place.starts_with(directory),
        _ => false,
    };
    let path = path.display();
    if !allowed.iter().any(is_in) {
        return Err(format!(
            "orders {what} of the host from `[admin] {key}` of its configuration only, and {path} is not there"
        ));
    }
    resolved.map_err(|error| format!("cannot read {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CanarySettings, DirectoryAccess, DirectoryGrant};

    #[test]
    fn nothing_leads_out_of_what_the_configuration_opens() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("wharf-order-files-{}", std::process::id()));
        let (open, closed) = (root.join("open"), root.join("closed"));
        std::fs::create_dir_all(&open)?;
        std::fs::create_dir_all(&closed)?;
        for directory in [&open, &closed] {
            std::fs::write(directory.join("a.wasm"), "")?;
        }
        std::os::unix::fs::symlink(closed.join("a.wasm"), open.join("link.wasm"))?;
        let files = OrderFiles {
            components: vec![open.clone()],
            dirs: vec![open.clone()],
        };
        let load = |component: PathBuf| files.confine(&mut GuestSettings::new(component));
        assert_eq!(load(open.join("a.wasm")), Ok(()));
        assert_eq!(load(open.join("../open/a.wasm")), Ok(()));
        let missing = load(open.join("b.wasm")).expect_err("it is not there");
        assert!(missing.contains("cannot read"), "{missing}");
        for out in [
            "../closed/a.wasm",
            "link.wasm",
            "../closed/none.wasm",
            "../..",
        ] {
            let refused = load(open.join(out)).expect_err(out);
            assert!(refused.contains("[admin] components"), "{refused}");
        }
        let mut settings = GuestSettings::new(open.join("a.wasm"));
        settings.canary = Some(CanarySettings::new(closed.join("a.wasm")));
        assert!(files.confine(&mut settings).is_err(), "its canary, too");
        settings.canary = None;
        let grant = |host: PathBuf| DirectoryGrant::new(host, "/d", DirectoryAccess::Read);
        settings.dirs = vec![grant(open.clone())];
        assert_eq!(files.confine(&mut settings), Ok(()));
        for out in [closed, root.clone(), PathBuf::from("/")] {
            settings.dirs = vec![grant(out)];
            let refused = files.confine(&mut settings).expect_err("it is not opened");
            assert!(refused.contains("[admin] dirs"), "{refused}");
        }
        std::fs::remove_dir_all(root)
    }
}
