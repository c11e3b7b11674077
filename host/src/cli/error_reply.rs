//! Errors in replies of services:
//! <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>.

use async_nats::Message;
use wharf::admin::{SERVICE_ERROR, SERVICE_ERROR_CODE};

use super::output::plain;

/// The error in a service's reply, as text: `error 503: the host is stopping`. `None` if it has neither
/// of the two headers.
pub(super) fn service_error(reply: &Message) -> Option<String> {
    let headers = reply.headers.as_ref()?;
    let (reason, code) = (headers.get(SERVICE_ERROR), headers.get(SERVICE_ERROR_CODE));
    if reason.is_none() && code.is_none() {
        return None;
    }
    let code = code.map_or_else(String::new, |code| format!(" {code}"));
    let reason = reason.map_or("no reason given", |reason| reason.as_str());
    Some(plain(&format!("error{code}: {reason}")))
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use bytes::Bytes;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "these values can travel")]
    fn reply(headers: &[(&'static str, &'static str)]) -> Message {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        Message {
            subject: "_INBOX.1".into(),
            reply: None,
            payload: Bytes::new(),
            headers: Some(map).filter(|map| !map.is_empty()),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn either_header_makes_a_reply_an_error() {
        for (headers, text) in [
            (&[] as &[_], None),
            (&[("Trace", "42")], None),
            (&[(SERVICE_ERROR, "\u{1b}[2Jno")], Some("error:  [2Jno")),
            (
                &[
                    ("Nats-Service-Error-Code", "503"),
                    ("Nats-Service-Error", "the host is stopping"),
                ],
                Some("error 503: the host is stopping"),
            ),
            (
                &[("Nats-Service-Error-Code", "404")],
                Some("error 404: no reason given"),
            ),
            (
                &[("Nats-Service-Error", "too busy")],
                Some("error: too busy"),
            ),
        ] {
            assert_eq!(service_error(&reply(headers)).as_deref(), text);
        }
    }
}
