//! Values that are written as text, the same in every file, variable and argument.
//!
//! Every `Err` continues a sentence that begins with the text: `"5x"` + ` is not a duration …`.

use std::net::SocketAddr;
use std::time::Duration;

use super::connection_settings::FilterMode;
use super::guest_settings::{BucketAccess, SubjectGrant, SubscriptionSettings};
use crate::protocol::duration::parse_go_duration;
use crate::protocol::reserved::takes_orders;
use crate::protocol::{bucket_rules, subject};

/// Longer durations are typing errors, and clocks overflow with them.
const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A duration of more than nothing, as Go or as people write it: `2s`, `1m30s`, `1.5h`, `2days 4h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let found = parse_go_duration(text).or_else(|| humantime::parse_duration(text).ok());
    match found {
        None => Err("is not a duration such as \"500ms\", \"2s\" or \"1m30s\"".to_owned()),
        Some(Duration::ZERO) => Err("is no time at all; it must be more than 0".to_owned()),
        Some(found) if found > MAX => Err("is longer than 100 years".to_owned()),
        Some(found) => Ok(found),
    }
}

/// A number of bytes: `65536`, `64KiB`, `1.5GiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match text.parse::<bytesize::ByteSize>() {
        Ok(size) if size.0 > 0 => Ok(size.0),
        Ok(_) => Err("is no bytes at all; it must be more than 0".to_owned()),
        Err(_) => Err("is not a number of bytes such as 65536 or \"64MiB\"".to_owned()),
    }
}

/// Reads an address to listen on.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "is not an IP address and a port such as \"127.0.0.1:9464\"".to_owned())
}

/// Reads what Go's `strconv.ParseBool` takes.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// The use of the filter for malformed messages.
pub(super) fn filter_mode(text: &str) -> Result<FilterMode, String> {
    match text {
        "auto" => Ok(FilterMode::Auto),
        "always" => Ok(FilterMode::Always),
        "never" => Ok(FilterMode::Never),
        _ => Err("is neither \"auto\" nor \"always\" nor \"never\"".to_owned()),
    }
}

/// A number of tries to reconnect: -1 is unlimited.
pub(super) fn max_reconnect(text: &str) -> Result<Option<u32>, String> {
    match text.trim().parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(tries) if u32::try_from(tries).is_ok() => Ok(u32::try_from(tries).ok()),
        _ => Err("is not a number of tries: -1 is unlimited, 0 is never".to_owned()),
    }
}

/// A bucket's name.
pub(super) fn bucket_name(text: &str) -> Result<String, String> {
    bucket_rules::check_name(text).map(|()| text.to_owned())
}

/// A guest's name.
pub(super) fn check_guest_name(text: &str) -> Result<(), String> {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if text.is_empty() || !text.chars().all(safe) {
        return Err("is not a guest's name: small letters, digits, `-` and `_`".to_owned());
    }
    Ok(())
}

/// A host's name.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    const MAX_CHARACTERS: usize = 64;
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.is_empty() || text.len() > MAX_CHARACTERS || !text.chars().all(safe) {
        return Err(format!(
            "is not a host's name: up to {MAX_CHARACTERS} letters, digits, `-` and `_`"
        ));
    }
    Ok(text.to_owned())
}

/// A subject that a guest may be subscribed to or granted.
pub(super) fn guest_subject(text: &str) -> Result<String, String> {
    subject::pattern(text)?;
    subject::not_reserved(text)?;
    Ok(text.to_owned())
}

/// Subjects that answers may go to.
pub(super) fn reply_subject(text: &str) -> Result<String, String> {
    subject::pattern(text)?;
    if takes_orders(text) {
        return Err("is for orders to the server or to hosts: no answer goes there".to_owned());
    }
    Ok(text.to_owned())
}

/// A queue group.
pub(super) fn queue(text: &str) -> Result<String, String> {
    subject::queue(text).map(|()| text.to_owned())
}

/// Reads the address of a collector of traces: `http://host:port`.
pub(super) fn otlp_endpoint(text: &str) -> Result<String, String> {
    check_otlp_endpoint(text).map(|()| text.to_owned())
}

