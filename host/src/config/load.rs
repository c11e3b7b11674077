//! Loading: files and the environment → a configuration, or everything that is wrong with them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::bucket_settings::BucketSettings;
use super::connection_settings::{ConnectionSettings, Servers};
use super::environment::Environment;
use super::file::{self, RawFile};
use super::guest_settings::GuestSettings;
use super::host_settings::{AdminSettings, HostSettings, HttpSettings, OtlpSettings};
use super::layer::Layer;
use super::problem::{ConfigErrors, Location, Locations, Problem, Problems};
use super::protected_paths::{Place, ProtectedPaths};
use super::settings_file;

/// Everything that a host is told. [`Config::load`] reads it from files and the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Settings of the connection to NATS.
    pub nats: ConnectionSettings,
    /// Settings of the host itself.
    pub host: HostSettings,
    /// Orders from operators over NATS.
    pub admin: AdminSettings,
    /// The collector of traces.
    pub otlp: OtlpSettings,
    /// The HTTP server.
    pub http: HttpSettings,
    /// The guests by name.
    pub guests: BTreeMap<String, GuestSettings>,
    /// Settings of buckets that the host creates, by name.
    pub buckets: BTreeMap<String, BucketSettings>,
    /// The files that the settings were read from. No guest is given a directory with one of them in it.
    pub files: Vec<PathBuf>,
}

/// The sources of settings. What is set in the environment wins over the settings file, which wins over
/// `wharf.toml`.
pub struct Sources<'a> {
    /// A file in the form of `wharf.toml`.
    pub config: Option<PathBuf>,
    /// A settings file of the Go connector, with lines of `NATS.SERVER=nats://…`.
    pub settings: Option<PathBuf>,
    /// The lookup of an environment variable: `&|name| std::env::var_os(name)`.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Config {
    /// Reads the settings and fills in the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with the settings, at once: what cannot be read, unknown keys, values of the wrong type
    /// or out of range, settings that do not go together.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigErrors> {
        let (config, _, problems) = Self::read(sources);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(problems))
        }
    }

    /// Reads as much of the settings as can be understood, their locations, and everything that is wrong with them: for who
    /// wants to look further in spite of it. A host is started with [`Config::load`].
    #[must_use]
    pub fn read(sources: &Sources<'_>) -> (Self, Locations, Vec<Problem>) {
        let problems = Problems::default();
        let written: RawFile = match &sources.config {
            Some(path) => file::read(path, sources.env, &problems),
            None => RawFile::default(),
        };
        let settings = match &sources.settings {
            Some(path) => settings_file::read(path, &problems),
            None => Layer::default(),
        };
        let nats = environment(sources.env, &problems)
            .over(settings)
            .over(written.nats);
        let config = Self {
            nats: nats.finish(&problems),
            host: written.host,
            admin: written.admin,
            otlp: written.otlp,
            http: written.http,
            guests: written.guests,
            buckets: written.buckets,
            files: [&sources.config, &sources.settings]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
        };
        check_directories(&config, &written.locations, &problems);
        (config, written.locations, problems.in_order())
    }
}

impl GuestSettings {
    /// Reads the settings of one guest from text: what could stand under `[guests.NAME]`, without that line. `called` is
    /// what the text is called in messages; relative paths are relative to the working directory.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once, as [`Config::load`].
    pub fn parse(
        called: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigErrors> {
        let problems = Problems::default();
        let settings = file::parse_guest(Path::new(called), text, env, &problems);
        let problems = problems.in_order();
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(ConfigErrors(problems))
        }
    }
}

/// Notes each directory of a guest that no guest may have.
fn check_directories(config: &Config, locations: &Locations, problems: &Problems) {
    let own_server = match config.nats.servers {
        Servers::Own => Some(config.host.data_dir()),
        Servers::At(_) => None,
    };
    let mut protected = ProtectedPaths::new(&config.files, &config.host, &config.nats, own_server);
    for (name, guest) in &config.guests {
        let components = guest.components();
        components.for_each(|component| protected.add_component(name, component));
    }
    for (name, guest) in &config.guests {
        let places = locations.dirs.get(name).into_iter().flatten();
        for (grant, location) in guest.dirs.iter().zip(places) {
            if let Err(reason) = protected.check(&Place::of(&grant.host)) {
                let message = format!("{} {reason}", grant.host.display());
                problems.push(location.clone(), message);
            }
        }
    }
}

fn environment(variables: Environment<'_>, problems: &Problems) -> Layer {
    let lookup = |key: &str| {
        let name = format!("NATS_{key}");
        let value = variables(&name)?;
        let location = Location::Variable(name);
        match value.into_string() {
            Ok(text) => Some((text, location)),
            Err(_) => {
                problems.push(location, "the value is not UTF-8");
                None
            }
        }
    };
    Layer::from_text(lookup, Path::new(""), problems)
}
