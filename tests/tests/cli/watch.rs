//! `wharf run --watch`, and SIGHUP: a live host comes to run what its files say.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_nats::Client;
use rustix::process::Signal;
use tokio::task::JoinSet;
use wharf_tests::{TestServer, Wharf, round_trip};

use crate::command::{Place, guest};

const PATIENT: &str = "[nats]\ndrain_timeout = '60s'\n";

/// A server, and a host that runs what a directory's `wharf.toml` says.
struct Watched {
    // Ended before what it needs.
    host: Wharf,
    client: Client,
    place: Place,
    server: TestServer,
}

impl Watched {
    async fn start(place: Place, arguments: &[&str]) -> Self {
        let server = TestServer::start("").await.unwrap();
        let client = server.client().await.unwrap();
        let url = server.url();
        let host =
            Wharf::start(place.command(&[&["run", "--server", url.as_str()], arguments].concat()))
                .await
                .unwrap();
        Self {
            host,
            client,
            place,
            server,
        }
    }

    async fn with_config(config: &str, arguments: &[&str]) -> Self {
        let place = Place::new();
        place.write("wharf.toml", config);
        Self::start(place, arguments).await
    }

    async fn ask(&self, subject: &'static str, payload: &'static str) -> String {
        let reply = self.client.request(subject, payload.into()).await.unwrap();
        assert!(!failed(&reply), "{reply:?}");
        String::from_utf8(reply.payload.to_vec()).unwrap()
    }

    async fn ends_well(self) -> String {
        self.host.stop().await.unwrap().well().unwrap()
    }
}

fn failed(reply: &async_nats::Message) -> bool {
    reply
        .headers
        .as_ref()
        .is_some_and(|headers| headers.get("Nats-Service-Error").is_some())
}

