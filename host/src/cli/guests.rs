//! `wharf guests`: guests of running hosts, listed and changed over NATS.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use futures_util::future::join_all;
use serde_json::json;
use wharf::admin::{
    CanarySummary, DrainSummary, FileUse, GuestDetails, GuestList, GuestRef, GuestSummary,
    LoadRequest, Verb,
};
use wharf::config::Ratio;
use wharf::{Grant, OutcomeKind};

use super::args::{ChangeArgs, GuestsCommand, ListArgs, OneGuestArgs};
use super::exit::{Exit, Failure};
use super::host_client::{HostClient, NO_HOST};
use super::output;

/// Maximum size of a guest's settings: a server takes messages of 1 MiB by default.
const MAX_SETTINGS_BYTES: u64 = 512 << 10;

/// Lists, shows and changes guests.
pub(super) fn guests(command: &GuestsCommand) -> Result<Exit, Failure> {
    match command {
        GuestsCommand::List(args) => list(args),
        GuestsCommand::Show(args) => show(args),
        GuestsCommand::Load(args) => change(Verb::Load, "loaded", args),
        GuestsCommand::Replace(args) => change(Verb::Replace, "replaced", args),
        GuestsCommand::Unload(args) => change_one(Verb::Unload, "unloaded", args),
        GuestsCommand::Promote(args) => change_one(Verb::Promote, "promoted", args),
        GuestsCommand::Abort(args) => change_one(Verb::Abort, "aborted the canary of", args),
    }
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let nothing = json!({});
    let answers: Vec<anyhow::Result<GuestList>> = HostClient::with(&args.query, async |hosts| {
        let names = match &args.host {
            Some(host) => vec![host.clone()],
            None => hosts.taking_orders().await?,
        };
        Ok(join_all(
            names
                .iter()
                .map(|host| hosts.request(host, Verb::List, &nothing)),
        )
        .await)
    })?;
    // The failure of one host must not hide the answers of the others.
    let (answers, failures): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let exit = if failures.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    };
    failures
        .into_iter()
        .filter_map(Result::err)
        .for_each(|error| output::report(&Failure::Runtime(error)));
    let all: Vec<GuestList> = answers.into_iter().flatten().collect();
    if args.query.json {
        output::json(&json!({ "hosts": all }))?;
    } else if !all.is_empty() {
        print_guests(all)?;
    } else if exit == Exit::Done {
        output::status(NO_HOST);
    }
    Ok(exit)
}

fn print_guests(all: Vec<GuestList>) -> anyhow::Result<()> {
    let cells = all.into_iter().flat_map(|GuestList { host, guests }| {
        guests.into_iter().flat_map(move |guest| {
            let canary = guest
                .canary
                .as_ref()
                .map(|canary| canary_cells(&host, &guest.name, canary));
            std::iter::once(guest_cells(&host, &guest)).chain(canary)
        })
    });
    let heads = [
        "HOST",
        "GUEST",
        "VERSION",
        "QUEUED",
        "IN FLIGHT",
        "HANDLED",
        "FAILED",
        "DROPPED",
        "COMPONENT",
    ];
    output::table(heads, cells)
}

/// The cells of a guest. Its counts include its canary's messages.
fn guest_cells(host: &str, guest: &GuestSummary) -> [String; 9] {
    let count = |name: &str| guest.stats.get(name).copied().unwrap_or_default();
    let failures = OutcomeKind::ALL
        .into_iter()
        .filter(|kind| kind.is_failure());
    let failed: u64 = failures.map(|kind| count(kind.label())).sum();
    [
        host.to_owned(),
        guest.name.clone(),
        guest.version.to_string(),
        guest.queued.to_string(),
        guest.in_flight.to_string(),
        count(OutcomeKind::Handled.label()).to_string(),
        failed.to_string(),
        count("dropped").to_string(),
        guest.component.clone(),
    ]
}

fn canary_cells(host: &str, guest: &str, canary: &CanarySummary) -> [String; 9] {
    [
        host.to_owned(),
        format!("{guest} (canary, {})", percent(canary.share)),
        canary.version.to_string(),
        canary.queued.to_string(),
        canary.in_flight.to_string(),
        canary.handled.to_string(),
        canary.failed.to_string(),
        String::new(),
        canary.component.clone(),
    ]
}

fn percent(part: f64) -> String {
    Ratio::new(part).map_or_else(|| part.to_string(), |ratio| ratio.to_string())
}

fn show(args: &OneGuestArgs) -> Result<Exit, Failure> {
    let details: GuestDetails = HostClient::with(&args.query, async |hosts| {
        let host = hosts.resolve(args.host.as_deref()).await?;
        Ok(hosts
            .request(
                &host,
                Verb::Show,
                &GuestRef {
                    guest: args.guest.clone(),
                },
            )
            .await?)
    })?;
    if args.query.json {
        output::json(&details)?;
    } else {
        output::text(&describe(details))?;
    }
    Ok(Exit::Done)
}

