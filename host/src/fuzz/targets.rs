//! The list of targets.

use super::fuzzer::{Target, kind_of, run_as_told, run_for_a_moment};

/// Defines targets, each with two tests: a moment with all other tests, and a run by `cargo xtask fuzz`.
macro_rules! targets {
    ($($name:ident: $run:path, $words:expr;)*) => {
        mod moment {
            $(#[test]
            fn $name() {
                super::run_for_a_moment(&super::Target {
                    name: stringify!($name),
                    run: $run,
                    words: $words,
                });
            })*
        }

        mod run {
            $(#[test]
            #[ignore = "run by `cargo xtask fuzz`"]
            fn $name() {
                super::run_as_told(&super::Target {
                    name: stringify!($name),
                    run: $run,
                    words: $words,
                });
            })*
        }
    };
}

/// Inspects a component. What was found is not told: inputs are of a kind if they are about as long and begin alike.
fn inspect_component(bytes: &[u8]) -> u64 {
    crate::fuzzing::inspect(bytes);
    kind_of(&(bytes.len() / 16, bytes.get(8)))
}

/// Filters a server's stream. Inputs are of a kind if they are about as long and begin with the same verb.
fn filter_stream(bytes: &[u8]) -> u64 {
    crate::fuzzing::filter(bytes);
    kind_of(&(bytes.len() / 16, bytes.get(..4)))
}

targets! {
    filter: super::filter_stream, &[
        "MSG ", "HMSG ", "INFO {}", "PING", "PONG", "+OK", "-ERR 'x'", "NATS/1.0", "NATS/1.0 503", "\r\n", "\r\n\r\n", "a 1 ",
        "12", "22 24", ": ", "\r", "\n", "\t", " ", "\0", "\u{85}", "KV-Operation: DEL", "a.b", "18446744073709551615",
    ];
    component: super::inspect_component, &["wharf:nats/pubsub@0.2.0", "wasi:io/poll@0.2.0", "\0asm", "\x01", "\x7f"];
    config: crate::config::fuzz, &[
        "[nats]", "[host]", "[admin]", "[http]", "[otlp]", "[guests.a]", "[guests.a.canary]", "[buckets.b]", "servers",
        "server = ", "component = ", "subscribe = [", "publish = ", "limits.time = ", "\"5s\"", "\"64MiB\"", "replies",
        "${", "}", "$$", "\"\"\"", "NATS.SERVER=", "NATS.", "nats://", "tls://u:p@", "true", "-1", "= {", "]]", "[[",
    ];
    policy: crate::policy::fuzz, &[
        "*", ">", ".*", ".>", "*.", "$", "$JS.", "_INBOX", "_INBOX.", "wharf.", "wharf.admin", "admin", "a", "a.b", "..", "\n",
    ];
    subject: crate::protocol::subject::fuzz, &[
        "*", ">", ".*", ".>", "a", "a.b", "..", "$KV.", "_INBOX.", "wharf.admin", "\n", "å", "\u{85}", "\u{2028}", " ",
    ];
    key: crate::connector::fuzz_key, &[
        ".", "..", "=", "=2E", "=3D", "=00", "a", "\n", "å", "\u{fffd}", "/", "-", "_", ":",
    ];
    headers: crate::headers::fuzz, &[
        "Nats-", "Nats-TTL", "KV-Operation", "traceparent", "Nats-Service-Error", ": ", "\r\n", "\n", "\r", "\0", "\t", "ä",
        "\u{85}", "\u{2028}",
    ];
    stored_headers: crate::connector::fuzz_stored_headers, &[
        "NATS/1.0\r\n", "NATS/1.0 503\r\n", "KV-Operation: DEL", "KV-Operation: PURGE", "KV-Operation", "Nats-TTL: ",
        "Nats-Marker-Reason: MaxAge", "Wharf-Expires: 1", "\r\n", "\r\n\r\n", "\n", "\r", ": ", ":", " ", "\t", "1h0m0s", "never",
    ];
}
