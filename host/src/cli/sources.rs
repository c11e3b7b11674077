//! Settings from arguments, files and the environment.

use std::path::{Path, PathBuf};

use wharf::config::{
    ComponentSource, Config, GuestSettings, Locations, Problem, Servers, Sources, parse_servers,
};

use super::args::{GuestArgs, SourceArgs};
use super::exit::Failure;

const DEFAULT_FILE: &str = "wharf.toml";

/// The configuration file: the one that the arguments name, or else the default one, if it exists.
pub(super) fn config_file(args: &SourceArgs) -> Option<PathBuf> {
    args.config.clone().or_else(|| {
        Path::new(DEFAULT_FILE)
            .exists()
            .then(|| DEFAULT_FILE.into())
    })
}

/// Reads the settings from this file and the other sources that the arguments name.
///
/// # Errors
/// If there is any problem: all of them.
pub(super) fn load(
    config: Option<PathBuf>,
    args: &SourceArgs,
) -> Result<(Config, Locations), Failure> {
    let (config, locations, problems) = read(config, args)?;
    if problems.is_empty() {
        Ok((config, locations))
    } else {
        Err(wharf::config::ConfigErrors(problems).into())
    }
}

/// Reads the settings as [`load`] does; a problem leaves out only what it is about.
///
/// # Errors
/// If `--server` cannot be used.
pub(super) fn read(
    config: Option<PathBuf>,
    args: &SourceArgs,
) -> Result<(Config, Locations, Vec<Problem>), Failure> {
    let sources = Sources {
        config,
        settings: args.settings.clone(),
        env: &|name| std::env::var_os(name),
    };
    let (mut config, locations, problems) = Config::read(&sources);
    if let Some(server) = &args.server {
        // The server may hold a password: the message does not repeat it.
        let servers = parse_servers(server)
            .map_err(|reason| Failure::usage(format!("--server: the value {reason}")))?;
        config.nats.servers = Servers::At(servers);
    }
    Ok((config, locations, problems))
}

/// The settings of a guest that runs this component, and its name, made from the component's file name.
pub(super) fn guest(component: &ComponentSource, args: GuestArgs) -> (String, GuestSettings) {
    let mut settings = GuestSettings::new(component.clone());
    settings.subscribe = args.subscribe;
    for subscription in &mut settings.subscribe {
        subscription.queue.clone_from(&args.queue);
    }
    settings.publish = args.publish;
    settings.request = args.request;
    settings.may_subscribe = args.may_subscribe;
    settings.buckets = args.bucket.into_iter().collect();
    settings.config = args.set.into_iter().collect();
    let file = match component {
        ComponentSource::File(path) => path,
        ComponentSource::Object { name, .. } => Path::new(name),
    };
    (guest_name(file), settings)
}

fn guest_name(component: &Path) -> String {
    let stem = component
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let name: String = stem.chars().map(safe).collect();
    if name.is_empty() {
        "guest".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use wharf::Grant;

    use super::super::args::{Args, Command};
    use super::*;

    #[test]
    fn the_flag_of_each_grant_reaches_the_settings() {
        let settings = |flags: &[&str]| {
            let run = ["wharf", "run", "g.wasm", "--subscribe", "in"];
            let args = Args::try_parse_from(run.iter().chain(flags)).expect("flags");
            let Command::Run(run) = args.command else {
                panic!("another command")
            };
            guest(&"g.wasm".into(), run.guest).1
        };
        for grant in Grant::ALL {
            let flag = format!("--{}", grant.key().trim_end_matches('s').replace('_', "-"));
            assert_ne!(settings(&[&flag, "a"]), settings(&[]), "{flag}");
        }
    }

    #[test]
    fn a_guest_without_a_file_is_named_after_its_component() {
        for (file, name) in [
            ("a/Hello World.wasm", "hello-world"),
            ("quakes_rust.wasm", "quakes_rust"),
            ("..", "guest"),
        ] {
            assert_eq!(guest_name(Path::new(file)), name);
        }
    }
}