/// The same check for settings that were not read from a file.
pub(crate) fn check_otlp_endpoint(text: &str) -> Result<(), String> {
    if text.starts_with("https://") {
        return Err(
            "is https, and traces are sent by http: to a collector beside the host".to_owned(),
        );
    }
    let no_url = || "is not an address such as \"http://127.0.0.1:4318\"".to_owned();
    let url: http::Uri = text.parse().map_err(|_| no_url())?;
    let address = url
        .authority()
        .filter(|_| url.scheme_str() == Some("http"))
        .ok_or_else(no_url)?;
    if address.as_str().contains('@') {
        return Err("has a user in it, which is not supported".to_owned());
    }
    if url.query().is_some() || text.contains('#') {
        return Err("has more after its path, which is not supported".to_owned());
    }
    if url.path().trim_end_matches('/').ends_with("/v1/traces") {
        return Err("ends in /v1/traces, which is added to it".to_owned());
    }
    Ok(())
}

/// Reads a subscription from an argument: a subject, with wildcards.
///
/// # Errors
/// Says in words what keeps the text from being such a subject.
pub fn parse_subscription(text: &str) -> Result<SubscriptionSettings, String> {
    guest_subject(text).map(SubscriptionSettings::new)
}

/// Reads a duration from an argument, as Go or as people write it: `2s`, `1m30s`, `2h`.
///
/// # Errors
/// Says in words what keeps the text from being a duration of more than nothing.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text)
}

/// Reads a subject to publish on from an argument.
///
/// # Errors
/// Says in words what keeps the text from being such a subject.
pub fn parse_subject(text: &str) -> Result<String, String> {
    subject::check_subject(text).map(|()| text.to_owned())
}

/// Reads a host's name from an argument.
///
/// # Errors
/// Says in words what keeps the text from being such a name.
pub fn parse_host_name(text: &str) -> Result<String, String> {
    host_name(text)
}

/// Reads a guest's name from an argument.
///
/// # Errors
/// Says in words what keeps the text from being such a name.
pub fn parse_guest_name(text: &str) -> Result<String, String> {
    check_guest_name(text).map(|()| text.to_owned())
}

/// Reads a queue group's name from an argument.
///
/// # Errors
/// Says in words what keeps the text from being such a name.
pub fn parse_queue(text: &str) -> Result<String, String> {
    queue(text)
}

/// Reads a grant to publish or request from an argument: a subject, with wildcards.
///
/// # Errors
/// Says in words what keeps the text from being such a subject.
pub fn parse_grant(text: &str) -> Result<SubjectGrant, String> {
    guest_subject(text).map(SubjectGrant::new)
}

/// Reads a grant to use a bucket from an argument: `bucket` or `bucket:read`.
///
/// # Errors
/// Says in words what keeps the text from being such a grant.
pub fn parse_bucket_grant(text: &str) -> Result<(String, BucketAccess), String> {
    let (name, access) = match text.split_once(':') {
        None => (text, BucketAccess::ReadWrite),
        Some((name, "read-write")) => (name, BucketAccess::ReadWrite),
        Some((name, "read")) => (name, BucketAccess::Read),
        Some(_) => return Err("ends neither in `:read` nor in `:read-write`".to_owned()),
    };
    Ok((bucket_name(name)?, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_and_as_people_write_them() {
        for (text, millis) in [
            ("2s", 2000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("1h", 3_600_000),
            ("2m 1s", 121_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "1.2.3s",
            "five",
            "999999999999y",
            "1e400s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bucket_is_granted_to_write_unless_it_says_read() {
        assert_eq!(
            parse_bucket_grant("b"),
            Ok(("b".to_owned(), BucketAccess::ReadWrite))
        );
        assert_eq!(
            parse_bucket_grant("b:read"),
            Ok(("b".to_owned(), BucketAccess::Read))
        );
        for bad in ["", ":read", "b:", "b:write", "a.b"] {
            assert!(parse_bucket_grant(bad).is_err(), "{bad}");
        }
    }
}
