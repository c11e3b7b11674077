//! `wharf send`, against a real server.

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wharf_tests::TestServer;
use wharf_tests::round_trip;

use crate::command::Place;

#[tokio::test]
async fn a_message_arrives_with_its_headers() {
    let server = TestServer::start("").await.unwrap();
    let client = server.client().await.unwrap();
    let mut messages = client.subscribe("orders.*").await.unwrap();
    round_trip(&client).await.unwrap();
    let arguments = [
        "send",
        "orders.new",
        "-1",
        "-H",
        "Trace: 42",
        "-H",
        "Trace:43",
        "--server",
        &server.url(),
    ];
    let ended = Place::new().run(&arguments).await;
    assert_eq!(
        (ended.code, ended.stdout.as_slice()),
        (Some(0), &b""[..]),
        "{ended:?}"
    );
    assert!(
        ended.stderr.contains("published 2 bytes on orders.new"),
        "{ended:?}"
    );
    let message = messages.next().await.unwrap();
    assert_eq!(
        (message.subject.as_str(), &message.payload[..]),
        ("orders.new", &b"-1"[..])
    );
    let headers = message.headers.unwrap();
    let trace: Vec<_> = headers
        .get_all("Trace")
        .map(|value| value.as_str())
        .collect();
    assert_eq!(trace, ["42", "43"]);
}

#[tokio::test]
async fn a_payload_is_read_from_stdin_as_it_is() {
    let server = TestServer::start("").await.unwrap();
    let client = server.client().await.unwrap();
    let mut messages = client.subscribe("raw").await.unwrap();
    round_trip(&client).await.unwrap();
    let payload: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let arguments = ["send", "raw", "-", "--json", "--server", &server.url()];
    let ended = Place::new().run_with_stdin(&arguments, &payload).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.json().unwrap(),
        json!({ "subject": "raw", "bytes": 100_000 })
    );
    assert_eq!(messages.next().await.unwrap().payload, payload);
}

/// Answers every request on `echo` with its payload, and on `fail` with a service's error.
async fn answer(server: &TestServer) -> tokio::task::JoinHandle<()> {
    let client = server.client().await.unwrap();
    let mut requests = client.subscribe(">").await.unwrap();
    round_trip(&client).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let Some(reply) = request.reply else { continue };
            let mut headers = async_nats::HeaderMap::new();
            match request.subject.as_str() {
                "echo" => headers.insert("Served", "yes"),
                "fail" => {
                    headers.insert("Nats-Service-Error", "too late");
                    headers.insert("Nats-Service-Error-Code", "400");
                }
                _ => continue,
            }
            client
                .publish_with_headers(reply, headers, request.payload)
                .await
                .unwrap();
        }
    })
}

#[tokio::test]
async fn a_reply_is_printed_on_stdout_and_nothing_else_is() {
    let server = TestServer::start("").await.unwrap();
    let answering = answer(&server).await;
    let place = Place::new();
    let ended = place
        .run(&[
            "send",
            "--request",
            "echo",
            "Good day",
            "--server",
            &server.url(),
        ])
        .await;
    assert_eq!(
        (ended.code, ended.stdout.as_slice()),
        (Some(0), &b"Good day"[..]),
        "{ended:?}"
    );
    assert_eq!(ended.stderr, "");
    let json = place
        .run(&[
            "send",
            "-r",
            "echo",
            "Good day",
            "--json",
            "-s",
            &server.url(),
        ])
        .await
        .json()
        .unwrap();
    assert_eq!(
        (json["payload"].as_str(), &json["headers"]),
        (Some("Good day"), &json!({ "Served": ["yes"] }))
    );
    let binary = ["send", "-r", "echo", "-", "--json", "-s", &server.url()];
    let json = place
        .run_with_stdin(&binary, b"\xff\x00")
        .await
        .json()
        .unwrap();
    assert_eq!(
        (json["payload_base64"].as_str(), json.get("payload")),
        (Some("/wA="), None)
    );
    answering.abort();
}

