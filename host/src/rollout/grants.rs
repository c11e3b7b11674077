//! Directories of guests: opened before a version starts, and kept apart from the components that any guest runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::diff::NewVersion;
use super::report::GuestError;
use super::running_guests::RunningGuests;
use crate::component::ComponentSource;
use crate::config::{GuestSettings, ProtectedPaths};
use crate::imports::{GrantError, GrantedDir};

/// The time in which the directories of a guest must be open. A disk that does not answer must not hold up all changes.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The files and directories that guests name, once a change is made.
#[derive(Debug, Default)]
pub(super) struct NamedPaths {
    /// Components, each with the name of a guest that runs it.
    components: Vec<(String, ComponentSource)>,
    /// Directories, each with the name of a guest that has it.
    dirs: Vec<(String, PathBuf)>,
}

impl NamedPaths {
    fn add(&mut self, guest: &str, settings: &GuestSettings) {
        let named = |component: &ComponentSource| (guest.to_owned(), component.clone());
        self.components.extend(settings.components().map(named));
        let dirs = settings.dirs.iter();
        self.dirs
            .extend(dirs.map(|grant| (guest.to_owned(), grant.host.clone())));
    }
}

impl RunningGuests {
    /// The paths that guests name, those of new versions included.
    pub(super) fn named_paths(&self, starts: &[NewVersion]) -> Arc<NamedPaths> {
        let mut named = NamedPaths::default();
        for (name, deployment) in self.deployments().iter() {
            let running = deployment.running();
            named.add(name, &running.settings);
            named.add(name, &running.desired.settings);
        }
        for new in starts {
            named.add(&new.guest, &new.settings);
        }
        Arc::new(named)
    }

    /// Opens the directories of a new version.
    ///
    /// # Errors
    /// One of them cannot be opened, or is none that a guest may have; or the version's component is in a directory of
    /// another guest.
    pub(super) async fn open_dirs(
        &self,
        guest: &str,
        settings: &GuestSettings,
        named: &Arc<NamedPaths>,
    ) -> Result<Vec<GrantedDir>, GuestError> {
        let Some((_, first)) = named.dirs.first() else {
            return Ok(Vec::new());
        };
        let first = settings
            .dirs
            .first()
            .map_or_else(|| first.clone(), |grant| grant.host.clone());
        let (guest, settings, named) = (guest.to_owned(), settings.clone(), Arc::clone(named));
        let mut protected = self.context().protected.clone();
        let opening = tokio::task::spawn_blocking(move || {
            for (owner, component) in &named.components {
                protected.add_component(owner, component);
            }
            let opened: Result<Vec<_>, GrantError> = settings
                .dirs
                .iter()
                .map(|grant| GrantedDir::open(grant, &protected))
                .collect();
            let opened = opened?;
            check_component(&guest, &settings, &named)?;
            Ok(opened)
        });
        match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(failed)) => Err(GrantError::new(first, failed.to_string()).into()),
            Err(_elapsed) => {
                let waited = humantime::format_duration(OPEN_TIMEOUT);
                let why = format!(
                    "its disk, or that of another directory, does not answer within {waited}"
                );
                Err(GrantError::new(first, why).into())
            }
        }
    }
}

/// Checks that no directory that a guest has contains the component of this one.
fn check_component(
    guest: &str,
    settings: &GuestSettings,
    named: &NamedPaths,
) -> Result<(), GuestError> {
    let mut own = ProtectedPaths::default();
    own.add_component(guest, &settings.component);
    for (owner, directory) in &named.dirs {
        // Where it has gone there is nothing to be found in it.
        let Ok(canonical) = directory.canonicalize() else {
            continue;
        };
        if own.check(&canonical).is_err() {
            return Err(GuestError::ComponentInDirectory {
                component: settings.component.clone(),
                directory: directory.clone(),
                guest: owner.clone(),
            });
        }
    }
    Ok(())
}
