//! Reloading: a running host follows its settings and components.

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wharf::config::{ComponentSource, Config, ConfigErrors, GuestSettings, Locations};
use wharf::{Applied, ComponentChanges, Host};

use super::args::RunArgs;
use super::exit::Failure;
use super::output::Console;
use super::watch::FileWatcher;
use super::{check, sources};

const NOTHING_TO_RUN: &str =
    "nothing to run: there is no wharf.toml here, and no component is named. Write a wharf.toml:

    [guests.hello]
    component = \"hello.wasm\"
    subscribe = [\"hello.*\"]

or name a component: wharf run hello.wasm --subscribe 'hello.*'";

/// Sources of a host's settings, read at the start and at each reload.
struct SettingsOrigin {
    /// The arguments of `wharf run`.
    args: RunArgs,
    /// The configuration file; `None` where one component is run without.
    file: Option<PathBuf>,
}

impl SettingsOrigin {
    fn new(args: RunArgs) -> Result<Self, Failure> {
        let file = match args.component {
            Some(_) => None,
            None => Some(
                sources::config_file(&args.sources)
                    .ok_or_else(|| Failure::usage(NOTHING_TO_RUN))?,
            ),
        };
        Ok(Self { args, file })
    }

    fn read(&self) -> Result<(Config, Locations), Failure> {
        let (mut config, locations) = sources::load(self.file.clone(), &self.args.sources)?;
        if let Some(component) = &self.args.component {
            config
                .guests
                .extend([sources::guest(component, self.args.guest.clone())]);
        }
        match &self.file {
            Some(file) if config.guests.is_empty() => Err(Failure::usage(format!(
                "nothing to run: {} has no [guests.NAME]",
                file.display()
            ))),
            _ => Ok((config, locations)),
        }
    }

    /// The files that hold settings.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.file.iter().chain(&self.args.sources.settings).cloned()
    }
}

/// Reloads a host's settings: on a signal and, with `--watch`, when files or pushed components change.
pub(super) struct Reloader {
    /// Sources of the settings.
    origin: SettingsOrigin,
    /// The files of the settings and the components, with `--watch`.
    files: Option<FileWatcher>,
    /// Settings at the host's start, to find changes that need a restart.
    started: Config,
    /// The output.
    console: Console,
}

impl Reloader {
    /// Reads the settings for the first time.
    ///
    /// # Errors
    /// If they cannot be used, there is nothing to run, or files cannot be followed.
    pub(super) fn read(args: RunArgs, console: Console) -> Result<Self, Failure> {
        let watch = args.watch;
        let origin = SettingsOrigin::new(args)?;
        let files = match watch {
            true => Some(FileWatcher::follow(origin.files()).context("cannot follow the files")?),
            false => None,
        };
        let (started, _) = origin.read()?;
        let mut reloader = Self {
            origin,
            files,
            started,
            console,
        };
        let config = reloader.started.clone();
        reloader
            .follow_components(&config)
            .context("cannot follow the components' files")?;
        Ok(reloader)
    }

    /// The settings to start the host with.
    pub(super) fn config(&self) -> &Config {
        &self.started
    }

    /// Reloads whenever there is a reason to. Dropped during a change, it leaves the change to the host, which makes it
    /// or gives it up.
    pub(super) async fn run(mut self, host: &Host, mut signal: ReloadSignal) -> Infallible {
        let mut objects = self.files.as_ref().map(|_| host.component_changes());
        loop {
            let reason = tokio::select! {
                () = signal.next() => "SIGHUP".to_owned(),
                () = changed(self.files.as_mut()) => "files have changed".to_owned(),
                guest = pushed(objects.as_mut()) => format!("guest {guest:?} has a new version"),
            };
            self.console
                .status(&format!("{reason}: reading the settings again"));
            match self.apply(host).await {
                Ok((applied, restart)) => self.report(&applied, &restart),
                Err(failure) => {
                    self.console.report(&failure);
                    self.console
                        .status("not reloaded: the guests stay as they are");
                }
            }
        }
    }

