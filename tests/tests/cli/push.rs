//! `wharf push`, and the hosts that run what is pushed.

use async_nats::Client;
use futures_util::future::try_join_all;
use serde_json::json;
use wharf_tests::{Ended, TestServer, Wharf};

use crate::command::{Place, guest};

const OBJECT: &str = "nats://plugins/guest.wasm";

async fn push(place: &Place, file: &str, server: &TestServer) -> Ended {
    place
        .run(&["push", file, OBJECT, "--server", &server.url()])
        .await
}

async fn pushed(place: &Place, name: &str, server: &TestServer) -> Ended {
    let ended = push(place, &guest(name), server).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

async fn ask(client: &Client, subject: &'static str) -> String {
    let reply = client
        .request(subject, json!({ "do": "describe" }).to_string().into())
        .await
        .unwrap();
    String::from_utf8(reply.payload.to_vec()).unwrap()
}

/// The echo says what was said, the probe what it sees.
fn is_probe(answer: &str) -> bool {
    answer.contains("\"subject\"")
}

#[tokio::test]
async fn one_push_brings_a_new_version_to_three_hosts() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let first = pushed(&place, "echo", &server).await;
    assert!(first.stdout.starts_with(b"SHA-256="), "{first:?}");
    assert!(
        first
            .stderr
            .contains("created the object store \"plugins\""),
        "{first:?}"
    );
    assert!(
        !first.stderr.contains('\u{1b}') && !first.stderr.contains('\r'),
        "no bar: {first:?}"
    );
    let subjects = ["one", "two", "three"];
    let mut hosts: Vec<_> = subjects
        .iter()
        .map(|subject| {
            let arguments = [
                "run",
                OBJECT,
                "--subscribe",
                subject,
                "--watch",
                "--server",
                &server.url(),
            ];
            Wharf::spawn(place.command(&arguments)).unwrap()
        })
        .collect();
    try_join_all(hosts.iter_mut().map(|host| host.says("ready: 1 guest")))
        .await
        .unwrap();
    let client = server.client().await.unwrap();
    for subject in subjects {
        assert!(!is_probe(&ask(&client, subject).await), "{subject}");
    }
    let second = pushed(&place, "probe", &server).await;
    assert!(!second.stderr.contains("created"), "{second:?}");
    try_join_all(
        hosts
            .iter_mut()
            .map(|host| host.says("reloaded: replaced guest")),
    )
    .await
    .unwrap();
    for subject in subjects {
        assert!(is_probe(&ask(&client, subject).await), "{subject}");
    }
    for host in hosts {
        host.stop().await.unwrap().well().unwrap();
    }
}

#[tokio::test]
async fn a_version_that_does_not_start_or_is_no_guest_leaves_the_old_one_in_service() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    pushed(&place, "echo", &server).await;
    // The echo does not read this; the probe does as it says.
    let trap = "start=[{\"do\":\"trap\"}]";
    let url = server.url();
    let arguments = [
        "run",
        OBJECT,
        "--subscribe",
        "one",
        "--set",
        trap,
        "--watch",
        "--server",
        &url,
    ];
    let mut host = Wharf::spawn(place.command(&arguments)).unwrap();
    host.says("ready: 1 guest").await.unwrap();
    let client = server.client().await.unwrap();
    pushed(&place, "probe", &server).await;
    host.says("it trapped while it started").await.unwrap();
    host.says("the guests stay as they are").await.unwrap();
    assert!(!is_probe(&ask(&client, "one").await));
    // Whoever does not push with the command may put anything there.
    let jetstream = async_nats::jetstream::new(client.clone());
    let store = jetstream.get_object_store("plugins").await.unwrap();
    store
        .put("guest.wasm", &mut "text".as_bytes())
        .await
        .unwrap();
    host.says("nats://plugins/guest.wasm is not a component")
        .await
        .unwrap();
    host.says("the guests stay as they are").await.unwrap();
    assert!(!is_probe(&ask(&client, "one").await));
    host.stop().await.unwrap().well().unwrap();
}

#[tokio::test]
async fn what_is_pushed_where_a_canary_comes_from_is_tried() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    pushed(&place, "echo", &server).await;
    let guest = guest("echo");
    place.write(
        "wharf.toml",
        format!(
            "[guests.guest]\ncomponent = {guest:?}\nsubscribe = ['one']\n[guests.guest.canary]\ncomponent = '{OBJECT}'\n\
             share = 1.0\n"
        ),
    );
    let mut host =
        Wharf::spawn(place.command(&["run", "--watch", "--server", &server.url()])).unwrap();
    host.says("ready: 1 guest").await.unwrap();
    let client = server.client().await.unwrap();
    assert!(!is_probe(&ask(&client, "one").await));
    pushed(&place, "probe", &server).await;
    host.says("reloaded: changed the canary of guest")
        .await
        .unwrap();
    assert!(is_probe(&ask(&client, "one").await));
    host.stop().await.unwrap().well().unwrap();
}

#[tokio::test]
async fn what_is_no_guest_is_not_pushed() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    place.write("text.wasm", "text");
    let ended = push(&place, "text.wasm", &server).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("text.wasm is not a component"),
        "{ended:?}"
    );
    place.write("other.wasm", wat::parse_str("(component)").unwrap());
    let ended = push(&place, "other.wasm", &server).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("not pushed: other.wasm is no guest: it does not export"),
        "{ended:?}"
    );
    let jetstream = async_nats::jetstream::new(server.client().await.unwrap());
    assert!(
        jetstream.get_object_store("plugins").await.is_err(),
        "nothing was made"
    );
}

#[tokio::test]
async fn a_host_says_what_to_do_where_there_is_no_such_object() {
    let server = TestServer::start("").await.unwrap();
    let place = Place::new();
    let url = server.url();
    let run = ["run", OBJECT, "--subscribe", "one", "--server", &url];
    let ended = place.run(&run).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("there is no object store \"plugins\""),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .contains("`wharf push FILE.wasm nats://plugins/guest.wasm`"),
        "{ended:?}"
    );
    let json = place
        .run(&[
            "push",
            &guest("echo"),
            "nats://plugins/else",
            "--server",
            &url,
            "--json",
        ])
        .await
        .json()
        .unwrap();
    assert_eq!(json["object"], "nats://plugins/else");
    let ended = place.run(&run).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("there is no object nats://plugins/guest.wasm"),
        "{ended:?}"
    );
}
