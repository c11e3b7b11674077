//! `wharf run`: from start to stop.

use std::process::Stdio;

use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use wharf_tests::raw::{LONE_CR, Raw, SPACE_IN_NAME};
use wharf_tests::{Ended, TestServer, Wharf, soon};

use crate::command::{Place, guest};

/// A guest that answers a message with its payload.
fn echo() -> String {
    guest("echo")
}

#[tokio::test]
async fn without_a_server_it_starts_one_that_send_finds_and_stops_it_last() {
    let place = Place::new();
    let guest = echo();
    let mut host = Wharf::spawn(place.command(&["run", &guest, "--subscribe", "echo.*"])).unwrap();
    let ready = host
        .says("ready: 1 guest, nats://127.0.0.1:")
        .await
        .unwrap();
    let url = ready.rsplit_once(", ").unwrap().1.to_owned();
    let ended = place
        .run(&["send", "--request", "echo.a", "Good day"])
        .await;
    assert_eq!(
        (ended.code, ended.stdout.as_slice()),
        (Some(0), &b"Good day"[..]),
        "{ended:?}"
    );
    let said = host.stop().await.unwrap().well().unwrap();
    assert!(
        said.contains("SIGTERM: ") && said.contains("stopped: "),
        "{said}"
    );
    assert!(
        async_nats::connect(url).await.is_err(),
        "the server has ended, too"
    );
}

#[tokio::test]
async fn a_host_whose_output_nobody_reads_answers_and_stops_all_the_same() {
    let server = TestServer::start("").await.unwrap();
    let client = server.client().await.unwrap();
    let place = Place::new();
    let url = server.url();
    let mut run = place.command(&[
        "run",
        &guest("probe"),
        "--subscribe",
        "probe",
        "--server",
        &url,
    ]);
    // A pipe takes 64 KiB. What is rejected is logged with its reason.
    let mut host = run
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let reject = json!({ "do": "reject", "reason": "x".repeat(4000) }).to_string();
    let mut rejected = 0;
    let all = async {
        while rejected < 100 {
            // Nobody answers before the host is ready.
            let reply = client.request("probe", reject.clone().into()).await;
            rejected += u32::from(reply.is_ok());
        }
    };
    soon("a hundred answers", all).await.unwrap();
    let pid = Pid::from_raw(host.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = soon("the host ends", host.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_may_open_as_many_files_as_the_system_allows() {
    let place = Place::new();
    let run = place.command(&["run", &echo(), "--subscribe", "echo.*"]);
    let mut shell = tokio::process::Command::new("bash");
    shell
        .args(["-c", "ulimit -Sn 256; exec \"$@\"", "-"])
        .arg(run.as_std().get_program())
        .args(run.as_std().get_args())
        .current_dir(place.path())
        .env("WHARF_NATS_SERVER", wharf_tests::nats_server());
    let host = Wharf::start(shell).await.unwrap();
    let limits = format!("/proc/{}/limits", host.pid().unwrap());
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let [soft, hard, ..] = files.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{files}")
    };
    assert_eq!(soft, hard);
    host.stop().await.unwrap().well().unwrap();
}

/// The kernel sees to it. Elsewhere the server stays until it is stopped by hand, and holds on to its data.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_that_is_killed_takes_its_server_with_it() {
    let place = Place::new();
    let guest = echo();
    let arguments = ["run", &guest, "--subscribe", "echo.*"];
    let mut host = Wharf::spawn(place.command(&arguments)).unwrap();
    let ready = host
        .says("ready: 1 guest, nats://127.0.0.1:")
        .await
        .unwrap();
    let url = ready.rsplit_once(", ").unwrap().1.to_owned();
    host.signal(Signal::KILL).unwrap();
    host.ends().await.unwrap();
    let gone = async { while async_nats::connect(&url).await.is_ok() {} };
    soon("the server ends", gone).await.unwrap();
    let mut host = Wharf::spawn(place.command(&arguments)).unwrap();
    host.says("ready: 1 guest, nats://127.0.0.1:")
        .await
        .unwrap();
    host.stop().await.unwrap().well().unwrap();
}

#[tokio::test]
async fn a_host_of_a_file_uses_the_server_that_is_named() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    place.write(
        "wharf.toml",
        format!(
            "[guests.echo]\ncomponent = {:?}\nsubscribe = ['echo']\n",
            echo()
        ),
    );
    let mut host = Wharf::spawn(place.command(&["run", "--server", &server.url()])).unwrap();
    assert!(host.says("ready: ").await.unwrap().ends_with(&server.url()));
    let client = server.client().await.unwrap();
    let reply = client.request("echo", "x".into()).await.unwrap();
    assert_eq!(reply.payload, "x");
    host.signal(Signal::INT).unwrap();
    host.ends().await.unwrap().well().unwrap();
}

