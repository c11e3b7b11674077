//! `wharf.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::bucket_section::bucket;
use super::bucket_settings::BucketSettings;
use super::environment::Environment;
use super::guest_section::{self, RawGuest};
use super::guest_settings::{GuestSettings, MAX_INSTANCES};
use super::host_settings::{AdminSettings, HostSettings, HttpSettings, OtlpSettings};
use super::layer::Layer;
use super::parse;
use super::problem::{Location, Locations, Problems};
use super::value::{Document, LineStarts, Table, Value};

/// The file's settings, as they are written.
#[derive(Default)]
pub(super) struct RawFile {
    /// The section `[nats]`: the lowest of the layers that the connection's settings are made of.
    pub(super) nats: Layer,
    /// The section `[host]`, with defaults for all that is left out.
    pub(super) host: HostSettings,
    /// The section `[admin]`. Without it the host takes no orders.
    pub(super) admin: AdminSettings,
    /// The section `[otlp]`. Without it the host records no traces.
    pub(super) otlp: OtlpSettings,
    /// The section `[http]`. Without it the host answers no HTTP.
    pub(super) http: HttpSettings,
    /// The guests' settings, by name. A guest whose name is not valid is left out.
    pub(super) guests: BTreeMap<String, GuestSettings>,
    /// Locations of components' names, for problems that show only when a component is looked into.
    pub(super) locations: Locations,
    /// The settings that buckets of these names are created with.
    pub(super) buckets: BTreeMap<String, BucketSettings>,
}

/// Reads such a file.
pub(super) fn read(path: &Path, environment: Environment<'_>, problems: &Problems) -> RawFile {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, environment, problems),
        Err(error) => {
            problems.push(
                Location::WholeFile(path.to_owned()),
                format!("cannot be read: {error}"),
            );
            RawFile::default()
        }
    }
}

/// Reads such a text.
pub(super) fn parse(
    path: &Path,
    text: &str,
    environment: Environment<'_>,
    problems: &Problems,
) -> RawFile {
    read_text(path, text, environment, problems, |root| {
        let written = sections(&root);
        root.end();
        written
    })
}

/// Reads the settings of one guest: what could stand under `[guests.NAME]`, without that line. The path is what the text
/// is called in messages, and relative paths are relative to where it is.
pub(super) fn parse_guest(
    path: &Path,
    text: &str,
    environment: Environment<'_>,
    problems: &Problems,
) -> GuestSettings {
    read_text(path, text, environment, problems, guest_section::alone)
}

fn read_text<T>(
    path: &Path,
    text: &str,
    environment: Environment<'_>,
    problems: &Problems,
    read: impl FnOnce(Table<'_>) -> T,
) -> T {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut document = Document {
        path,
        text,
        environment,
        problems,
        lines: LineStarts::of(text),
        broken_lines: BTreeSet::new(),
    };
    for error in errors {
        let at = error.span().unwrap_or(text.len()..text.len());
        // What follows on the same line is only what the first error led to.
        let is_new = document.broken_lines.insert(document.lines.line(at.start));
        if is_new && !problems.is_full() {
            problems.push(
                document.location(&at),
                format!("this is not TOML: {}", error.message()),
            );
        }
    }
    read(Table::new(&document, root.get_ref(), 0..0))
}

fn sections(root: &Table<'_>) -> RawFile {
    let mut written = RawFile::default();
    if let Some(table) = root.get("nats").and_then(Value::table) {
        written.nats = Layer::from_table(&table);
        table.end();
    }
    if let Some(table) = root.get("host").and_then(Value::table) {
        written.host = HostSettings {
            data: table.get("data").and_then(Value::path),
            cache: table.get("cache").and_then(Value::path),
            name: table.get("name").and_then(|v| v.parsed(parse::host_name)),
            replies: match table.get("replies") {
                Some(list) => replies(list),
                None => HostSettings::default().replies,
            },
        };
        table.end();
    }
    if let Some(table) = root.get("otlp").and_then(Value::table) {
        let endpoint = table.required("endpoint");
        let read = |value: Value<'_>| value.parsed_unquoted("the endpoint", parse::otlp_endpoint);
        written.otlp.endpoint = endpoint.and_then(read);
        table.end();
    }
    if let Some(table) = root.get("http").and_then(Value::table) {
        let listen = |value: Value<'_>| value.parsed(parse::socket_address);
        written.http = HttpSettings {
            listen: table.get("listen").and_then(listen),
        };
        table.end();
    }
    if let Some(table) = root.get("admin").and_then(Value::table) {
        let enabled = table.required("enabled").and_then(Value::boolean);
        written.admin = AdminSettings {
            enabled: enabled.unwrap_or_default(),
            components: directories(table.get("components")),
            dirs: directories(table.get("dirs")),
        };
        table.end();
    }
    guests(root, &mut written);
    for (name, value) in root
        .get("buckets")
        .and_then(Value::entries)
        .into_iter()
        .flatten()
    {
        written.buckets.extend(bucket(name, value));
    }
    written
}

/// Reads the guests, which together must not ask for more instances than there are.
fn guests(root: &Table<'_>, written: &mut RawFile) {
    let mut instances = 0;
    for (name_at, value) in root
        .get("guests")
        .and_then(Value::entries)
        .into_iter()
        .flatten()
    {
        if let Some(RawGuest {
            name,
            settings,
            component,
            canary,
            dirs,
        }) = guest_section::guest(name_at, value)
        {
            instances += settings.max_instances_of_all_versions();
            if instances > u64::from(MAX_INSTANCES) {
                name_at.refuse(format!(
                    "the guests up to this one ask for {instances} instances, and a host has {MAX_INSTANCES}: lower \
                     `instances.max` of some"
                ));
            }
            written.locations.components.insert(name.clone(), component);
            written
                .locations
                .canaries
                .extend(canary.map(|location| (name.clone(), location)));
            written.locations.dirs.insert(name.clone(), dirs);
            written.guests.insert(name, settings);
        }
    }
}

/// Reads the subjects that answers may go to.
fn replies(list: Value<'_>) -> Vec<String> {
    list.list()
        .into_iter()
        .flatten()
        .filter_map(|value| value.parsed(parse::reply_subject))
        .collect()
}

/// Reads directories, which must be there.
fn directories(list: Option<Value<'_>>) -> Vec<PathBuf> {
    let read = |value: Value<'_>| {
        let path = value.path()?;
        if path.is_dir() {
            return Some(path);
        }
        value.refuse(format!("there is no directory {}", path.display()))
    };
    list.and_then(Value::list)
        .into_iter()
        .flatten()
        .filter_map(read)
        .collect()
}
