//! Resolution: settings → the components that they name, fetched and compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;

use super::diff::{Desired, Digests, RunningGuest, Step, VersionRole};
use super::guest_context::HostContext;
use super::report::{ChangeError, GuestError};
use super::running_guests::RunningGuests;
use crate::component::{ComponentSource, Digest, Fetched, fetch, fetch_file};
use crate::config::GuestSettings;
use crate::guest::{CompiledComponent, Engine, LoadError};

/// Components that were compiled for a change. One that is not there runs already.
#[derive(Default)]
pub(super) struct Compiled(BTreeMap<Digest, CompiledComponent>);

/// The components of a configuration that are files, compiled before anything else is begun: what is wrong with them shows
/// before a connection is made.
#[derive(Default)]
pub(crate) struct CompiledFiles(BTreeMap<PathBuf, CompiledComponent>);

impl Compiled {
    fn add(&mut self, component: CompiledComponent) -> Digest {
        let digest = component.digest();
        self.0.insert(digest, component);
        digest
    }

    pub(super) fn get(&self, digest: Digest) -> Option<&CompiledComponent> {
        self.0.get(&digest)
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl CompiledFiles {
    /// Compiles the files that guests name, each once, all at the same time.
    ///
    /// # Errors
    /// The first guest whose component cannot be used, and why.
    pub(crate) async fn compile(
        engine: &Arc<Engine>,
        guests: &BTreeMap<String, GuestSettings>,
    ) -> Result<Self, (String, GuestError)> {
        let mut by_path: BTreeMap<&Path, (&String, bool)> = BTreeMap::new();
        for (name, settings) in guests {
            for (index, component) in settings.components().enumerate() {
                if let ComponentSource::File(path) = component {
                    by_path.entry(path).or_insert((name, index > 0));
                }
            }
        }
        let compiling = by_path.into_iter().map(async |(path, (name, is_canary))| {
            let compiled = async {
                match fetch_file(path, &[]).await? {
                    Fetched::New(digest, bytes) => {
                        CompiledComponent::compile(engine, &path.into(), digest, bytes).await
                    }
                    Fetched::Known(_) => unreachable!("nothing was known"),
                }
            };
            let compiled: Result<_, LoadError> = compiled.await;
            let failed = |error: LoadError| match GuestError::from(error) {
                error if is_canary => (name.clone(), error.of_canary()),
                error => (name.clone(), error),
            };
            Ok((path.to_owned(), compiled.map_err(failed)?))
        });
        let all: Result<_, (String, GuestError)> = join_all(compiling).await.into_iter().collect();
        Ok(Self(all?))
    }
}

/// A guest as it is asked to be, and what was compiled for it.
pub(super) struct Resolved {
    /// The settings, with the digests of the components that they name.
    pub(super) desired: Desired,
    /// Components that were compiled for the guest. Those whose digest was known are not among them.
    pub(super) compiled: Compiled,
}

impl RunningGuests {
    /// Resolves the components of a guest. Those that run, or were desired before, are not fetched again.
    ///
    /// # Errors
    /// A component cannot be fetched, or is no guest.
    pub(super) async fn resolve(
        &self,
        name: &str,
        settings: &GuestSettings,
        files: &CompiledFiles,
    ) -> Result<Resolved, ChangeError> {
        let known = self
            .running(name)
            .map_or_else(Vec::new, |running| known(&running));
        let mut compiled = Compiled::default();
        let mut resolve = async |source: &ComponentSource| {
            let found = resolve_one(self.context(), source, &known, files).await;
            let found = found.map_err(|error| ChangeError::guest(name, error.into()))?;
            Ok::<Digest, ChangeError>(match found {
                Found::Known(digest) => digest,
                Found::Compiled(component) => compiled.add(component),
            })
        };
        let main = resolve(&settings.component).await?;
        let canary = match &settings.canary {
            Some(canary) => Some(
                resolve(&canary.component)
                    .await
                    .map_err(ChangeError::of_canary)?,
            ),
            None => None,
        };
        let desired = Desired {
            settings: settings.clone(),
            digests: Digests { main, canary },
        };
        Ok(Resolved { desired, compiled })
    }

    /// Makes sure that the components of all new versions are at hand: most were compiled for the change, or run. What was
    /// known only because it had been desired before is fetched now. It may have changed since: then the new one counts.
    ///
    /// # Errors
    /// A component cannot be fetched, or is no guest.
    pub(super) async fn complete(
        &self,
        steps: &mut [Step],
        compiled: &mut Compiled,
    ) -> Result<(), ChangeError> {
        for step in steps {
            let Step::Start(new) = step else { continue };
            if compiled.get(new.digest).is_some() {
                continue;
            }
            let component = match self.component(&new.guest, new.digest) {
                Some(component) => component,
                None => {
                    self.fetch_anew(&new.guest, &new.settings.component, &new.role)
                        .await?
                }
            };
            new.digest = compiled.add(component);
            match new.role {
                VersionRole::InService => new.desired.digests.main = new.digest,
                VersionRole::Canary(_) => new.desired.digests.canary = Some(new.digest),
            }
        }
        Ok(())
    }

    async fn fetch_anew(
        &self,
        guest: &str,
        source: &ComponentSource,
        role: &VersionRole,
    ) -> Result<CompiledComponent, ChangeError> {
        let files = CompiledFiles::default();
        let found = resolve_one(self.context(), source, &[], &files).await;
        let found = found.map_err(|error| {
            let error = ChangeError::guest(guest, error.into());
            match role {
                VersionRole::InService => error,
                VersionRole::Canary(_) => error.of_canary(),
            }
        })?;
        match found {
            Found::Compiled(component) => Ok(component),
            Found::Known(_) => unreachable!("nothing was known"),
        }
    }
}

/// The digests that need not be fetched again for a guest.
fn known(running: &RunningGuest) -> Vec<Digest> {
    let Digests { main, canary } = running.desired.digests;
    let of_canary = running.canary.as_ref().map(|canary| canary.digest);
    [Some(running.digest), of_canary, Some(main), canary]
        .into_iter()
        .flatten()
        .collect()
}

/// A component as it was found.
enum Found {
    /// The component is one of those that were known.
    Known(Digest),
    Compiled(CompiledComponent),
}

async fn resolve_one(
    host: &HostContext,
    source: &ComponentSource,
    known: &[Digest],
    files: &CompiledFiles,
) -> Result<Found, LoadError> {
    if let ComponentSource::File(path) = source
        && let Some(component) = files.0.get(path)
    {
        return Ok(Found::Compiled(component.clone()));
    }
    Ok(
        match fetch(&host.connection.jetstream(), source, known).await? {
            Fetched::Known(digest) => Found::Known(digest),
            Fetched::New(digest, bytes) => {
                let engine = &host.engine;
                Found::Compiled(CompiledComponent::compile(engine, source, digest, bytes).await?)
            }
        },
    )
}
