//! Settings: as they are written, then as they are meant.
//!
//! There are three ways in: `wharf.toml`, the settings file of the Go connector, and the environment. Each is read into
//! typed values; everything that is wrong is noted with its place and reported at once.

mod bucket;
mod canary;
mod component;
mod expand;
mod file;
mod guest;
mod layer;
mod parse;
mod problem;
mod server_url;
mod settings;
mod settings_file;
mod subject;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use canary::{CanarySettings, Ratio};
pub use component::{ComponentSource, parse_object};
pub(crate) use parse::check_otlp_endpoint;
pub use parse::{
    parse_bucket_grant, parse_duration, parse_grant, parse_guest_name, parse_host_name,
    parse_queue, parse_subject, parse_subscription,
};
pub use problem::{ConfigErrors, Place, Problem};
pub use server_url::{parse_servers, redact_server};
pub use settings::*;
#[allow(unused_imports, reason = "the rooms that are being built use them")]
pub(crate) use subject::{
    MAX_QUEUE_BYTES, MAX_SUBJECT_BYTES, check_pattern, check_queue, check_subject, quoted,
};

use layer::Layer;
use problem::Problems;

/// Everything that a host is told. [`Config::load`] reads it from files and the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// How to reach NATS, and how to stop.
    pub nats: ConnectionSettings,
    /// Nothing named a server: the host is to start one of its own instead of using [`ConnectionSettings::servers`].
    pub own_server: bool,
    /// Settings of the host itself.
    pub host: HostSettings,
    /// Where traces go.
    pub otlp: OtlpSettings,
    /// What the host answers over HTTP.
    pub http: HttpSettings,
    /// The guests by name.
    pub guests: BTreeMap<String, GuestSettings>,
    /// Settings of buckets that the host creates, by name.
    pub buckets: BTreeMap<String, BucketSettings>,
    /// Where each guest's component is named, by the guest's name: for messages.
    pub components: BTreeMap<String, Place>,
    /// Where each canary's component is named, by the guest's name: for messages.
    pub canaries: BTreeMap<String, Place>,
}

/// Looks an environment variable up.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where settings are read from. What is set in the environment wins over the settings file, which wins over
/// `wharf.toml`.
pub struct Sources<'a> {
    /// A file in the form of `wharf.toml`.
    pub config: Option<PathBuf>,
    /// A settings file of the Go connector, with lines of `NATS.SERVER=nats://…`.
    pub settings: Option<PathBuf>,
    /// Looks an environment variable up: `&|name| std::env::var_os(name)`.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Config {
    /// Reads the settings and fills in the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with the settings, at once: what cannot be read, unknown keys, values of the wrong type
    /// or out of range, settings that do not go together.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigErrors> {
        let (config, problems) = Self::read(sources);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(problems))
        }
    }

    /// Reads as much of the settings as can be understood, and everything that is wrong with them: for who wants to look
    /// further in spite of it. A host is started with [`Config::load`].
    #[must_use]
    pub fn read(sources: &Sources<'_>) -> (Self, Vec<Problem>) {
        let problems = Problems::default();
        let written = match &sources.config {
            Some(path) => file::read(path, sources.env, &problems),
            None => file::Written::default(),
        };
        let settings = match &sources.settings {
            Some(path) => settings_file::read(path, &problems),
            None => Layer::default(),
        };
        let nats = environment(sources.env, &problems)
            .over(settings)
            .over(written.nats);
        let config = Self {
            own_server: !nats.names_a_server(),
            nats: nats.finish(&problems),
            host: written.host,
            otlp: written.otlp,
            http: written.http,
            guests: written.guests,
            buckets: written.buckets,
            components: written.components,
            canaries: written.canaries,
        };
        (config, problems.in_order())
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

fn environment(variables: Environment<'_>, problems: &Problems) -> Layer {
    let lookup = |key: &str| {
        let name = format!("NATS_{key}");
        let value = variables(&name)?;
        let place = Place::Variable(name);
        match value.into_string() {
            Ok(text) => Some((text, place)),
            Err(_) => {
                problems.push(place, "the value is not UTF-8");
                None
            }
        }
    };
    Layer::from_text(lookup, Path::new(""), problems)
}
