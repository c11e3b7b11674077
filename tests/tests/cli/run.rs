//! `wharf run`: from start to stop.

use std::path::PathBuf;

use rustix::process::Signal;
use wharf_tests::TestServer;

use crate::command::{Place, Running, target};

/// A guest that answers a message with its payload.
fn echo() -> String {
    let guest: PathBuf = target().join("wasm32-wasip2/guest/echo.wasm");
    assert!(guest.exists(), "{} is not built: run `cargo xtask guests` first", guest.display());
    guest.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_server_it_starts_one_that_send_finds_and_stops_it_last() {
    let place = Place::new();
    let guest = echo();
    let mut host = Running::start(place.command(&["run", &guest, "--subscribe", "echo.*"]));
    let ready = host.says("ready: 1 guest, nats://127.0.0.1:").await;
    let url = ready.rsplit_once(", ").unwrap().1.to_owned();
    let ended = place.run(&["send", "--request", "echo.a", "Good day"]).await;
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(0), &b"Good day"[..]), "{ended:?}");
    host.signal(Signal::TERM);
    let (code, said) = host.ends().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("SIGTERM: ") && said.contains("stopped: "), "{said}");
    assert!(async_nats::connect(url).await.is_err(), "the server has ended, too");
}

#[tokio::test]
async fn a_host_of_a_file_uses_the_server_that_is_named() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    place.write("wharf.toml", format!("[guests.echo]\ncomponent = {:?}\nsubscribe = ['echo']\n", echo()));
    let mut host = Running::start(place.command(&["run", "--server", &server.url()]));
    assert!(host.says("ready: ").await.ends_with(&server.url()));
    let client = server.client().await.unwrap();
    let reply = client.request("echo", "x".into()).await.unwrap();
    assert_eq!(reply.payload, "x");
    host.signal(Signal::INT);
    let (code, said) = host.ends().await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn log_lines_are_json_where_a_machine_reads_them() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let arguments =
        ["run", &echo(), "--subscribe", "echo", "--server", &server.url(), "--log-format", "json"];
    let mut host = Running::start(place.command(&arguments));
    host.says("ready: 1 guest").await;
    host.signal(Signal::TERM);
    let (code, said) = host.ends().await;
    assert_eq!(code, Some(0), "{said}");
    for line in said.lines() {
        let json: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(json["message"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_for_good_ends_the_host_with_code_1() {
    let mut server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let guest = echo();
    let mut command = place.command(&["run", &guest, "--subscribe", "echo", "--server", &server.url()]);
    command.env("NATS_MAX_RECONNECT", "1").env("NATS_RECONNECT_WAIT", "10ms").env("NATS_DRAIN_TIMEOUT", "2s");
    let mut host = Running::start(command);
    host.says("ready: ").await;
    server.kill().await.unwrap();
    host.says("error: the host cannot go on: ").await;
    let (code, said) = host.ends().await;
    assert_eq!(code, Some(1), "{said}");
}

#[tokio::test]
async fn a_guest_that_is_none_is_one_clear_error() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    place.write("other.wasm", wat::parse_str("(component)").unwrap());
    for (file, part) in
        [("missing.wasm", "cannot read component missing.wasm"), ("other.wasm", "does not export")]
    {
        let ended = place.run(&["run", file, "--subscribe", "a", "--server", &server.url()]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(part), "{ended:?}");
        assert_eq!(ended.stderr.matches("error:").count(), 1, "{ended:?}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_a_failure_at_run_time() {
    let server = TestServer::start("").await.unwrap();
    let url = server.url();
    drop(server);
    let ended = Place::new().run(&["run", &echo(), "--subscribe", "a", "--server", &url]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("error: cannot connect to NATS"), "{ended:?}");
}
