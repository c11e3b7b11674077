//! Settings out of texts that nobody meant as such.

use std::ffi::OsString;
use std::path::Path;

use super::guest_settings::{GuestSettings, SubjectGrant};
use super::layer::Layer;
use super::problem::{Problem, Problems};
use super::{Config, Sources, file, parse, server_url, settings_file};
use crate::fuzz::kind_of;
use crate::protocol::subject::{not_reserved, pattern};

/// The value of the variable that a text may refer to. No problem may quote it.
const SECRET: &str = "hunter2";

fn variable(name: &str) -> Option<OsString> {
    (name == "SECRET").then(|| SECRET.into())
}

/// Reads a text as each file there is, as a variable, and as each kind of value.
pub(crate) fn fuzz(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let problems = Problems::default();
    let path = Path::new("wharf.toml");
    let written = file::parse(path, &text, &variable, &problems);
    for guest in written.guests.values() {
        check(guest);
    }
    // What is finished may have problems that its parts have not.
    let finished = written.nats.finish(&problems);
    let from_file: Layer = settings_file::layer(Path::new("settings"), &text, &problems);
    from_file.finish(&problems);
    if let Ok(guest) = GuestSettings::parse("guest", &text, &variable) {
        check(&guest);
    }
    let (_, _, of_variables) = Config::read(&Sources {
        config: None,
        settings: None,
        env: &|name| name.starts_with("NATS_").then(|| text.as_ref().into()),
    });
    let all: Vec<Problem> = problems.in_order();
    for problem in all.iter().chain(&of_variables) {
        let words = problem.to_string();
        assert!(words.len() < 2200, "{words}");
        assert!(text.contains(SECRET) || !words.contains(SECRET), "{words}");
    }
    for line in text.lines() {
        let _ = parse::duration(line);
        let _ = parse::bytes(line);
        let _ = parse::parse_grant(line);
        let _ = parse::parse_bucket_grant(line);
        let _ = parse::parse_subscription(line);
        let _ = parse::check_otlp_endpoint(line);
        let _ = crate::component::parse_object(line);
        if let Ok(servers) = server_url::parse_servers(line) {
            for server in servers {
                let _ = server_url::redact_server(&server);
            }
        }
    }
    let begins: Vec<String> = all
        .iter()
        .take(3)
        .map(|problem| problem.message.chars().take(24).collect())
        .collect();
    kind_of(&(begins, all.len().min(4), format!("{finished:?}").len() / 16))
}

/// Checks that settings without a problem grant nothing that they must not.
fn check(guest: &GuestSettings) {
    let grants = [&guest.publish, &guest.request, &guest.may_subscribe];
    let granted = grants.into_iter().flatten();
    let granted = granted.map(|SubjectGrant { subject, .. }| subject);
    let subscribed = guest.subscribe.iter().map(|one| &one.subject);
    for subject in granted.chain(subscribed) {
        assert_eq!(pattern(subject), Ok(()), "{subject:?}");
        assert_eq!(not_reserved(subject), Ok(()), "{subject:?}");
    }
}
