//! `[guests.NAME]` → settings.

use std::collections::BTreeMap;

use super::canary_section::canary;
use super::guest_settings::{
    BucketAccess, DirectoryAccess, DirectoryGrant, GuestSettings, Instances, Limits, Serializer,
    SubjectGrant, SubscriptionSettings,
};
use super::parse::{self, check_guest_name, guest_subject};
use super::problem::Location;
use super::value::{Name, Table, Value};
use crate::protocol::bucket_rules::check_name;
use crate::protocol::subject;

/// The most that `limits.descriptors` may say: beyond it no system has as many.
const MAX_DESCRIPTORS: i64 = 1 << 20;
/// The most that `limits.file_calls` may say: each is a thread.
const MAX_FILE_CALLS: i64 = 1000;
/// The most that `limits.resources` may say: all of them are in the host's memory.
const MAX_RESOURCES: i64 = 1_000_000;

/// A guest as it is written, and the locations of its components' names.
pub(super) struct RawGuest {
    /// The name of the section after `guests.`, which is a valid one.
    pub(super) name: String,
    /// The guest's settings, with an empty path as the component if none could be read.
    pub(super) settings: GuestSettings,
    /// The location of the component's name, or that of the whole section if there is none.
    pub(super) component: Location,
    /// The location of the canary's component's name. None without a canary that could be read.
    pub(super) canary: Option<Location>,
    /// The locations of the guest's directories, in their order.
    pub(super) dirs: Vec<Location>,
}

/// The locations of a guest's settings that are looked into further.
struct RestLocations {
    /// The location of the canary's component's name.
    canary: Option<Location>,
    /// The locations of the guest's directories, in their order.
    dirs: Vec<Location>,
}

/// Reads a guest.
pub(super) fn guest(name: Name<'_>, value: Value<'_>) -> Option<RawGuest> {
    let checked_name = name.checked(check_guest_name);
    let table = value.table()?;
    let component = table.get("component");
    if component.is_none() {
        name.missing(format!(
            "the guest {:?} names no component: component = \"FILE.wasm\"",
            name.as_str()
        ));
    }
    let mut settings = GuestSettings::new(
        component
            .and_then(Value::component)
            .unwrap_or_else(|| "".into()),
    );
    let RestLocations { canary, dirs } = read_rest(table, &mut settings);
    let component = component
        .as_ref()
        .map_or_else(|| value.location(), Value::location);
    Some(RawGuest {
        name: checked_name?,
        settings,
        component,
        canary,
        dirs,
    })
}

/// Reads a guest's settings that are a document by themselves.
pub(super) fn alone(root: Table<'_>) -> GuestSettings {
    let component = root.required("component").and_then(Value::component);
    let mut settings = GuestSettings::new(component.unwrap_or_else(|| "".into()));
    read_rest(root, &mut settings);
    settings
}

/// Reads all but the component.
fn read_rest(table: Table<'_>, settings: &mut GuestSettings) -> RestLocations {
    read_messages(&table, settings);
    let dirs = read_surroundings(&table, settings);
    let (canary, location) = table.get("canary").and_then(canary).unzip();
    settings.canary = canary;
    table.end();
    RestLocations {
        canary: location,
        dirs,
    }
}

/// Reads what the guest hears and what it may send.
fn read_messages(table: &Table<'_>, settings: &mut GuestSettings) {
    settings.prefix = table
        .get("prefix")
        .and_then(|v| v.parsed(|text| subject::prefix(text).map(|()| text.to_owned())));
    settings.subscribe = subscriptions(table.get("subscribe"));
    settings.may_subscribe = items(table.get("may_subscribe"), grant);
    settings.publish = items(table.get("publish"), grant);
    settings.request = items(table.get("request"), grant);
    settings.buckets = named(table.get("buckets"), bucket);
    table.refuse_key(
        "streams",
        "messages from streams are not supported by this version",
    );
}