/// A guest's grants, limits and counts, one a line.
fn describe(details: GuestDetails) -> String {
    let GuestDetails {
        host,
        guest,
        subscribe,
        may_subscribe,
        publish,
        request,
        buckets,
        instances,
        memory_bytes,
        time_ms,
        files,
    } = details;
    let buckets: Vec<_> = buckets
        .iter()
        .map(|(name, access)| format!("{name} ({access})"))
        .collect();
    let happened = guest.stats.iter().filter(|(_, count)| **count > 0);
    let stats: Vec<_> = happened
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let may = |grant: Grant| format!("may {}", grant.words());
    let [subscribe_itself, publish_on, request_of] =
        [Grant::Subscribe, Grant::Publish, Grant::Request].map(may);
    let rows = [
        ("host", host),
        ("guest", guest.name),
        ("component", guest.component),
        ("version", guest.version.to_string()),
        ("subscribed to", subscribe.join(", ")),
        (subscribe_itself.as_str(), may_subscribe.join(", ")),
        (publish_on.as_str(), publish.join(", ")),
        (request_of.as_str(), request.join(", ")),
        ("buckets", buckets.join(", ")),
        ("instances", instances.to_string()),
        ("memory", format!("{} bytes", memory_bytes)),
        ("time", format!("{} ms", time_ms)),
        ("files", describe_files(&files)),
        ("queued", guest.queued.to_string()),
        ("in flight", guest.in_flight.to_string()),
        ("so far", stats.join(", ")),
        (
            "canary",
            guest
                .canary
                .as_ref()
                .map(describe_canary)
                .unwrap_or_default(),
        ),
        (
            "canary rolled back",
            guest.canary_rolled_back.unwrap_or_default(),
        ),
    ];
    rows.iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:<25}{value}\n"))
        .collect()
}

/// Empty if the host does not say.
fn describe_files(files: &FileUse) -> String {
    let FileUse {
        descriptors,
        max_descriptors,
        calls,
        max_calls,
        disk_bytes,
        max_disk_bytes,
    } = files;
    if *max_descriptors == 0 {
        return String::new();
    }
    format!(
        "{descriptors} of {max_descriptors} descriptors, {calls} of {max_calls} calls at once, \
         {disk_bytes} of {max_disk_bytes} bytes more on disk"
    )
}

fn describe_canary(canary: &CanarySummary) -> String {
    let CanarySummary {
        component,
        version,
        handled,
        failed,
        recently_failed,
        window,
        ..
    } = canary;
    format!(
        "version {version}, {component}, with {} of the messages: {handled} handled, {failed} failed, \
         {recently_failed} of the last {window}; at most {} may fail",
        percent(canary.share),
        percent(canary.max_failure),
    )
}

fn change(verb: Verb, done: &str, args: &ChangeArgs) -> Result<Exit, Failure> {
    let settings = read_settings(&args.file)?;
    let (host, drained): (String, DrainSummary) = HostClient::with(&args.query, async |hosts| {
        let host = hosts.resolve(args.host.as_deref()).await?;
        let request = LoadRequest {
            guest: args.guest.clone(),
            settings,
        };
        let drained = hosts.request(&host, verb, &request).await?;
        Ok((host, drained))
    })?;
    report(args.query.json, &host, &args.guest, done, &drained)
}

fn change_one(verb: Verb, done: &str, args: &OneGuestArgs) -> Result<Exit, Failure> {
    let (host, drained): (String, DrainSummary) = HostClient::with(&args.query, async |hosts| {
        let host = hosts.resolve(args.host.as_deref()).await?;
        let drained = hosts
            .request(
                &host,
                verb,
                &GuestRef {
                    guest: args.guest.clone(),
                },
            )
            .await?;
        Ok((host, drained))
    })?;
    report(args.query.json, &host, &args.guest, done, &drained)
}

/// Prints how a change ended. It was made, but the old version may not have handled all of its messages.
fn report(
    as_json: bool,
    host: &str,
    guest: &str,
    done: &str,
    drained: &DrainSummary,
) -> Result<Exit, Failure> {
    if as_json {
        let DrainSummary {
            finished,
            abandoned,
            problems,
        } = drained;
        output::json(&json!({
            "host": host, "guest": guest, "done": done,
            "finished": finished, "abandoned": abandoned, "problems": problems,
        }))?;
    } else {
        drained
            .problems
            .iter()
            .for_each(|problem| output::problem("problem:", problem));
        if drained.abandoned > 0 {
            output::problem(
                "problem:",
                &format!("{} messages were not handled in time", drained.abandoned),
            );
        }
        output::success(&format!("{done}:"), &format!("{guest} on {host}"));
    }
    let is_clean = drained.abandoned == 0 && drained.problems.is_empty();
    Ok(if is_clean { Exit::Done } else { Exit::Failed })
}

/// The settings, as text. They are parsed by the host, as they are about its files.
fn read_settings(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_SETTINGS_BYTES + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| {
            opened
                .take(MAX_SETTINGS_BYTES + 1)
                .read_to_string(&mut text)
        })
    };
    let bytes = read.with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(
        bytes as u64 <= MAX_SETTINGS_BYTES,
        "{} is larger than {MAX_SETTINGS_BYTES} bytes",
        file.display()
    );
    Ok(text)
}
