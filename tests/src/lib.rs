//! End-to-end tests of the host, against real nats-servers and with real guests, and what they share: servers, the ways to
//! authenticate with them, the command as a child process, and waiting for events.
//!
//! Where something is proved, in `tests/`:
//!
//! | file | what holds |
//! |---|---|
//! | `admin.rs`                     | hosts are seen and changed from outside: as micro services, and by the command |
//! | `architecture.rs`              | the walls between the host's modules stand, and ARCHITECTURE.md is true of them |
//! | `canary.rs`                    | a canary gets its share of messages; it is promoted, aborted or rolled back, and no message is lost |
//! | `changes.rs`                   | guests are loaded, replaced and unloaded while the host runs, and no message is lost |
//! | `cli/command.rs`               | (no tests: the command in a directory of its own) |
//! | `cli/main.rs`                  | (no tests: the command, as people and scripts use it) |
//! | `cli/offline.rs`               | `wharf check`, `inspect` and help need no server and say what is wrong |
//! | `cli/push.rs`                  | `wharf push` stores a component, and hosts that follow it run it |
//! | `cli/run.rs`                   | `wharf run` starts, is ready, drains at a signal, and ends with the right exit code |
//! | `cli/send.rs`                  | `wharf send` publishes and requests as it is told |
//! | `cli/watch.rs`                 | `wharf run --watch` and SIGHUP: a live host comes to run what its files say |
//! | `config.rs`                    | settings as they are written become settings as they are meant; each mistake is named with its place |
//! | `connection/another_client.rs` | a client that panics is followed by another, which goes on for it |
//! | `connection/auth.rs`           | every way to authenticate works, and its refusal is told |
//! | `connection/drain.rs`          | a connection stops without losing a message |
//! | `connection/filter.rs`        | what the client cannot read costs one interruption, or none where the filter is always on |
//! | `connection/jetstream.rs`      | a stream's acknowledgement is waited for, and its refusal told |
//! | `connection/main.rs`           | (no tests: the connection, through the connector for Rust callers) |
//! | `connection/malformed.rs`      | whoever sends what no client can read interrupts the connection, and no more |
//! | `connection/own_server.rs`     | the nats-server of our own starts, keeps its data, and ends with its host |
//! | `connection/pubsub.rs`         | publish, subscribe and request do what they promise to Rust callers |
//! | `connection/recovery.rs`       | the connection outlives servers that go away and come back, and ends when it should |
//! | `connection/tls.rs`            | both sides of TLS prove who they are |
//! | `connection_filtered/main.rs`  | the tests of `connection/` with each connection through the filter |
//! | `drain.rs`                     | what has arrived is handled before a host stops, what was published arrives, and the rest is reported |
//! | `errors.rs`                    | errors that stop a start or a load say by their variant what is at fault |
//! | `guest_connection.rs`          | guests outlive breaks of the connection, and hosts share the work |
//! | `guest_errors.rs`              | a guest is told what the server refuses or lacks, and lives on |
//! | `guest_files.rs`               | which files a guest reaches, and that what it takes of descriptors, threads and disk is bounded |
//! | `guest_keyvalue.rs`            | every function of `wharf:nats/keyvalue`, its success and its errors, from a real guest |
//! | `guest_limits.rs`              | what a guest uses up is bounded, and trying more costs it an instance, not the host |
//! | `guest_pubsub.rs`              | every function of `wharf:nats/pubsub` and `jetstream`, its success and its errors, from a real guest |
//! | `guest_world.rs`               | what a guest sees beside NATS, when it is started and stopped, and which components are no guests |
//! | `host_intake.rs`               | what is sent to the host itself holds up nobody and fills no memory |
//! | `hostile/admin.rs`             | orders that cannot be read are refused, and the next is carried out |
//! | `hostile/encoding.rs`          | headers that are no UTF-8 cost one interruption at most |
//! | `hostile/gone.rs`              | senders who leave before they are answered cost nobody anything |
//! | `hostile/header_line.rs`       | lines without a colon cost one interruption at most |
//! | `hostile/header_name.rs`       | names that are none cost one interruption at most |
//! | `hostile/header_value.rs`      | lone carriage returns cost one interruption at most |
//! | `hostile/http.rs`              | whoever holds connections over HTTP keeps nobody out |
//! | `hostile/inbox.rs`             | nobody guesses where the answer to another request goes |
//! | `hostile/large.rs`             | large messages are held within the bounds of a queue |
//! | `hostile/log.rs`               | malformed messages neither fill the log nor write into it |
//! | `hostile/long_subjects.rs`     | subjects of many bytes or tokens cost nobody anything |
//! | `hostile/main.rs`              | (no tests: what strangers send at their worst, and the neighbour that goes on meanwhile) |
//! | `hostile/many_headers.rs`      | headers without end are not held |
//! | `hostile/many_keys.rs`         | listing a large bucket holds up nobody |
//! | `hostile/many_small.rs`        | small messages beyond a queue are dropped |
//! | `hostile/replies_elsewhere.rs` | no sender has the host publish where it may not itself |
//! | `hostile/reserved_headers.rs`  | headers with a meaning elsewhere mean nothing to the host |
//! | `hostile/services.rs`          | a flood of questions to the service holds up nobody |
//! | `hostile/slow_reader.rs`       | clients that read nothing hold up nobody |
//! | `hostile/stage.rs`             | (no tests: the host, and the measuring of the neighbour) |
//! | `hostile/status.rs`            | statuses that are no number cost one interruption at most |
//! | `hostile/stored.rs`            | a bucket with malformed messages is read, listed and cleared |
//! | `hostile/subject.rs`           | subjects that are no text cost one interruption at most |
//! | `hostile/version.rs`           | headers of another version cost one interruption at most |
//! | `hostile_guests.rs`            | a guest that does its worst does not harm its neighbour |
//! | `http.rs`                      | `/livez` and `/readyz` are right at every stage, and `/metrics` to the message |
//! | `instances.rs`                 | instances are shared: guests get them as they need them, and keep them from nobody |
//! | `keyvalue/buckets.rs`          | buckets are created, changed and deleted as the settings say |
//! | `keyvalue/cluster.rs`          | a bucket of three servers outlives one of them |
//! | `keyvalue/errors.rs`           | what buckets refuse is refused, and says so |
//! | `keyvalue/interop.rs`          | buckets are shared with other clients |
//! | `keyvalue/listing.rs`          | all keys are listed and counted |
//! | `keyvalue/main.rs`             | (no tests: key/value, for Rust callers) |
//! | `keyvalue/malformed.rs`        | messages that no client can read are keys and values like any other |
//! | `keyvalue/ttl.rs`              | values expire when they should, whoever writes them |
//! | `keyvalue/values.rs`           | every function on values, as one caller sees it |
//! | `keyvalue/writers.rs`          | of several writers at once each succeeds or is told |
//! | `malformed.rs`                 | a message that no client can read harms nobody but its receiver, with guests on the host |
//! | `objects.rs`                   | components come from object stores and are followed there, for programs that embed the host |
//! | `one_list.rs`                  | each grant and each outcome is in the configuration, the flags, the metrics and what `show` says |
//! | `otlp.rs`                      | a collector receives traces as they happened |
//! | `quakes.rs`                    | every example does the same job, whatever it is written in |
//! | `readme.rs`                    | the README's "Your first guest" works to the letter |
//! | `refusals.rs`                  | senders of messages that no guest handles hear so at once |
//! | `sdk.rs`                       | the promises of the SDK for Rust hold on a real host, in JSON and in MessagePack |
//!
//! What needs no server is tested beside the code.

