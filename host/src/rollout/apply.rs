//! Requests to change guests: load, replace, unload, and make the guests be these.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::diff::{DiffKind, Step, diff, steps_for_load};
use super::report::{Applied, ChangeError, DrainReport};
use super::resolve::{Compiled, CompiledFiles, Resolved};
use super::running_guests::RunningGuests;
use crate::config::GuestSettings;

impl RunningGuests {
    /// Brings a new guest into service.
    pub(crate) async fn load(
        &self,
        name: &str,
        settings: GuestSettings,
    ) -> Result<(), ChangeError> {
        let guests = [(name.to_owned(), settings)].into();
        self.load_all(guests, &CompiledFiles::default()).await
    }

    /// Brings new guests into service, all of them or none. Components that are among these files are compiled already.
    pub(crate) async fn load_all(
        &self,
        guests: BTreeMap<String, GuestSettings>,
        files: &CompiledFiles,
    ) -> Result<(), ChangeError> {
        let resolving = guests.iter().map(async |(name, settings)| {
            let resolved = self.resolve(name, settings, files).await?;
            Ok((name, resolved))
        });
        let all = async { join_all(resolving).await.into_iter().collect() };
        let all: Vec<(&String, Resolved)> = self.unless_stopping(all).await?;
        let _turn = self.turn().await?;
        let mut steps = Vec::new();
        let mut compiled = Compiled::default();
        for (name, resolved) in all {
            if self.deployments().contains_key(name) {
                let name = name.clone();
                return Err(ChangeError::AlreadyLoaded { name });
            }
            steps.extend(steps_for_load(name, 0, &resolved.desired));
            compiled.extend(resolved.compiled);
        }
        self.carry_out(steps, compiled).await.map(drop)
    }

    /// Brings a new version of a guest into service, and ends the old one. Reports how that ended.
    pub(crate) async fn replace(
        &self,
        name: &str,
        settings: GuestSettings,
    ) -> Result<DrainReport, ChangeError> {
        self.with(name, |_| ())?;
        let files = CompiledFiles::default();
        let resolving = self.resolve(name, &settings, &files);
        let Resolved { desired, compiled } = self.unless_stopping(resolving).await?;
        let _turn = self.turn().await?;
        let latest = self.with(name, |guest| guest.running().latest_version)?;
        let steps = steps_for_load(name, latest, &desired);
        self.carry_out(steps, compiled).await
    }

    /// Takes a guest out of service: what has arrived for it is handled first.
    pub(crate) async fn unload(&self, name: &str) -> Result<DrainReport, ChangeError> {
        let _turn = self.turn().await?;
        self.with(name, |_| ())?;
        let guest = name.to_owned();
        self.carry_out(vec![Step::Unload { guest }], Compiled::default())
            .await
    }

    /// Makes the guests be these, or changes nothing.
    pub(crate) async fn apply(
        &self,
        wanted: BTreeMap<String, GuestSettings>,
    ) -> Result<Applied, ChangeError> {
        let files = CompiledFiles::default();
        // Whoever waits for the turn meanwhile does not wait for a compiler.
        let mut all = Vec::new();
        for (name, settings) in &wanted {
            let resolving = self.resolve(name, settings, &files);
            all.push((name, self.unless_stopping(resolving).await?));
        }
        let _turn = self.turn().await?;
        let mut applied = Applied::default();
        let mut steps = Vec::new();
        let mut compiled = Compiled::default();
        for (name, resolved) in all {
            let running = self.running(name);
            let found = diff(name, &resolved.desired, running.as_ref());
            applied.note(name, found.kind);
            steps.extend(found.steps);
            compiled.extend(resolved.compiled);
        }
        let gone = |name: &&String| !wanted.contains_key(*name);
        let gone: Vec<String> = self.deployments().keys().filter(gone).cloned().collect();
        steps.extend(gone.iter().cloned().map(|guest| Step::Unload { guest }));
        applied.unloaded = gone;
        applied.problems = self.carry_out(steps, compiled).await?.into_problems();
        Ok(applied)
    }
}

impl Applied {
    fn note(&mut self, name: &str, kind: DiffKind) {
        let list = match kind {
            DiffKind::Unchanged => return,
            DiffKind::Loaded => &mut self.loaded,
            DiffKind::Replaced => &mut self.replaced,
            DiffKind::CanaryOnly => &mut self.canaries,
        };
        list.push(name.to_owned());
    }
}
