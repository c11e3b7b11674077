//! What is asked of the guests, and what has to change for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::change::{Change, Coming};
use super::guests::{Asked, Base, Guests, Known, Slot};
use super::{Applied, ChangeError, DrainReport, GuestError};
use crate::config::{CanarySettings, ComponentSource, GuestSettings};
use crate::guest::{Digest, Engine, Loaded};

/// What of a guest has been compiled. What has not is known: it runs.
#[derive(Default)]
pub(super) struct Compiled {
    main: Option<Loaded>,
    canary: Option<Loaded>,
}

/// A guest as it is, when something is asked of it.
struct Current {
    base: Base,
    latest: u32,
    asked: Asked,
    /// What the version in service runs with, and its component.
    main: (GuestSettings, Digest),
    /// How the version on trial is tried, and its component.
    canary: Option<(CanarySettings, Digest)>,
}

impl Guests {
    /// Compiles a guest and brings it into service.
    pub(super) async fn load(
        &self,
        name: &str,
        settings: GuestSettings,
    ) -> Result<(), ChangeError> {
        self.load_all([(name.to_owned(), settings)].into(), BTreeMap::new())
            .await
    }

    /// Brings new guests into service. What has not been compiled of them is.
    pub(super) async fn load_all(
        &self,
        guests: BTreeMap<String, GuestSettings>,
        mut files: BTreeMap<String, Compiled>,
    ) -> Result<(), ChangeError> {
        let compiling = guests.into_iter().map(|(name, settings)| {
            let done = files.remove(&name).unwrap_or_default();
            async move {
                let compiled = self.compile_rest(&name, &settings, done).await?;
                Ok((name, settings, compiled))
            }
        });
        let all = async { join_all(compiling).await.into_iter().collect() };
        let all: Vec<(String, GuestSettings, Compiled)> = self.unless_stopping(all).await?;
        let _turn = self.turn().await?;
        let mut changes = Vec::new();
        for (name, settings, compiled) in all {
            if self.slots().contains_key(&name) {
                return Err(ChangeError::AlreadyLoaded { name });
            }
            changes.extend(come(&self.base(&name), 0, &settings, compiled));
        }
        self.carry_out(changes).await.map(drop)
    }

    /// Brings a new version of a guest into service, and ends the old one. Reports how that ended.
    pub(super) async fn replace(
        &self,
        name: &str,
        settings: GuestSettings,
    ) -> Result<DrainReport, ChangeError> {
        self.current(name)?;
        let compiling = self.compile_rest(name, &settings, Compiled::default());
        let compiled = self.unless_stopping(compiling).await?;
        let _turn = self.turn().await?;
        let Current { base, latest, .. } = self.current(name)?;
        self.carry_out(come(&base, latest, &settings, compiled))
            .await
    }

    /// Takes a guest out of service: what has arrived for it is handled first.
    pub(super) async fn unload(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let _turn = self.turn().await?;
        self.current(name)?;
        self.carry_out(vec![Change::GoOut(name.to_owned())]).await
    }

    /// Makes the guests be these, or changes nothing.
    pub(super) async fn apply(
        &self,
        wanted: BTreeMap<String, GuestSettings>,
    ) -> Result<Applied, ChangeError> {
        let _turn = self.turn().await?;
        let mut applied = Applied::default();
        let mut changes = Vec::new();
        for (name, settings) in &wanted {
            changes.extend(
                self.unless_stopping(self.plan(name, settings, &mut applied))
                    .await?,
            );
        }
        let gone: Vec<_> = self
            .slots()
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        changes.extend(gone.iter().cloned().map(Change::GoOut));
        applied.unloaded = gone;
        applied.problems = self.carry_out(changes).await?.into_problems();
        Ok(applied)
    }