/// Reads what the guest sees and what it may use up. Returns the locations of its directories.
fn read_surroundings(table: &Table<'_>, settings: &mut GuestSettings) -> Vec<Location> {
    settings.config = named(table.get("config"), config_entry);
    let serializers = [("json", Serializer::Json), ("msgpack", Serializer::Msgpack)];
    settings.serializer = table
        .get("serializer")
        .and_then(|v| v.one_of(&serializers))
        .unwrap_or_default();
    settings.env = named(table.get("env"), variable);
    let (dirs, locations) = items(table.get("dirs"), directory).into_iter().unzip();
    settings.dirs = dirs;
    settings.instances = table
        .get("instances")
        .and_then(instances)
        .unwrap_or_default();
    settings.limits = table.get("limits").and_then(limits).unwrap_or_default();
    locations
}

fn items<'a, T>(list: Option<Value<'a>>, read: fn(Value<'a>) -> Option<T>) -> Vec<T> {
    list.and_then(Value::list)
        .into_iter()
        .flatten()
        .filter_map(read)
        .collect()
}

fn named<'a, T>(
    table: Option<Value<'a>>,
    read: fn(Name<'a>, Value<'a>) -> Option<(String, T)>,
) -> BTreeMap<String, T> {
    let entries = table.and_then(Value::entries).into_iter().flatten();
    entries
        .filter_map(|(name, value)| read(name, value))
        .collect()
}

fn subscription(value: Value<'_>) -> Option<SubscriptionSettings> {
    let (subject, ignore_prefix, queue) = subject_entry(value, true)?;
    Some(SubscriptionSettings {
        subject,
        queue,
        ignore_prefix,
    })
}

fn grant(value: Value<'_>) -> Option<SubjectGrant> {
    let (subject, ignore_prefix, _) = subject_entry(value, false)?;
    Some(SubjectGrant {
        subject,
        ignore_prefix,
    })
}

/// Reads `"subject"`, or a table with what else there is to say.
fn subject_entry(value: Value<'_>, with_queue: bool) -> Option<(String, bool, Option<String>)> {
    if value.is_string() {
        return Some((value.parsed(guest_subject)?, false, None));
    }
    if !value.is_table() {
        return value.expected("a subject, or a table with the key \"subject\"");
    }
    let table = value.table()?;
    let subject = table
        .required("subject")
        .and_then(|v| v.parsed(guest_subject));
    let ignore_prefix = table
        .get("ignore_prefix")
        .and_then(Value::boolean)
        .unwrap_or_default();
    let queue = if with_queue {
        table.get("queue").and_then(|v| v.parsed(parse::queue))
    } else {
        None
    };
    table.end();
    Some((subject?, ignore_prefix, queue))
}

/// Reads subscriptions, each only once: a message would reach the guest twice.
fn subscriptions(list: Option<Value<'_>>) -> Vec<SubscriptionSettings> {
    let mut all = Vec::new();
    for item in list.and_then(Value::list).into_iter().flatten() {
        match subscription(item) {
            Some(one) if all.contains(&one) => {
                item.note(format!("subscribes to {:?} a second time", one.subject))
            }
            Some(one) => all.push(one),
            None => {}
        }
    }
    all
}

fn bucket(name: Name<'_>, value: Value<'_>) -> Option<(String, BucketAccess)> {
    let access = value.one_of(&[
        ("read", BucketAccess::Read),
        ("read-write", BucketAccess::ReadWrite),
    ]);
    Some((name.checked(check_name)?, access?))
}

fn config_entry(name: Name<'_>, value: Value<'_>) -> Option<(String, String)> {
    let name = name.checked(|text| match text.starts_with("wharf.") {
        true => Err("begins with \"wharf.\": such keys are the host's".to_owned()),
        false => Ok(()),
    });
    let value = value.string();
    Some((name?, value?))
}