mod built;
mod jwt;
pub mod probe;
pub mod raw;
mod server;
mod tls;
mod wait;
pub mod walls;
pub mod wharf;

pub use built::{component, program, target, workspace};
pub use jwt::{JwtUser, Operator};
pub use server::{TestServer, filter, nats_server};
pub use tls::{Authority, Identity};
pub use wait::{PATIENCE, round_trip, soon, until};
pub use wharf::{Ended, Wharf};

/// The README's example of a program that embeds the host compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use anyhow::{Context, Result};

    use super::*;

    /// The files of tests in a folder, and in those in it.
    fn files(folder: &Path, below: &str) -> Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                files.extend(self::files(&entry.path(), &format!("{name}/"))?);
            } else {
                files.insert(name);
            }
        }
        Ok(files)
    }

    #[test]
    fn the_table_above_has_every_file_of_tests_and_no_other() -> Result<()> {
        let rows = include_str!("lib.rs").lines();
        let rows = rows.filter_map(|line| line.strip_prefix("//! | `")?.split_once('`'));
        let listed: Vec<&str> = rows.map(|(file, _)| file).collect();
        let sorted: BTreeSet<String> = listed.iter().map(|&file| file.to_owned()).collect();
        assert_eq!(sorted, files(&workspace().join("tests/tests"), "")?);
        assert!(
            listed.is_sorted() && listed.len() == sorted.len(),
            "in order, each once"
        );
        Ok(())
    }

    /// Whether a file has a test of this name.
    fn has_test(path: &str, name: &str) -> Result<bool> {
        let text = std::fs::read_to_string(workspace().join(path))
            .with_context(|| format!("`{path}` is named in docs/security.md"))?;
        let mut lines = text.lines().rev().skip_while(|line| {
            let line = line.trim_start().trim_start_matches("async ");
            let name_on = line.strip_prefix("fn ").map(|line| line.strip_prefix(name));
            !name_on.flatten().is_some_and(|line| line.starts_with('('))
        });
        lines.next();
        let mut attributes = lines.take_while(|line| line.trim_start().starts_with("#["));
        Ok(attributes.any(|line| line.contains("test]") || line.contains("test(")))
    }

    #[test]
    fn whatever_nobody_can_do_is_shown_by_tests_that_exist() -> Result<()> {
        let page = include_str!("../../docs/security.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
        let mut named = 0;
        for row in rows.iter().filter(|row| !row.starts_with("| they cannot ")) {
            let (_, tests) = row[2..].split_once(" | ").context(row.to_string())?;
            for test in tests.split(", ") {
                let test = test.trim_end_matches(" |").trim_matches('`');
                let (path, name) = test.rsplit_once(':').context(row.to_string())?;
                assert!(has_test(path, name)?, "`{path}` has no test `{name}`");
                named += 1;
            }
        }
        assert!(named > 30, "{named} tests are named");
        Ok(())
    }
}