/// Requests that never pause, each of which must be answered well.
struct Load {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Load {
    async fn start(server: &TestServer, subject: &'static str) -> Self {
        let mut load = Self {
            tasks: JoinSet::new(),
            stop: Arc::default(),
            answered: Arc::default(),
        };
        for _ in 0..4 {
            let client = server.client().await.unwrap();
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            load.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let reply = client
                        .request(subject, REPLY.into())
                        .await
                        .expect("an answer");
                    assert!(!failed(&reply), "{reply:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        assert!(self.answered.load(Ordering::Relaxed) > 0);
    }
}

/// What the echo answers with itself, and the probe with what is in it.
const REPLY: &str = r#"{ "do": "reply", "text": "probe" }"#;
const PUBLISH: &str = r#"{ "do": "publish", "subject": "out", "text": "x" }"#;

fn echo(name: &str, subject: &str, more: &str) -> String {
    format!(
        "[guests.{name}]\ncomponent = {:?}\nsubscribe = ['{subject}']\n{more}\n",
        guest("echo")
    )
}

fn probe(more: &str) -> String {
    format!(
        "[guests.probe]\ncomponent = {:?}\nsubscribe = ['probe']\n{more}\n",
        guest("probe")
    )
}

/// Puts a file in place as builds and editors do.
fn replace(place: &Place, name: &str, content: impl AsRef<[u8]>) {
    place.write(".next", content);
    std::fs::rename(place.path().join(".next"), place.path().join(name)).unwrap();
}

#[tokio::test]
async fn edits_of_the_configuration_load_replace_and_unload_guests_and_no_message_is_lost() {
    let first = format!("{PATIENT}{}{}", echo("steady", "steady", ""), probe(""));
    let mut watched = Watched::with_config(&first, &["--watch"]).await;
    let (steady, changing) = (
        Load::start(&watched.server, "steady").await,
        Load::start(&watched.server, "probe").await,
    );
    assert!(watched.ask("probe", PUBLISH).await.contains("denied"));

    let granted = format!("{first}publish = ['out']\n{}", echo("added", "added", ""));
    watched.place.write("wharf.toml", &granted);
    let line = watched.host.says("reloaded: ").await.unwrap();
    assert!(
        line.ends_with("reloaded: loaded added; replaced probe"),
        "{line}"
    );
    assert_eq!(watched.ask("added", "x").await, "x");
    assert!(watched.ask("probe", PUBLISH).await.contains("ok"));

    replace(&watched.place, "wharf.toml", &first);
    let line = watched.host.says("reloaded: ").await.unwrap();
    assert!(
        line.ends_with("reloaded: replaced probe; unloaded added"),
        "{line}"
    );
    assert!(watched.ask("probe", PUBLISH).await.contains("denied"));
    let gone = watched
        .client
        .request("added", "x".into())
        .await
        .unwrap_err();
    assert_eq!(gone.kind(), async_nats::RequestErrorKind::NoResponders);

    steady.end().await;
    changing.end().await;
    let said = watched.ends_well().await;
    assert!(said.contains(" 0 abandoned"), "{said}");
}

#[tokio::test]
async fn a_component_that_was_built_again_replaces_the_guest_and_no_message_is_lost() {
    let place = Place::new();
    // In a directory of its own, which a clean build removes.
    let built = place.path().join("out/debug");
    std::fs::create_dir_all(&built).unwrap();
    std::fs::copy(guest("echo"), built.join("guest.wasm")).unwrap();
    let mut watched = Watched::start(
        place,
        &["out/debug/guest.wasm", "--subscribe", "guest", "--watch"],
    )
    .await;
    let load = Load::start(&watched.server, "guest").await;
    assert_eq!(watched.ask("guest", REPLY).await, REPLY);

    replace(
        &watched.place,
        "out/debug/guest.wasm",
        std::fs::read(guest("probe")).unwrap(),
    );
    watched.host.says("reloaded: replaced guest").await.unwrap();
    assert_eq!(watched.ask("guest", REPLY).await, "probe");

    std::fs::remove_dir_all(watched.place.path().join("out")).unwrap();
    watched.host.says("cannot read component").await.unwrap();
    watched.host.says("not reloaded").await.unwrap();
    assert_eq!(watched.ask("guest", REPLY).await, "probe");
    std::fs::create_dir_all(&built).unwrap();
    std::fs::copy(guest("echo"), built.join("guest.wasm")).unwrap();
    watched.host.says("reloaded: replaced guest").await.unwrap();
    assert_eq!(watched.ask("guest", REPLY).await, REPLY);

    load.end().await;
    watched.ends_well().await;
}

#[tokio::test]
async fn an_edit_with_errors_changes_nothing_and_says_what_check_says() {
    let first = format!("{PATIENT}{}", echo("steady", "steady", ""));
    let mut watched = Watched::with_config(&first, &["--watch"]).await;
    let load = Load::start(&watched.server, "steady").await;
    let added = echo("added", "added", "");
    watched.place.write("text.wasm", "text");
    let trapping = r#"config = { start = '[{ "do": "trap" }]' }"#;
    for (edit, problem) in [
        (
            format!("{first}{added}publsh = ['x']\n"),
            "unknown key \"publsh\"",
        ),
        (
            format!("{first}{added}publish = ['a..b']\nrequest = 5\n"),
            "\"a..b\" has an empty token",
        ),
        (
            format!("{added}[guests.steady]\ncomponent = 'text.wasm'\n"),
            "guest \"steady\": ",
        ),
        ("[guests".to_owned(), "wharf.toml:1:"),
        (PATIENT.to_owned(), "wharf.toml has no [guests.NAME]"),
        (
            format!("{added}{}", probe(trapping)),
            "it trapped while it started",
        ),
    ] {
        watched.place.write("wharf.toml", &edit);
        watched.host.says(problem).await.unwrap();
        let line = watched.host.says("not reloaded: ").await.unwrap();
        assert!(line.contains("stay as they are"), "{line}");
        let checked = watched.place.run(&["check"]).await;
        assert!(
            checked.code == Some(0) || checked.stderr.contains(problem),
            "{checked:?}"
        );
        assert_eq!(watched.ask("steady", "x").await, "x");
        let gone = watched
            .client
            .request("added", "x".into())
            .await
            .unwrap_err();
        assert_eq!(gone.kind(), async_nats::RequestErrorKind::NoResponders);
    }
    watched.place.write("wharf.toml", format!("{first}{added}"));
    watched.host.says("reloaded: loaded added").await.unwrap();
    assert_eq!(watched.ask("added", "x").await, "x");
    load.end().await;
    watched.ends_well().await;
}

#[tokio::test]
async fn sighup_reloads_once_and_says_what_needs_a_restart() {
    let first = format!("{PATIENT}{}", echo("first", "first", ""));
    let mut watched = Watched::with_config(&first, &[]).await;
    let second = format!(
        "[nats]\ndrain_timeout = '59s'\n{}[buckets.b]\nhistory = 2\n",
        echo("second", "second", "")
    );
    watched.place.write("wharf.toml", second);
    assert_eq!(watched.ask("first", "x").await, "x");
    watched.host.signal(Signal::HUP).unwrap();
    watched
        .host
        .says("reloaded: loaded second; unloaded first")
        .await
        .unwrap();
    let line = watched.host.says("restart to apply").await.unwrap();
    assert!(line.contains("[nats], [buckets]"), "{line}");
    assert_eq!(watched.ask("second", "x").await, "x");
    watched.host.signal(Signal::HUP).unwrap();
    watched
        .host
        .says("reloaded: nothing has changed")
        .await
        .unwrap();
    watched.ends_well().await;
}

#[tokio::test]
async fn a_directory_that_a_link_leads_to_is_followed_when_the_link_is_turned() {
    let place = Place::new();
    let version = |name: &str, more: &str| {
        let directory = place.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(
            directory.join("wharf.toml"),
            format!("{}{more}", echo("first", "first", "")),
        )
        .unwrap();
    };
    version("v1", "");
    version("v2", &echo("second", "second", ""));
    // As Kubernetes mounts a ConfigMap.
    symlink("v1", place.path().join("current")).unwrap();
    symlink("current/wharf.toml", place.path().join("wharf.toml")).unwrap();
    let mut watched = Watched::start(place, &["--watch"]).await;
    let turned: &Path = &watched.place.path().join("next");
    symlink("v2", turned).unwrap();
    std::fs::rename(turned, watched.place.path().join("current")).unwrap();
    watched.host.says("reloaded: loaded second").await.unwrap();
    assert_eq!(watched.ask("second", "x").await, "x");
    watched.ends_well().await;
}

#[tokio::test]
async fn a_signal_is_heard_while_a_change_is_under_way() {
    let first = format!("{PATIENT}{}", echo("steady", "steady", ""));
    let watched = Watched::with_config(&first, &["--watch"]).await;
    let mut asked = watched.client.subscribe("gate").await.unwrap();
    round_trip(&watched.client).await.unwrap();
    // It never finishes starting.
    let start =
        r#"config = { start = '[{ "do": "request", "subject": "gate", "timeout_ms": 600000 }]' }"#;
    let more = format!("{start}\nrequest = ['gate']\nlimits = {{ time = '600s' }}");
    watched
        .place
        .write("wharf.toml", format!("{first}{}", probe(&more)));
    futures_util::StreamExt::next(&mut asked).await.unwrap();
    let said = watched.ends_well().await;
    assert!(!said.contains("reloaded"), "{said}");
}

#[tokio::test]
async fn what_reloading_says_is_json_where_a_machine_reads_it() {
    let first = format!("{PATIENT}{}", echo("steady", "steady", ""));
    let mut watched = Watched::with_config(&first, &["--log-format", "json"]).await;
    watched.place.write("wharf.toml", "[guests");
    watched.host.signal(Signal::HUP).unwrap();
    watched.host.says("not reloaded").await.unwrap();
    for line in watched.ends_well().await.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[tokio::test]
async fn a_canary_comes_and_goes_with_the_file_and_is_rolled_back_with_a_line_that_says_so() {
    let first = format!("{PATIENT}{}", echo("guest", "guest", ""));
    let mut watched = Watched::with_config(&first, &["--watch"]).await;
    // A copy, as it is built again.
    let probe = std::fs::read(guest("probe")).unwrap();
    watched.place.write("next.wasm", &probe);
    let canary =
        format!("{first}canary = {{ component = 'next.wasm', share = 1.0, max_failure = 0.0 }}\n");
    watched.place.write("wharf.toml", &canary);
    watched
        .host
        .says("reloaded: changed the canary of guest")
        .await
        .unwrap();
    assert_eq!(watched.ask("guest", REPLY).await, "probe");

    let trap = watched
        .client
        .request("guest", r#"{ "do": "trap" }"#.into())
        .await
        .unwrap();
    assert!(failed(&trap), "{trap:?}");
    assert_eq!(
        watched.ask("guest", REPLY).await,
        REPLY,
        "the next message is not the canary's"
    );
    let line = watched
        .host
        .says("the canary is rolled back")
        .await
        .unwrap();
    let words = "next.wasm: 1 of its last 2 messages failed, and of 100 0 may (max_failure = 0)";
    assert!(
        line.contains(words) && line.contains("guest=guest"),
        "{line}"
    );

    // Whatever else is edited, it stays out; a new build of it is tried.
    watched.place.write(
        "wharf.toml",
        format!("{canary}{}", echo("more", "more", "")),
    );
    watched.host.says("reloaded: loaded more").await.unwrap();
    assert_eq!(watched.ask("guest", REPLY).await, REPLY);
    let mut built_again = probe;
    // A custom section, empty but for its name.
    built_again.extend([0, 2, 1, b'x']);
    replace(&watched.place, "next.wasm", built_again);
    watched
        .host
        .says("reloaded: changed the canary of guest")
        .await
        .unwrap();
    assert_eq!(watched.ask("guest", REPLY).await, "probe");

    watched.place.write("wharf.toml", &first);
    watched
        .host
        .says("reloaded: changed the canary of guest; unloaded more")
        .await
        .unwrap();
    assert_eq!(watched.ask("guest", REPLY).await, REPLY);
    watched.ends_well().await;
}
