//! What needs no server.

use serde_json::json;

use crate::command::Place;

#[tokio::test]
async fn with_nothing_to_run_it_says_what_to_write() {
    let place = Place::new();
    let ended = place.run(&["run"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("no wharf.toml here") && ended.stderr.contains("[guests.hello]"),
        "{ended:?}"
    );
    assert_eq!(ended.stdout, b"", "stdout is for data");
    place.write("wharf.toml", "[nats]\nserver = 'a:1'\n");
    let ended = place.run(&["run"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("wharf.toml has no [guests.NAME]"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn wrong_arguments_end_with_code_2_before_anything_begins() {
    let place = Place::new();
    for wrong in [
        &["run", "a.wasm", "--subscribe", "a..b"][..],
        &["run", "a.wasm", "--subscribe", "$JS.API.>"],
        &["run", "a.wasm", "--bucket", "a.b"],
        &["run", "a.wasm", "--config", "b.toml"],
        &["run", "--subscribe", "a"],
        &["send"],
        &["send", "a b"],
        &["send", "a.*"],
        &["send", "a", "--header", "x"],
        &["send", "a", "--header", "x y: z"],
        &["send", "a", "--timeout", "5"],
        &["send", "a", "--server", "http://a"],
        &["check", "--config", "missing.toml"],
        &["push"],
        &["push", "a.wasm"],
        &["push", "a.wasm", "b.wasm"],
        &["push", "missing.wasm", "nats://b/n"],
        &["run", "nats://b", "--subscribe", "a"],
        &["fly"],
    ] {
        let ended = place.run(wrong).await;
        assert_eq!(ended.code, Some(2), "{wrong:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{wrong:?}: {ended:?}");
    }
}

#[tokio::test]
async fn help_goes_to_stdout_without_colours() {
    for command in ["run", "check", "inspect", "send"] {
        let ended = Place::new().run(&[command, "--help"]).await;
        let help = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.code, Some(0));
        assert!(
            help.contains("Usage: wharf") && !help.contains('\u{1b}'),
            "{help}"
        );
    }
}

const MANY_PROBLEMS: &str = r#"[nats]
sever = "a:1"
[guests.missing]
component = "missing.wasm"
[guests.other]
component = "other.wasm"
subscribe = ["a..b"]
[guests.text]
component = "wharf.toml"
"#;

#[tokio::test]
async fn check_says_what_is_wrong_with_the_file_and_with_the_components_at_once() {
    let place = Place::new();
    place.write("wharf.toml", MANY_PROBLEMS);
    place.write(
        "other.wasm",
        wat::parse_str("(component (import \"a:b/c@1.0.0\" (instance)))").unwrap(),
    );
    let ended = place.run(&["check"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in [
        "wharf.toml:2:1: unknown key \"sever\"; did you mean \"server\"?",
        "wharf.toml:4:13: guest \"missing\": ",
        "wharf.toml:6:13: guest \"other\": it imports a:b/c@1.0.0",
        "wharf.toml:6:13: guest \"other\": it does not export wharf:nats/handler",
        "wharf.toml:7:14: \"a..b\" has an empty token",
        "wharf.toml:9:13: guest \"text\": ",
        "6 problems; 3 guests: missing, other, text",
    ] {
        assert!(
            ended.stderr.contains(part),
            "{part:?} is not in {}",
            ended.stderr
        );
    }
    let json = place.run(&["check", "--json"]).await.json().unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), 6);
    assert_eq!(
        json["problems"][0],
        json!({ "file": "wharf.toml", "line": 2, "column": 1, "message": "unknown key \"sever\"; did you mean \"server\"?" })
    );
}

#[tokio::test]
async fn a_wrong_variable_is_named_by_check() {
    let place = Place::new();
    place.write("wharf.toml", "");
    let mut command = place.command(&["check", "--json"]);
    let output = command
        .env("NATS_RANDOMIZE", "maybe")
        .output()
        .await
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["problems"][0]["variable"], "NATS_RANDOMIZE");
    assert_eq!(place.run(&["check"]).await.code, Some(0));
}

#[tokio::test]
async fn inspect_says_in_words_and_as_json_why_a_component_is_no_guest() {
    let place = Place::new();
    let component = wat::parse_str("(component (import \"a:b/c@1.0.0\" (instance)))").unwrap();
    place.write("other.wasm", component);
    let ended = place.run(&["inspect", "other.wasm"]).await;
    let words = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        words.contains("other.wasm: a component of ") && words.contains("no guest of this host"),
        "{words}"
    );
    assert!(
        words.contains("a:b/c@1.0.0  not offered by this host"),
        "{words}"
    );
    let json = place
        .run(&["inspect", "other.wasm", "--json"])
        .await
        .json()
        .unwrap();
    assert_eq!(json["world"], serde_json::Value::Null);
    assert_eq!(
        json["imports"],
        json!([{ "name": "a:b/c@1.0.0", "offered": false }])
    );
    place.write("text.wasm", "text");
    let ended = place.run(&["inspect", "text.wasm"]).await;
    assert_eq!(
        (ended.code, ended.stdout.len()),
        (Some(1), 0),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn check_looks_into_canaries_and_says_which_are_on_a_server() {
    let place = Place::new();
    let guest = |name: &str, canary: &str| {
        let component = crate::command::guest("echo");
        format!(
            "[guests.{name}]\ncomponent = {component:?}\ncanary = {{ component = {canary:?} }}\n"
        )
    };
    place.write("text.wasm", "text");
    let toml = [guest("a", "text.wasm"), guest("b", "nats://plugins/b.wasm")].concat();
    place.write("wharf.toml", toml);
    let ended = place.run(&["check"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in [
        "wharf.toml:3:24: guest \"a\": its canary: text.wasm is not a component",
        "note: guest \"b\": nats://plugins/b.wasm is on a server",
        "1 problem; 2 guests: a, b",
    ] {
        assert!(
            ended.stderr.contains(part),
            "{part:?} is not in {}",
            ended.stderr
        );
    }
    let ended = place.run(&["run"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let words =
        "cannot start guest \"a\": its canary does not come up: text.wasm is not a component";
    assert!(ended.stderr.contains(words), "{ended:?}");
}