#[tokio::test]
async fn a_request_that_fails_says_why_and_ends_with_code_1() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let ended = place
        .run(&["send", "-r", "nobody", "-s", &server.url()])
        .await;
    assert_eq!(
        (ended.code, ended.stderr.trim()),
        (Some(1), "error: nobody subscribes to nobody")
    );
    let answering = answer(&server).await;
    let ended = place
        .run(&["send", "-r", "fail", "-s", &server.url()])
        .await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr.trim(),
        "error: the service answered with error 400: too late"
    );
    let ended = place
        .run(&[
            "send",
            "-r",
            "silent",
            "--timeout",
            "300ms",
            "-s",
            &server.url(),
        ])
        .await;
    assert_eq!(
        (ended.code, ended.stderr.trim()),
        (Some(1), "error: no reply within 300ms")
    );
    answering.abort();
}

#[tokio::test]
async fn the_server_of_a_host_in_the_same_directory_is_found() {
    let server = TestServer::start("").await.unwrap();
    let answering = answer(&server).await;
    let place = Place::new();
    std::fs::create_dir(place.path().join(".wharf")).unwrap();
    place.write(".wharf/url", format!("{}\n", server.url()));
    let ended = place.run(&["send", "-r", "echo", "found"]).await;
    assert_eq!(
        (ended.code, ended.stdout.as_slice()),
        (Some(0), &b"found"[..]),
        "{ended:?}"
    );
    answering.abort();
}

#[tokio::test]
async fn whoever_names_a_server_in_the_data_directory_is_given_no_credentials() {
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = stranger.local_addr().unwrap();
    let hearing = tokio::spawn(async move {
        let (mut stream, _) = stranger.accept().await.unwrap();
        let info = json!({
            "server_id": "S", "server_name": "s", "version": "2.12.0", "go": "go", "host": "127.0.0.1", "port": address.port(),
            "headers": true, "auth_required": true, "max_payload": 1_048_576, "proto": 1, "client_id": 1,
        });
        stream
            .write_all(format!("INFO {info}\r\n").as_bytes())
            .await
            .unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"PING\r\n") && stream.read_buf(&mut heard).await.unwrap() > 0 {}
        String::from_utf8(heard).unwrap()
    });
    let place = Place::new();
    std::fs::create_dir(place.path().join(".wharf")).unwrap();
    place.write(".wharf/url", format!("nats://{address}\n"));
    let mut send = place.command(&["send", "x", "y"]);
    send.env("NATS_TOKEN", "hunter2");
    let ended = wharf_tests::wharf::run(send, b"").await.unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let heard = hearing.await.unwrap();
    assert!(
        heard.contains("CONNECT ") && !heard.contains("hunter2"),
        "{heard}"
    );
}

#[tokio::test]
async fn the_settings_of_the_directory_are_used_but_not_their_prefix() {
    let server = TestServer::start("authorization { token: hunter2 }")
        .await
        .unwrap();
    let place = Place::new();
    place.write(
        "wharf.toml",
        format!(
            "[nats]\nserver = '{}'\ntoken = 'hunter2'\nprefix = 'eu.'\n",
            server.url()
        ),
    );
    let ended = place.run(&["send", "plain", "x"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("on plain"), "{ended:?}");
    let mut wrong = place.command(&["send", "plain", "x"]);
    let output = wrong.env("NATS_TOKEN", "hunter3").output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error: cannot connect") && !stderr.contains("hunter"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_subject_that_the_server_forbids_is_a_failure() {
    let server = TestServer::start(
        "authorization { users: [{ user: u, password: p, permissions: { publish: { deny: \"secret.>\" } } }] }",
    )
    .await
    .unwrap();
    let url = server.url().replace("nats://", "nats://u:p@");
    let place = Place::new();
    let ended = place.run(&["send", "open.a", "x", "-s", &url]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = place.run(&["send", "secret.a", "x", "-s", &url]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("error: the server refused it"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn without_a_server_it_says_how_to_get_one() {
    let server = TestServer::start("").await.unwrap();
    let url = server.url();
    drop(server);
    let ended = Place::new().run(&["send", "a", "x", "-s", &url]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("start a host with `wharf run`"),
        "{ended:?}"
    );
}
