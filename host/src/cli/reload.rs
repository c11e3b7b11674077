//! What a live host is run from, and its coming to run something else.

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wharf::config::{ComponentSource, Config, ConfigErrors, GuestSettings, Locations};
use wharf::{Applied, ComponentChanges, Host};

use super::args::RunArgs;
use super::exit::Failure;
use super::output::Voice;
use super::watch::Files;
use super::{check, sources};

const NOTHING_TO_RUN: &str =
    "nothing to run: there is no wharf.toml here, and no component is named. Write a wharf.toml:

    [guests.hello]
    component = \"hello.wasm\"
    subscribe = [\"hello.*\"]

or name a component: wharf run hello.wasm --subscribe 'hello.*'";

/// Where the settings of a host come from, each time that they are read.
struct Origin {
    args: RunArgs,
    /// The configuration file, unless one component is run without.
    file: Option<PathBuf>,
}

impl Origin {
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

    /// The files that settings are read from.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.file.iter().chain(&self.args.sources.settings).cloned()
    }
}

/// Keeps a host up to what its files say: when a signal asks for it and, with `--watch`, when they change.
pub(super) struct Live {
    origin: Origin,
    files: Option<Files>,
    /// What the host was started with.
    started: Config,
    voice: Voice,
}

impl Live {
    /// Reads the settings for the first time.
    pub(super) fn read(args: RunArgs, voice: Voice) -> Result<Self, Failure> {
        let watch = args.watch;
        let origin = Origin::new(args)?;
        let files = match watch {
            true => Some(Files::follow(origin.files()).context("cannot follow the files")?),
            false => None,
        };
        let (started, _) = origin.read()?;
        let mut live = Self {
            origin,
            files,
            started,
            voice,
        };
        let config = live.started.clone();
        live.follow_components(&config)
            .context("cannot follow the components' files")?;
        Ok(live)
    }

    /// What the host is to be started with.
    pub(super) fn config(&self) -> &Config {
        &self.started
    }

    /// Changes what the host runs whenever there is a reason to. A change that is under way when this is dropped is
    /// carried out or given up by the host.
    pub(super) async fn keep(mut self, host: &Host, mut reload: Reload) -> Infallible {
        let mut objects = self.files.as_ref().map(|_| host.component_changes());
        loop {
            let why = tokio::select! {
                () = reload.asked() => "SIGHUP".to_owned(),
                () = changed(self.files.as_mut()) => "files have changed".to_owned(),
                guest = pushed(objects.as_mut()) => format!("guest {guest:?} has a new version"),
            };
            self.voice
                .say(&format!("{why}: reading the settings again"));
            match self.apply(host).await {
                Ok(applied) => self.tell(&applied),
                Err(failure) => {
                    self.voice.error(&failure);
                    self.voice.say("not reloaded: the guests stay as they are");
                }
            }
        }
    }

    /// All or nothing.
    async fn apply(&mut self, host: &Host) -> Result<(Applied, Vec<&'static str>), Failure> {
        if let Some(files) = &mut self.files {
            files.mark();
        }
        let (config, locations) = self.origin.read()?;
        if let Err(error) = self.follow_components(&config) {
            self.voice
                .say(&format!("some changes of files may be missed: {error}"));
        }
        match host.apply(config.guests.clone()).await {
            Ok(applied) => Ok((applied, self.outside_guests(&config))),
            Err(error) => Err(why(config, locations, error.into()).await),
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

    /// What has changed since the start and is not a guest's.
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

    fn tell(&self, (applied, restart): &(Applied, Vec<&'static str>)) {
        applied
            .problems
            .iter()
            .for_each(|problem| self.voice.say(&format!("while reloading: {problem}")));
        self.voice.say(&format!("reloaded: {}", in_words(applied)));
        if !restart.is_empty() {
            let what = restart.join(", ");
            self.voice.say(&format!(
                "settings of {what} have changed since the start: restart to apply them"
            ));
        }
    }
}

async fn changed(files: Option<&mut Files>) {
    match files {
        Some(files) => files.changed().await,
        None => std::future::pending().await,
    }
}

/// The name of a guest of which a new version was pushed.
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

/// Why guests could not be applied. What is wrong with components is said in full, and where each is named, as
/// `wharf check` says it.
async fn why(config: Config, locations: Locations, error: anyhow::Error) -> Failure {
    let checking = move || check::component_problems(&config, &locations);
    let checked = tokio::task::spawn_blocking(checking).await;
    match checked {
        Ok(problems) if !problems.is_empty() => ConfigErrors(problems).into(),
        _ => Failure::Runtime(error),
    }
}

fn in_words(applied: &Applied) -> String {
    let parts = [
        ("loaded", &applied.loaded),
        ("replaced", &applied.replaced),
        ("changed the canary of", &applied.canaries),
        ("unloaded", &applied.unloaded),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {}", names.join(", ")))
        .collect();
    if said.is_empty() {
        "nothing has changed".to_owned()
    } else {
        said.join("; ")
    }
}

/// The signal that asks to read the settings again. One that comes while they are read is not forgotten.
pub(super) struct Reload(Signal);

impl Reload {
    pub(super) fn listen() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    async fn asked(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}
