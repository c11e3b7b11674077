//! Where servers are: `host:port`, `nats://host:port` or `tls://host:port`.

use std::fmt;

/// Reads one server or several, with commas between them.
///
/// # Errors
/// Says in words what keeps the text from being servers. Never repeats a password.
pub fn parse_servers(text: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let count = parts.len();
    let read = |(index, part): (usize, &&str)| {
        server(part).map_err(|reason| match count {
            1 => reason,
            _ => format!("{reason} (number {} of {count})", index + 1),
        })
    };
    parts.iter().enumerate().map(read).collect()
}

/// A server, with its scheme put before it where it has none.
fn server(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    if !matches!(scheme, "nats" | "tls") {
        return Err("has a scheme other than nats:// and tls://".to_owned());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, address) = match rest.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, rest),
    };
    if user.is_some_and(str::is_empty) {
        return Err("has an `@` with no user before it".to_owned());
    }
    check_address(address)?;
    Ok(format!("{scheme}://{rest}"))
}

fn check_address(address: &str) -> Result<(), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(ipv6) => ipv6.split_once(']').ok_or("has a `[` without a `]`")?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    let safe = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(safe) {
        return Err("names no host".to_owned());
    }
    match port.strip_prefix(':').map(str::parse::<u16>) {
        None if port.is_empty() => Ok(()),
        Some(Ok(port)) if port > 0 => Ok(()),
        _ => Err("has a port that is no number from 1 to 65535".to_owned()),
    }
}

/// A server as it may be printed: without its user's password.
#[must_use]
pub fn redact_server(server: &str) -> String {
    let (scheme, rest) = server.split_once("://").unwrap_or(("", server));
    let Some((_, address)) = rest.rsplit_once('@') else {
        return server.to_owned();
    };
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}***@{address}")
}

/// Prints servers without their users' passwords.
pub(super) struct Redacted<'a>(pub(super) &'a [String]);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|server| redact_server(server)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_separated_by_commas_and_get_a_scheme() {
        let servers = parse_servers(" localhost:4222 , tls://b.example.com,nats://[::1]:4223/")
            .expect("valid");
        assert_eq!(
            servers,
            [
                "nats://localhost:4222",
                "tls://b.example.com",
                "nats://[::1]:4223"
            ]
        );
        assert_eq!(
            parse_servers("nats://me:pw@a:1").expect("valid"),
            ["nats://me:pw@a:1"]
        );
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let bad = [
            "", ",", "a,,b", "http://a", "ws://a:1", "a:b", "a:0", "a:70000", ":4222", "a b",
            "[::1", "nats://",
        ];
        for bad in bad
            .into_iter()
            .chain(["nats://@a", "a/b", "nats://a:1/path", "[::1]x"])
        {
            assert!(parse_servers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_password_is_repeated() {
        for secret in [
            "nats://u:hunter2@a:1",
            "u:hunter2@a",
            "nats://hunter2@a",
            "nats://u:hunter2@x@a",
        ] {
            assert!(!redact_server(secret).contains("hunter2"), "{secret}");
        }
        let refused = parse_servers("nats://u:hun,ter2@a:1").expect_err("a comma in a password");
        assert!(!refused.contains("hun"), "{refused}");
    }
}
