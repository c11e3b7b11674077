//! Directories of guests: opened before any new version starts, and kept apart from the components that any guest runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::diff::NewVersion;
use super::report::{ChangeError, GuestError};
use super::running_guests::RunningGuests;
use crate::component::ComponentSource;
use crate::config::{DirectoryGrant, GuestSettings, Place, ProtectedPaths};
use crate::imports::{GrantError, GrantedDir};

/// The time in which the directories of all new versions must be open. A disk that does not answer must not hold up all
/// changes.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The files and directories that guests name, once a change is made. Each is looked up once for all guests.
#[derive(Debug, Default)]
struct NamedPaths {
    /// Components that are files, each with the name of a guest that runs it.
    components: BTreeMap<PathBuf, String>,
    /// Directories, each with the name of a guest that has it.
    dirs: BTreeMap<PathBuf, String>,
}

/// What of a new version is about files.
struct NewFiles {
    /// The guest's name.
    guest: String,
    /// The version's component.
    component: ComponentSource,
    /// The directories that it is granted.
    grants: Vec<DirectoryGrant>,
}

impl NamedPaths {
    fn add(&mut self, guest: &str, settings: &GuestSettings) {
        for component in settings.components() {
            if let ComponentSource::File(path) = component {
                let owner = || guest.to_owned();
                self.components.entry(path.clone()).or_insert_with(owner);
            }
        }
        for grant in &settings.dirs {
            let owner = || guest.to_owned();
            self.dirs.entry(grant.host.clone()).or_insert_with(owner);
        }
    }
}

impl RunningGuests {
    /// Opens the directories of new versions, in their order.
    ///
    /// # Errors
    /// One of them cannot be opened, or is none that a guest may have; or a version's component is in a directory of a
    /// guest.
    pub(super) async fn open_dirs(
        &self,
        starts: &[NewVersion],
    ) -> Result<Vec<Vec<GrantedDir>>, ChangeError> {
        let named = self.named_paths(starts);
        let Some((some_directory, owner)) = named.dirs.first_key_value() else {
            return Ok(starts.iter().map(|_| Vec::new()).collect());
        };
        let (some_directory, owner) = (some_directory.clone(), owner.clone());
        let failed = |why: String| {
            let error = GrantError::new(some_directory, why);
            ChangeError::guest(&owner, error.into())
        };
        let protected = self.context().protected.clone();
        let new: Vec<NewFiles> = starts.iter().map(NewFiles::of).collect();
        let opening = tokio::task::spawn_blocking(move || open_all(&new, &named, protected));
        match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(panicked)) => Err(failed(panicked.to_string())),
            Err(_elapsed) => {
                let waited = humantime::format_duration(OPEN_TIMEOUT);
                Err(failed(format!(
                    "its disk, or that of another directory, does not answer within {waited}"
                )))
            }
        }
    }

    /// The paths that guests name, those of new versions included.
    fn named_paths(&self, starts: &[NewVersion]) -> NamedPaths {
        let mut named = NamedPaths::default();
        for (name, deployment) in self.deployments().iter() {
            let running = deployment.running();
            named.add(name, &running.settings);
            named.add(name, &running.desired.settings);
        }
        for new in starts {
            named.add(&new.guest, &new.settings);
        }
        named
    }
}

impl NewFiles {
    fn of(new: &NewVersion) -> Self {
        Self {
            guest: new.guest.clone(),
            component: new.settings.component.clone(),
            grants: new.settings.dirs.clone(),
        }
    }
}

/// Opens all directories, and looks where components are. Waits for disks.
fn open_all(
    new: &[NewFiles],
    named: &NamedPaths,
    mut protected: ProtectedPaths,
) -> Result<Vec<Vec<GrantedDir>>, ChangeError> {
    for (path, guest) in &named.components {
        protected.add_component(guest, &path.as_path().into());
    }
    let dirs: Vec<(Place, &PathBuf, &String)> = named
        .dirs
        .iter()
        .map(|(path, guest)| (Place::of(path), path, guest))
        .collect();
    new.iter()
        .map(|version| {
            let failed = |error| ChangeError::guest(&version.guest, error);
            let grants = version.grants.iter();
            let opened: Result<Vec<_>, GrantError> = grants
                .map(|grant| GrantedDir::open(grant, &protected))
                .collect();
            let opened = opened.map_err(|error| failed(error.into()))?;
            check_component(&version.component, &dirs).map_err(failed)?;
            Ok(opened)
        })
        .collect()
}

/// Checks that no directory that a guest has contains this component.
fn check_component(
    component: &ComponentSource,
    dirs: &[(Place, &PathBuf, &String)],
) -> Result<(), GuestError> {
    let ComponentSource::File(path) = component else {
        return Ok(());
    };
    let place = Place::of(path);
    let found = dirs
        .iter()
        .find(|(directory, ..)| directory.contains(&place));
    match found {
        None => Ok(()),
        Some((_, directory, guest)) => Err(GuestError::ComponentInDirectory {
            component: component.clone(),
            directory: directory.to_path_buf(),
            guest: (*guest).clone(),
        }),
    }
}
