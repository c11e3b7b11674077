//! `wharf guests`: guests of running hosts, listed and changed over NATS.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use futures_util::future::join_all;
use serde_json::json;
use wharf::admin::{
    CanarySummary, DrainSummary, GuestDetails, GuestList, GuestRef, GuestSummary, LoadRequest, Verb,
};
use wharf::config::Ratio;

use super::args::{ChangeArgs, GuestsCommand, ListArgs, OneGuestArgs};
use super::exit::{Exit, Failure};
use super::host_client::HostClient;
use super::output;

/// The most that settings may take: a server takes messages of 1 MiB.
const MAX_BYTES: u64 = 512 << 10;

/// Sees and changes guests.
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
                .map(|host| hosts.tell(host, Verb::List, &nothing)),
        )
        .await)
    })?;
    // What one host does not tell must not hide what the others do.
    let (answers, failures): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let exit = if failures.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    };
    failures
        .into_iter()
        .filter_map(Result::err)
        .for_each(|error| output::error(&Failure::Runtime(error)));
    let all: Vec<GuestList> = answers.into_iter().flatten().collect();
    if args.query.json {
        output::json(&json!({ "hosts": all }))?;
    } else if !all.is_empty() {
        print_guests(all)?;
    } else if exit == Exit::Done {
        output::say("no host takes orders: it needs [admin] enabled = true in its wharf.toml");
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

/// The canary's messages are among them.
fn guest_cells(host: &str, guest: &GuestSummary) -> [String; 9] {
    let count = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| guest.stats.get(*name))
            .sum::<u64>()
    };
    let failed = count(&["retried", "rejected", "trapped", "timed_out", "not_started"]);
    [
        host.to_owned(),
        guest.name.clone(),
        guest.version.to_string(),
        guest.queued.to_string(),
        guest.in_flight.to_string(),
        count(&["handled"]).to_string(),
        failed.to_string(),
        count(&["dropped"]).to_string(),
        guest.component.clone(),
    ]
}

fn canary_cells(host: &str, guest: &str, canary: &CanarySummary) -> [String; 9] {
    [
        host.to_owned(),
        format!("{guest} (canary, {})", per_cent(canary.share)),
        canary.version.to_string(),
        canary.queued.to_string(),
        canary.in_flight.to_string(),
        canary.handled.to_string(),
        canary.failed.to_string(),
        String::new(),
        canary.component.clone(),
    ]
}

fn per_cent(part: f64) -> String {
    Ratio::new(part).map_or_else(|| part.to_string(), |ratio| ratio.to_string())
}

fn show(args: &OneGuestArgs) -> Result<Exit, Failure> {
    let details: GuestDetails = HostClient::with(&args.query, async |hosts| {
        let host = hosts.meant(args.host.as_deref()).await?;
        Ok(hosts
            .tell(
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
        return Ok(Exit::Done);
    }
    let GuestDetails {
        host,
        guest,
        subscribe,
        may_subscribe,
        publish,
        request,
        buckets,
        ..
    } = details;
    let buckets: Vec<_> = buckets
        .iter()
        .map(|(name, access)| format!("{name} ({access})"))
        .collect();
    let happened = guest.stats.iter().filter(|(_, count)| **count > 0);
    let stats: Vec<_> = happened
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let rows = [
        ("host", host),
        ("guest", guest.name),
        ("component", guest.component),
        ("version", guest.version.to_string()),
        ("subscribed to", subscribe.join(", ")),
        ("may subscribe to", may_subscribe.join(", ")),
        ("may publish on", publish.join(", ")),
        ("may request", request.join(", ")),
        ("buckets", buckets.join(", ")),
        ("instances", details.instances.to_string()),
        ("memory", format!("{} bytes", details.memory_bytes)),
        ("time", format!("{} ms", details.time_ms)),
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
    let mut text = String::new();
    for (what, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(text, "{what:<19}{value}").context("cannot print")?;
    }
    output::text(&text)?;
    Ok(Exit::Done)
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
        "version {version}, {component}, with {} of the messages: {handled} handled, {failed} failed; of the last {window} \
         {recently_failed}, and {} may",
        per_cent(canary.share),
        per_cent(canary.max_failure),
    )
}

fn change(verb: Verb, done: &str, args: &ChangeArgs) -> Result<Exit, Failure> {
    let settings = read(&args.file)?;
    let (host, ended): (String, DrainSummary) = HostClient::with(&args.query, async |hosts| {
        let host = hosts.meant(args.host.as_deref()).await?;
        let request = LoadRequest {
            guest: args.guest.clone(),
            settings,
        };
        let ended = hosts.tell(&host, verb, &request).await?;
        Ok((host, ended))
    })?;
    tell(args.query.json, &host, &args.guest, done, &ended)
}

fn change_one(verb: Verb, done: &str, args: &OneGuestArgs) -> Result<Exit, Failure> {
    let (host, ended): (String, DrainSummary) = HostClient::with(&args.query, async |hosts| {
        let host = hosts.meant(args.host.as_deref()).await?;
        let ended = hosts
            .tell(
                &host,
                verb,
                &GuestRef {
                    guest: args.guest.clone(),
                },
            )
            .await?;
        Ok((host, ended))
    })?;
    tell(args.query.json, &host, &args.guest, done, &ended)
}

/// Says how a change ended. It was made, but messages may have been lost with the old version.
fn tell(
    as_json: bool,
    host: &str,
    guest: &str,
    done: &str,
    ended: &DrainSummary,
) -> Result<Exit, Failure> {
    if as_json {
        let DrainSummary {
            finished,
            abandoned,
            problems,
        } = ended;
        output::json(&json!({
            "host": host, "guest": guest, "done": done,
            "finished": finished, "abandoned": abandoned, "problems": problems,
        }))?;
    } else {
        ended
            .problems
            .iter()
            .for_each(|problem| output::say_bad("problem:", problem));
        if ended.abandoned > 0 {
            output::say_bad(
                "problem:",
                &format!("{} messages were not handled in time", ended.abandoned),
            );
        }
        output::say_good(&format!("{done}:"), &format!("{guest} on {host}"));
    }
    let is_clean = ended.abandoned == 0 && ended.problems.is_empty();
    Ok(if is_clean { Exit::Done } else { Exit::Failed })
}

/// The settings, as text. The host reads them, for they are about its files.
fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    let bytes = read.with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(
        bytes as u64 <= MAX_BYTES,
        "{} is larger than {MAX_BYTES} bytes",
        file.display()
    );
    Ok(text)
}