fn variable(name: Name<'_>, value: Value<'_>) -> Option<(String, String)> {
    let name = name.checked(|text| match text.is_empty() || text.contains(['=', '\0']) {
        true => Err("is no environment variable's name".to_owned()),
        false => Ok(()),
    });
    let value = value.string();
    Some((name?, value?))
}

fn directory(value: Value<'_>) -> Option<(DirectoryGrant, Location)> {
    let table = value.table()?;
    let host = table.required("host").and_then(|at| {
        let path = at.path()?;
        if path.is_dir() {
            Some(path)
        } else {
            at.refuse(format!("there is no directory {}", path.display()))
        }
    });
    let guest = table.required("guest").and_then(|at| {
        at.parsed(|text| match text.starts_with('/') {
            true => Ok(text.to_owned()),
            false => Err("is not an absolute path, such as \"/data\"".to_owned()),
        })
    });
    let words = [
        ("read", DirectoryAccess::Read),
        ("read-write", DirectoryAccess::ReadWrite),
    ];
    let access = match table.get("access") {
        Some(value) => value.one_of(&words),
        None => Some(DirectoryAccess::Read),
    };
    table.end();
    let grant = DirectoryGrant {
        host: host?,
        guest: guest?,
        access: access?,
    };
    Some((grant, value.location()))
}

fn instances(value: Value<'_>) -> Option<Instances> {
    let table = value.table()?;
    let default = Instances::default();
    let number = |value: Value<'_>| {
        value
            .number::<u32>(1, i64::from(u32::MAX))
            .and_then(std::num::NonZeroU32::new)
    };
    let max = table.get("max").and_then(number).unwrap_or(default.max);
    let reuse = table.get("reuse").and_then(number).unwrap_or(default.reuse);
    table.end();
    Some(Instances { max, reuse })
}

fn limits(value: Value<'_>) -> Option<Limits> {
    let table = value.table()?;
    let default = Limits::default();
    let memory_bytes = table.get("memory").and_then(|v| v.bytes(u64::MAX));
    let time = table.get("time").and_then(Value::duration);
    let queue_messages = table.get("queue").and_then(|v| v.number(1, i64::MAX));
    let queue_bytes = table
        .get("queue_bytes")
        .and_then(|v| v.bytes(usize::MAX as u64));
    let subscriptions = table.get("subscriptions").and_then(|v| v.number(0, 1000));
    let subscription_changes = table
        .get("subscription_changes")
        .and_then(|v| v.number(1, i64::from(u32::MAX)));
    let log_lines = table.get("log_lines").and_then(|v| v.number(1, i64::MAX));
    let log_bytes = table.get("log_bytes").and_then(|v| v.bytes(u64::MAX));
    let descriptors = table
        .get("descriptors")
        .and_then(|v| v.number(1, MAX_DESCRIPTORS));
    let file_calls = table
        .get("file_calls")
        .and_then(|v| v.number(1, MAX_FILE_CALLS));
    let disk_bytes = table.get("disk").and_then(|v| v.bytes(u64::MAX));
    let resources = table
        .get("resources")
        .and_then(|v| v.number(1, MAX_RESOURCES));
    table.end();
    Some(Limits {
        memory_bytes: memory_bytes.unwrap_or(default.memory_bytes),
        time: time.unwrap_or(default.time),
        queue_messages: queue_messages.unwrap_or(default.queue_messages),
        queue_bytes: queue_bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(default.queue_bytes),
        subscriptions: subscriptions.unwrap_or(default.subscriptions),
        subscription_changes: subscription_changes.unwrap_or(default.subscription_changes),
        log_lines: log_lines.unwrap_or(default.log_lines),
        log_bytes: log_bytes.unwrap_or(default.log_bytes),
        descriptors: descriptors.unwrap_or(default.descriptors),
        file_calls: file_calls.unwrap_or(default.file_calls),
        disk_bytes: disk_bytes.unwrap_or(default.disk_bytes),
        resources: resources.unwrap_or(default.resources),
    })
}