    /// What has to change for one guest to be as wanted.
    async fn plan(
        &self,
        name: &str,
        wanted: &GuestSettings,
        applied: &mut Applied,
    ) -> Result<Vec<Change>, ChangeError> {
        let Ok(current) = self.current(name) else {
            applied.loaded.push(name.to_owned());
            let compiled = self.compile_rest(name, wanted, Compiled::default()).await?;
            return Ok(come(&self.base(name), 0, wanted, compiled));
        };
        if current.asked.settings == *wanted && self.is_unchanged(name, &current.asked).await? {
            // As it was asked for. A canary that has been promoted or taken out since stays so.
            return Ok(Vec::new());
        }
        let (settings, digest) = &current.main;
        let known = (*settings == wanted.in_service()).then_some(*digest);
        let main = self.compile(name, &wanted.component, known).await?;
        let Some(main) = main else {
            return self.plan_canary(name, wanted, current, applied).await;
        };
        applied.replaced.push(name.to_owned());
        let canary = self.compile_canary(name, wanted, None).await?;
        if !current.is_promotion(wanted, &main) {
            let compiled = Compiled {
                main: Some(main),
                canary,
            };
            return Ok(come(&current.base, current.latest, wanted, compiled));
        }
        let known = Known {
            main: Some(main.digest()),
            canary: canary.as_ref().map(Loaded::digest),
        };
        let asked = Asked {
            settings: wanted.clone(),
            known,
        };
        let mut changes = vec![Change::Promote(name.to_owned())];
        changes.extend(come_on_trial(&current.base, current.latest, &asked, canary));
        changes.push(Change::Note(name.to_owned(), Box::new(asked)));
        Ok(changes)
    }

    /// The same where the version in service stays.
    async fn plan_canary(
        &self,
        name: &str,
        wanted: &GuestSettings,
        current: Current,
        applied: &mut Applied,
    ) -> Result<Vec<Change>, ChangeError> {
        let running = current.canary.as_ref();
        let known = running.filter(|(settings, _)| wanted.canary.as_ref() == Some(settings));
        let known = known.map(|(_, digest)| *digest);
        let canary = self.compile_canary(name, wanted, known).await?;
        let ends = wanted.canary.is_none() && running.is_some();
        if ends || canary.is_some() {
            applied.canaries.push(name.to_owned());
        }
        let known = Known {
            main: Some(current.main.1),
            canary: canary.as_ref().map(Loaded::digest).or(known),
        };
        let asked = Asked {
            settings: wanted.clone(),
            known,
        };
        let mut changes = come_on_trial(&current.base, current.latest, &asked, canary);
        changes.extend(ends.then(|| Change::EndCanary(name.to_owned())));
        changes.push(Change::Note(name.to_owned(), Box::new(asked)));
        Ok(changes)
    }

    /// Whether what was asked for still has the same components.
    async fn is_unchanged(&self, name: &str, asked: &Asked) -> Result<bool, ChangeError> {
        let Asked { settings, known } = asked;
        let main = self.compile(name, &settings.component, known.main).await?;
        Ok(main.is_none()
            && self
                .compile_canary(name, settings, known.canary)
                .await?
                .is_none())
    }

    /// Compiles what has not been compiled of a guest.
    async fn compile_rest(
        &self,
        name: &str,
        settings: &GuestSettings,
        done: Compiled,
    ) -> Result<Compiled, ChangeError> {
        let main = match done.main {
            Some(main) => Some(main),
            None => self.compile(name, &settings.component, None).await?,
        };
        let canary = match done.canary {
            Some(canary) => Some(canary),
            None => self.compile_canary(name, settings, None).await?,
        };
        Ok(Compiled { main, canary })
    }

    /// None if there is none, or if it is known.
    async fn compile_canary(
        &self,
        name: &str,
        settings: &GuestSettings,
        known: Option<Digest>,
    ) -> Result<Option<Loaded>, ChangeError> {
        let Some(canary) = &settings.canary else {
            return Ok(None);
        };
        self.compile(name, &canary.component, known)
            .await
            .map_err(ChangeError::of_canary)
    }