#[tokio::test]
async fn log_lines_are_json_where_a_machine_reads_them() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let arguments = [
        "run",
        &echo(),
        "--subscribe",
        "echo",
        "--server",
        &server.url(),
        "--log-format",
        "json",
    ];
    let mut host = Wharf::spawn(place.command(&arguments)).unwrap();
    host.says("ready: 1 guest").await.unwrap();
    let said = host.stop().await.unwrap().well().unwrap();
    for line in said.lines() {
        let json: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(json["message"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn why_the_connection_broke_is_logged_once() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let mut host = filtered(&place, &server, "never").await;
    let mut raw = Raw::connect(&server).await.unwrap();
    for headers in [LONE_CR, SPACE_IN_NAME, b"NATS/1.0\r\nN: J\xfc\r\n\r\n"] {
        raw.publish("echo", "", headers, b"x").await.unwrap();
        host.says("the connection to NATS broke").await.unwrap();
        host.says("connected to NATS").await.unwrap();
        let client = server.client().await.unwrap();
        soon("an answer", async {
            while client.request("echo", "x".into()).await.is_err() {}
        })
        .await
        .unwrap();
    }
    let said = host.stop().await.unwrap().well().unwrap();
    for (times, words) in [
        (3, "the connection to NATS broke"),
        (1, "the client panicked"),
        (1, "invalid header value"),
        (1, "ParseHeaderNameError"),
        (1, "header isn't valid utf-8"),
    ] {
        assert_eq!(said.matches(words).count(), times, "{words:?} in:\n{said}");
    }
}

/// A host with this use of the filter.
async fn filtered(place: &Place, server: &TestServer, filter: &str) -> Wharf {
    let arguments = [
        "run",
        &echo(),
        "--subscribe",
        "echo",
        "--server",
        &server.url(),
    ];
    let mut command = place.command(&arguments);
    command.env("NATS_RECONNECT_WAIT", "10ms");
    command.env("NATS_FILTER", filter);
    let mut host = Wharf::spawn(command).unwrap();
    host.says("ready: 1 guest").await.unwrap();
    host
}

#[tokio::test]
async fn the_filter_comes_on_with_a_malformed_message_and_not_with_a_server_that_goes_away() {
    let mut server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let mut host = filtered(&place, &server, "auto").await;
    server.restart().await.unwrap();
    host.says("the connection to NATS broke").await.unwrap();
    let before = host.says("connected to NATS").await.unwrap();
    assert!(!before.contains("filter"), "{before}");

    let mut raw = Raw::connect(&server).await.unwrap();
    raw.publish("echo", "", SPACE_IN_NAME, b"x").await.unwrap();
    host.says("messages pass a filter").await.unwrap();
    host.says("connected to NATS").await.unwrap();
    // Subscriptions follow the connection: what comes before them reaches nobody.
    let client = server.client().await.unwrap();
    let heard = async { while client.request("echo", "x".into()).await.is_err() {} };
    soon("the host hears again", heard).await.unwrap();
    // Of those that come at once one is logged.
    for _ in 0..100 {
        raw.publish("echo", "", LONE_CR, b"x").await.unwrap();
    }
    raw.flush().await.unwrap();
    host.says("a malformed message was delivered")
        .await
        .unwrap();
    let said = host.stop().await.unwrap().well().unwrap();
    for (times, words) in [
        (2, "the connection to NATS broke"),
        (1, "messages pass a filter"),
        (1, "a malformed message"),
        (1, "cause=\"header_value\""),
    ] {
        assert_eq!(said.matches(words).count(), times, "{words:?} in:\n{said}");
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_for_good_ends_the_host_with_code_1() {
    let mut server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let guest = echo();
    let mut command = place.command(&[
        "run",
        &guest,
        "--subscribe",
        "echo",
        "--server",
        &server.url(),
    ]);
    command
        .env("NATS_MAX_RECONNECT", "1")
        .env("NATS_RECONNECT_WAIT", "10ms")
        .env("NATS_DRAIN_TIMEOUT", "2s");
    let mut host = Wharf::start(command).await.unwrap();
    server.kill().await.unwrap();
    host.says("error: the host cannot go on: ").await.unwrap();
    let Ended {
        code, stderr: said, ..
    } = host.ends().await.unwrap();
    assert_eq!(code, Some(1), "{said}");
}

#[tokio::test]
async fn a_guest_that_is_none_is_one_clear_error() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    place.write("other.wasm", wat::parse_str("(component)").unwrap());
    for (file, part) in [
        ("missing.wasm", "cannot read component missing.wasm"),
        ("other.wasm", "does not export"),
    ] {
        let ended = place
            .run(&["run", file, "--subscribe", "a", "--server", &server.url()])
            .await;
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
    let ended = Place::new()
        .run(&["run", &echo(), "--subscribe", "a", "--server", &url])
        .await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("error: cannot connect to NATS"),
        "{ended:?}"
    );
}

/// A host whose guest waits for the answer to a request to `hold`, which has arrived.
struct Busy {
    host: Wharf,
    held: async_nats::Message,
    client: async_nats::Client,
    asked: async_nats::Subscriber,
    // What the others need until the end.
    _server: TestServer,
    _place: Place,
}

impl Busy {
    async fn start(drain_timeout: &'static str) -> Self {
        let server = TestServer::start("").await.unwrap();
        let client = server.client().await.unwrap();
        let mut holding = client.subscribe("hold").await.unwrap();
        let asked = client.subscribe("answers").await.unwrap();
        let place = Place::new();
        place.write(
            "wharf.toml",
            format!(
                "[host]\nreplies = ['answers']\n[guests.probe]\ncomponent = {:?}\nsubscribe = ['probe']\nrequest = ['hold']\nlimits = {{ time = '60s' }}\n",
                guest("probe")
            ),
        );
        let mut command = place.command(&["run", "--server", &server.url()]);
        command.env("NATS_DRAIN_TIMEOUT", drain_timeout);
        let host = Wharf::start(command).await.unwrap();
        let step = r#"{ "do": "request", "subject": "hold", "timeout_ms": 60000 }"#;
        client
            .publish_with_reply("probe", "answers", step.into())
            .await
            .unwrap();
        let held = holding.next().await.unwrap();
        Self {
            host,
            held,
            client,
            asked,
            _server: server,
            _place: place,
        }
    }
}

#[tokio::test]
async fn after_a_signal_what_is_being_handled_is_finished() {
    let mut busy = Busy::start("60s").await;
    busy.host.signal(Signal::TERM).unwrap();
    // New messages find nobody from when the stop has begun.
    while busy
        .client
        .request("probe", r#"{ "do": "reply", "text": "still here" }"#.into())
        .await
        .is_ok()
    {}
    busy.client
        .publish(busy.held.reply.unwrap(), "go on".into())
        .await
        .unwrap();
    let reply = busy.asked.next().await.unwrap();
    assert!(
        reply
            .headers
            .is_none_or(|headers| headers.get("Nats-Service-Error").is_none())
    );
    let Ended {
        code, stderr: said, ..
    } = busy.host.ends().await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        !said.contains("stopped: 0 messages") && said.contains(" 0 abandoned"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_abandoned_and_the_exit_code_says_so() {
    let mut busy = Busy::start("200ms").await;
    busy.host.signal(Signal::INT).unwrap();
    busy.host.says("SIGINT: ").await.unwrap();
    let Ended {
        code, stderr: said, ..
    } = busy.host.ends().await.unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 abandoned"), "{said}");
}

#[tokio::test]
async fn a_second_signal_leaves_at_once() {
    let mut busy = Busy::start("60s").await;
    busy.host.signal(Signal::TERM).unwrap();
    busy.host.says("SIGTERM: ").await.unwrap();
    busy.host.signal(Signal::INT).unwrap();
    let Ended {
        code, stderr: said, ..
    } = busy.host.ends().await.unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("SIGINT again: leaving at once"), "{said}");
}