    /// Applies the settings as they are now, all or nothing. Returns the changes, and the sections that need a restart.
    async fn apply(&mut self, host: &Host) -> Result<(Applied, Vec<&'static str>), Failure> {
        if let Some(files) = &mut self.files {
            files.mark();
        }
        let (config, locations) = self.origin.read()?;
        if let Err(error) = self.follow_components(&config) {
            self.console
                .status(&format!("some changes of files may be missed: {error}"));
        }
        match host.apply(config.guests.clone()).await {
            Ok(applied) => Ok((applied, self.outside_guests(&config))),
            Err(error) => Err(explain(config, locations, error.into()).await),
        }
    }

    fn follow_components(&mut self, config: &Config) -> notify::Result<()> {
        let Some(files) = &mut self.files else {
            return Ok(());
        };
        let named = config.guests.values().flat_map(GuestSettings::components);
        let components = named.filter_map(|component| match component {
            ComponentSource::File(path) => Some(path.clone()),
            ComponentSource::Object { .. } => None,
        });
        files.set(self.origin.files().chain(components))
    }

    /// Sections outside of guests that have changed since the start.
    fn outside_guests(&self, now: &Config) -> Vec<&'static str> {
        let then = &self.started;
        let changes = [
            ("[nats]", then.nats != now.nats),
            ("[host]", then.host != now.host),
            ("[admin]", then.admin != now.admin),
            ("[http]", then.http != now.http),
            ("[otlp]", then.otlp != now.otlp),
            ("[buckets]", then.buckets != now.buckets),
        ];
        changes
            .into_iter()
            .filter_map(|(name, changed)| changed.then_some(name))
            .collect()
    }

    fn report(&self, applied: &Applied, restart: &[&str]) {
        applied
            .problems
            .iter()
            .for_each(|problem| self.console.status(&format!("while reloading: {problem}")));
        self.console
            .status(&format!("reloaded: {}", describe(applied)));
        if !restart.is_empty() {
            let sections = restart.join(", ");
            self.console.status(&format!(
                "settings of {sections} have changed since the start: restart to apply them"
            ));
        }
    }
}

/// Completes when followed files have changed; never without any.
async fn changed(files: Option<&mut FileWatcher>) {
    match files {
        Some(files) => files.changed().await,
        None => std::future::pending().await,
    }
}

/// Completes when a new version of a guest was pushed, with the guest's name; never without `objects`.
async fn pushed(objects: Option<&mut ComponentChanges>) -> String {
    let next = match objects {
        Some(objects) => objects.next().await,
        None => None,
    };
    match next {
        Some(guest) => guest,
        None => std::future::pending().await,
    }
}

/// The failure to apply guests. Problems of components are reported as `wharf check` does, all of them and each where
/// its component is named.
async fn explain(config: Config, locations: Locations, error: anyhow::Error) -> Failure {
    let component_problems = move || check::component_problems(&config, &locations);
    let checked = tokio::task::spawn_blocking(component_problems).await;
    match checked {
        Ok(problems) if !problems.is_empty() => ConfigErrors(problems).into(),
        _ => Failure::Runtime(error),
    }
}

fn describe(applied: &Applied) -> String {
    let parts = [
        ("loaded", &applied.loaded),
        ("replaced", &applied.replaced),
        ("changed the canary of", &applied.canaries),
        ("unloaded", &applied.unloaded),
    ];
    let changes: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(change, names)| format!("{change} {}", names.join(", ")))
        .collect();
    if changes.is_empty() {
        "nothing has changed".to_owned()
    } else {
        changes.join("; ")
    }
}

/// SIGHUP, which asks for a reload. One that comes during a reload leads to another.
pub(super) struct ReloadSignal(Signal);

impl ReloadSignal {
    pub(super) fn listen() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}