    /// None if it is known.
    async fn compile(
        &self,
        name: &str,
        component: &ComponentSource,
        known: Option<Digest>,
    ) -> Result<Option<Loaded>, ChangeError> {
        let jetstream = self.surroundings.connection.jetstream();
        let loaded = Loaded::load(&self.engine, &jetstream, component, known).await;
        loaded.map_err(|error| ChangeError::guest(name, error.into()))
    }

    fn current(&self, name: &str) -> Result<Current, ChangeError> {
        let not_loaded = || ChangeError::NotLoaded {
            name: name.to_owned(),
        };
        self.slots()
            .get(name)
            .map(Current::from)
            .ok_or_else(not_loaded)
    }
}

impl From<&Slot> for Current {
    fn from(slot: &Slot) -> Self {
        let Slot {
            base,
            version,
            canary,
            latest,
            asked,
            ..
        } = slot;
        // One that has failed is on its way out.
        let canary = canary.as_ref().filter(|canary| !canary.trial.has_failed());
        Self {
            base: base.clone(),
            latest: *latest,
            asked: asked.clone(),
            main: (version.settings().clone(), version.digest()),
            canary: canary.map(|canary| (canary.settings.clone(), canary.version.digest())),
        }
    }
}

impl Current {
    /// Whether what is wanted in service is what is on trial.
    fn is_promotion(&self, wanted: &GuestSettings, main: &Loaded) -> bool {
        let on_trial = |(canary, digest): &(CanarySettings, Digest)| {
            self.main.0.on_trial(canary) == wanted.in_service() && *digest == main.digest()
        };
        self.canary.as_ref().is_some_and(on_trial)
    }
}

/// What it takes for a guest to come into service, with its canary. Its last version so far had that number.
fn come(base: &Base, latest: u32, settings: &GuestSettings, compiled: Compiled) -> Vec<Change> {
    let Compiled { main, canary } = compiled;
    let known = Known {
        main: main.as_ref().map(Loaded::digest),
        canary: canary.as_ref().map(Loaded::digest),
    };
    let asked = Asked {
        settings: settings.clone(),
        known,
    };
    let main = main.map(|loaded| Coming {
        base: base.clone(),
        number: latest + 1,
        settings: settings.in_service(),
        loaded,
        canary: None,
        asked: asked.clone(),
    });
    main.map(Change::from)
        .into_iter()
        .chain(come_on_trial(base, latest + 1, &asked, canary))
        .collect()
}

/// What it takes for a canary to come on trial, where there is one.
fn come_on_trial(base: &Base, latest: u32, asked: &Asked, canary: Option<Loaded>) -> Vec<Change> {
    let come = canary
        .zip(asked.settings.canary.clone())
        .map(|(loaded, canary)| Coming {
            base: base.clone(),
            number: latest + 1,
            settings: asked.settings.on_trial(&canary),
            loaded,
            canary: Some(canary),
            asked: asked.clone(),
        });
    come.map(Change::from).into_iter().collect()
}

/// Compiles the components that are files, all at once.
pub(super) async fn load_files(
    engine: &Arc<Engine>,
    guests: &BTreeMap<String, GuestSettings>,
) -> Result<BTreeMap<String, Compiled>, (String, GuestError)> {
    let loads = guests.iter().map(async |(name, settings)| {
        let canary = settings.canary.as_ref().map(|canary| &canary.component);
        let main = load_file(engine, Some(&settings.component)).await;
        let canary = load_file(engine, canary)
            .await
            .map_err(GuestError::of_canary);
        match (main, canary) {
            (Ok(main), Ok(canary)) => Ok((name.clone(), Compiled { main, canary })),
            (Err(error), _) | (_, Err(error)) => Err((name.clone(), error)),
        }
    });
    join_all(loads).await.into_iter().collect()
}

/// None if it is no file.
async fn load_file(
    engine: &Arc<Engine>,
    component: Option<&ComponentSource>,
) -> Result<Option<Loaded>, GuestError> {
    match component {
        Some(ComponentSource::File(path)) => Ok(Loaded::load_file(engine, path, None).await?),
        Some(ComponentSource::Object { .. }) | None => Ok(None),
    }
}
