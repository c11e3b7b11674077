//! Subjects and headers by which servers and hosts take orders: never a guest's.

use super::service_error::{SERVICE_ERROR, SERVICE_ERROR_CODE};

/// The root of the subjects of all hosts' administration.
pub(crate) const ADMIN_ROOT: &str = "wharf.admin";

/// Subjects on which the server, its key/value buckets, request inboxes and hosts' operators live. Whoever may publish
/// there may do all that the host's own connection may.
pub(crate) fn is_reserved(subject: &str) -> bool {
    takes_orders(subject) || is_at_or_below("_INBOX", subject)
}

/// Subjects on which the server, or a host, does what it is told. No answer may go there, whoever asked for it.
pub(crate) fn takes_orders(subject: &str) -> bool {
    subject.starts_with('$') || is_at_or_below(ADMIN_ROOT, subject)
}

fn is_at_or_below(root: &str, subject: &str) -> bool {
    subject
        .strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Headers by which the server takes orders: a guest may not set them. The two of a service's error answer are only
/// information for the one who asked.
/// <https://docs.nats.io/nats-concepts/jetstream/headers>
pub(crate) fn is_reserved_header(name: &str) -> bool {
    if [SERVICE_ERROR, SERVICE_ERROR_CODE]
        .iter()
        .any(|allowed| name.eq_ignore_ascii_case(allowed))
    {
        return false;
    }
    let begins = name
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("Nats-"));
    begins || name.eq_ignore_ascii_case("KV-Operation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_give_orders_to_the_server_are_reserved() {
        for name in [
            "Nats-Msg-Id",
            "nats-rollup",
            "NATS-TTL",
            "KV-Operation",
            "kv-operation",
        ] {
            assert!(is_reserved_header(name), "{name}");
        }
        for name in [
            "Nats-Service-Error",
            "nats-service-error-code",
            "Content-Type",
            "Nats",
            "traceparent",
            "é-é-é",
        ] {
            assert!(!is_reserved_header(name), "{name}");
        }
    }
}
