//! Hosts, seen and changed from outside: as micro services, and by the command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use wharf::Host;
use wharf::config::{AdminSettings, Config, ConfigErrors, Sources, SubjectGrant};
use wharf_tests::probe::{Probe, config, probe, service_error};
use wharf_tests::wharf::{Ended, command, run};
use wharf_tests::{TestServer, component, round_trip, soon, until};

/// The command `wharf`, against this server.
async fn wharf(server: &TestServer, arguments: &[&str]) -> Result<Ended> {
    let url = server.url();
    let arguments = [arguments, &["--server", &url]].concat();
    run(command(server.directory(), &arguments)?, b"").await
}

/// The same, where it must succeed: what it prints.
async fn wharf_text(server: &TestServer, arguments: &[&str]) -> Result<String> {
    Ok(wharf(server, arguments).await?.text()?.to_owned())
}

/// The same, where it must fail with these words.
async fn wharf_fails(server: &TestServer, arguments: &[&str], words: &str) -> Result<()> {
    let said = wharf(server, arguments).await?;
    ensure!(
        said.code == Some(1) && said.stderr.contains(words),
        "{arguments:?}: {:?}, {}",
        said.code,
        said.stderr
    );
    Ok(())
}

/// The same, where it must succeed and print JSON.
async fn wharf_json(server: &TestServer, arguments: &[&str]) -> Result<Value> {
    let said = wharf(server, &[arguments, &["--json"]].concat()).await?;
    ensure!(
        said.code == Some(0),
        "{arguments:?} failed: {}",
        said.stderr
    );
    said.json()
}

fn named(server: &TestServer, name: &str) -> Config {
    let mut config = config(server);
    config.host.name = Some(name.to_owned());
    config.admin = admin();
    config
}

/// Takes orders, which may load the tests' guests.
fn admin() -> AdminSettings {
    let guests = component("probe").expect("the guests are built");
    AdminSettings {
        enabled: true,
        components: guests.parent().into_iter().map(Path::to_owned).collect(),
        ..AdminSettings::default()
    }
}

async fn host(server: &TestServer, name: &str) -> Result<Host> {
    Ok(Host::builder(named(server, name)).start().await?)
}

/// A probe on a host that takes orders under this name.
async fn probe_on(name: &str) -> Result<Probe> {
    Probe::start(|config, _, _| {
        config.host.name = Some(name.to_owned());
        config.admin = admin();
    })
    .await
}

fn settings_file(directory: &TempDir, text: &str) -> Result<String> {
    let path = directory.path().join("guest.toml");
    std::fs::write(&path, text)?;
    Ok(path.to_str().context("a path in UTF-8")?.to_owned())
}

fn guest_names(listed: &Value) -> Vec<&str> {
    let hosts = listed["hosts"].as_array().into_iter().flatten();
    let guests = hosts.flat_map(|host| host["guests"].as_array().into_iter().flatten());
    guests.filter_map(|guest| guest["name"].as_str()).collect()
}

async fn ask(
    client: &async_nats::Client,
    subject: &str,
    payload: Value,
) -> Result<async_nats::Message> {
    let request = client.request(subject.to_owned(), payload.to_string().into());
    Ok(soon("a host answers", request).await??)
}

async fn ask_json_of(client: &async_nats::Client, subject: &str, payload: &Value) -> Result<Value> {
    Ok(serde_json::from_slice(
        &ask(client, subject, payload.clone()).await?.payload,
    )?)
}

async fn ask_json(client: &async_nats::Client, subject: &str) -> Result<Value> {
    Ok(serde_json::from_slice(
        &ask(client, subject, json!({})).await?.payload,
    )?)
}

#[tokio::test]
async fn every_host_is_a_micro_service_until_it_stops() -> Result<()> {
    let Probe {
        server: _server,
        host,
        client,
        ..
    } = Probe::start(|_, _, _| {}).await?;
    let ping = ask_json(&client, "$SRV.PING").await?;
    assert_eq!(ping["type"], "io.nats.micro.v1.ping_response");
    assert_eq!(ping["name"], "wharf");
    assert_eq!(ping["metadata"]["guests"], "1");
    assert_eq!(ping["metadata"]["admin"], "false");
    let id = ping["id"].as_str().context("it has an id")?;
    let info = ask_json(&client, &format!("$SRV.INFO.wharf.{id}")).await?;
    assert_eq!(info["type"], "io.nats.micro.v1.info_response");
    assert_eq!(info["endpoints"], json!([]));
    let stats = ask_json(&client, "$SRV.STATS.wharf").await?;
    assert_eq!(stats["type"], "io.nats.micro.v1.stats_response");
    assert_eq!(stats["id"], id);
    assert!(
        stats["started"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "{stats}"
    );

    host.unload("probe").await?;
    assert_eq!(
        ask_json(&client, "$SRV.PING").await?["metadata"]["guests"],
        "0"
    );
    let report = host.shutdown().await;
    assert!(report.is_clean(), "{report:?}");
    let gone = client
        .request("$SRV.PING", "".into())
        .await
        .expect_err("nobody is there");
    assert_eq!(gone.kind(), async_nats::RequestErrorKind::NoResponders);
    Ok(())
}

#[tokio::test]
async fn a_host_that_may_not_be_seen_runs_all_the_same() -> Result<()> {
    let server = TestServer::start(
        "no_auth_user: host
         authorization { users = [
             { user: host, password: x, permissions: { subscribe: { deny: \"$SRV.>\" } } }
         ] }",
    )
    .await?;
    let mut config = config(&server);
    config.guests.insert("probe".to_owned(), probe()?);
    let host = Host::builder(config).start().await?;
    let client = server.client().await?;
    let reply = ask(&client, "probe", json!({ "do": "describe" })).await?;
    assert!(!reply.payload.is_empty());
    let report = host.shutdown().await;
    assert!(report.is_clean(), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn an_order_that_no_header_can_quote_is_answered_and_so_is_the_next() -> Result<()> {
    let probe = probe_on("here").await?;
    for (verb, key) in [
        ("show", "gu\rest"),
        ("show", "\r\nNats-Service-Error-Code: 200"),
        ("load", "\n"),
        ("unload", "\0\u{1b}[2J"),
        ("replace", "\u{85}\r"),
    ] {
        let subject = format!("wharf.admin.here.{verb}");
        let mut order = json!({ "guest": "probe", "settings": "" });
        order[key] = 1.into();
        let (code, words) = service_error(&ask(&probe.client, &subject, order).await?)?;
        assert_eq!(code, "400", "{words}");
        assert!(words.contains("cannot be read"), "{words:?}");
        assert!(!words.contains(char::is_control), "{words:?}");
    }
    let listed = ask_json(&probe.client, "wharf.admin.here.list").await?;
    assert_eq!(listed["guests"][0]["name"], "probe");
    assert_eq!(probe.host.connection_counters().disconnects, 0);
    Ok(())
}

#[tokio::test]
async fn orders_that_are_too_large_or_too_many_are_refused_and_all_are_answered() -> Result<()> {
    let server = TestServer::start("max_payload: 4MB").await?;
    let host = host(&server, "here").await?;
    let client = server.client().await?;
    for (verb, bytes) in [("load", 1 << 20), ("replace", 3 << 20), ("show", 4096)] {
        let subject = format!("wharf.admin.here.{verb}");
        let request = client.request(subject, vec![b' '; bytes + 1].into());
        let reply = soon("the refusal", request).await??;
        let (code, words) = service_error(&reply)?;
        ensure!(
            code == "400" && words.contains("may have"),
            "{code}: {words}"
        );
    }
    // More than may wait at once, each from somebody who waits.
    const ORDERS: usize = 2000;
    let mut answers = client.subscribe("_INBOX.many.*").await?;
    for number in 0..ORDERS {
        let reply = format!("_INBOX.many.{number}");
        let (subject, payload) = match number % 2 {
            0 => ("wharf.admin.here.list", "".into()),
            _ => ("wharf.admin.here.unload", r#"{"guest":"none"}"#.into()),
        };
        client.publish_with_reply(subject, reply, payload).await?;
    }
    for _ in 0..ORDERS {
        let answer = soon("an answer", answers.next()).await?.context("one")?;
        if answer.headers.is_some() {
            let (code, words) = service_error(&answer)?;
            ensure!(["404", "429"].contains(&code.as_str()), "{code}: {words}");
        }
    }
    assert_eq!(
        ask_json(&client, "wharf.admin.here.list").await?["host"],
        "here"
    );
    drop(host);
    Ok(())
}

#[tokio::test]
async fn the_command_lists_all_hosts() -> Result<()> {
    let server = TestServer::start("").await?;
    let none = wharf(&server, &["hosts"]).await?;
    assert_eq!((none.code, none.text()?), (Some(0), ""), "{}", none.stderr);

    let (one, two) = (host(&server, "one").await?, host(&server, "two").await?);
    let listed = wharf_json(&server, &["hosts"]).await?;
    let names: Vec<_> = listed["hosts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|host| host["host"].as_str())
        .collect();
    assert_eq!(names, ["one", "two"]);
    let table = wharf(&server, &["hosts"]).await?;
    let table = table.text()?;
    assert!(
        table.starts_with("HOST  VERSION  GUESTS  ADMIN  ID\none   0.1.0    0       yes    "),
        "{table}"
    );

    let unclear = wharf(&server, &["guests", "unload", "a"]).await?;
    assert_eq!(unclear.code, Some(2));
    assert!(unclear.stderr.contains("one, two"), "{}", unclear.stderr);
    two.shutdown().await;
    let unknown = wharf(&server, &["guests", "list", "--host", "two"]).await?;
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("no host \"two\" takes orders"),
        "{}",
        unknown.stderr
    );
    one.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn what_others_say_neither_hides_hosts_nor_tells_a_terminal_what_to_do() -> Result<()> {
    let server = TestServer::start("").await?;
    let client = server.client().await?;
    let mut asked = client.subscribe("$SRV.PING.wharf").await?;
    round_trip(&client).await?;
    let answering = async {
        let ping = soon("a question", asked.next())
            .await?
            .context("a question")?;
        let answer = json!({
            "id": "i\u{9b}2J", "version": "1", "metadata": { "host": "\u{1b}]0;mine\u{7}h", "guests": "0", "admin": "true" },
        });
        let inbox = ping.reply.context("an inbox")?;
        client.publish(inbox.clone(), "nonsense".into()).await?;
        client.publish(inbox, answer.to_string().into()).await?;
        anyhow::Ok(client.flush().await?)
    };
    let listing = wharf(&server, &["hosts"]);
    let (answered, listed) = tokio::join!(answering, listing);
    answered?;
    let listed = listed?;
    assert!(listed.stderr.contains("cannot be read"), "{listed:?}");
    let table = listed.text()?;
    assert!(table.contains(" ]0;mine h"), "{table:?}");
    let is_unfit = |c: char| c.is_control() && c != '\n';
    assert!(!table.contains(is_unfit), "{table:?}");
    Ok(())
}

#[tokio::test]
async fn the_command_loads_shows_replaces_and_unloads_a_guest() -> Result<()> {
    let server = TestServer::start("").await?;
    let host = host(&server, "here").await?;
    let client = server.client().await?;
    let directory = tempfile::tempdir()?;
    let wasm = component("probe")?;
    let text = |more: &str| {
        format!(
            "component = {:?}\nsubscribe = [\"p\"]\n{more}",
            wasm.display().to_string()
        )
    };

    let first = settings_file(&directory, &text("[config]\nnumber = \"1\""))?;
    let loaded = wharf_json(&server, &["guests", "load", "p", &first]).await?;
    assert_eq!(
        (&loaded["host"], &loaded["done"]),
        (&json!("here"), &json!("loaded"))
    );
    let number = json!({ "do": "config", "key": "number" });
    let answer = async |client| -> Result<Value> {
        Ok(serde_json::from_slice(
            &ask(client, "p", number.clone()).await?.payload,
        )?)
    };
    assert_eq!(answer(&client).await?["ok"], "1");

    let again = ["guests", "load", "p", &first, "--host", "here"];
    wharf_fails(&server, &again, "loaded already").await?;

    let second = settings_file(
        &directory,
        &text("publish = [\"out\"]\n[config]\nnumber = \"2\""),
    )?;
    wharf_json(&server, &["guests", "replace", "p", &second]).await?;
    assert_eq!(answer(&client).await?["ok"], "2");
    let shown = wharf_json(&server, &["guests", "show", "p"]).await?;
    assert_eq!(shown["version"], 2);
    assert_eq!(shown["publish"], json!(["out"]));
    assert_eq!(shown["stats"]["handled"], 2);
    assert!(shown.get("config").is_none(), "secrets stay where they are");
    let people = wharf_text(&server, &["guests", "show", "p"]).await?;
    assert!(
        people.contains("may publish on           out\n"),
        "{people}"
    );

    let table = wharf_text(&server, &["guests", "list"]).await?;
    assert!(table.contains("here  p      2"), "{table}");
    let unloaded = wharf(&server, &["guests", "unload", "p"]).await?;
    assert_eq!(unloaded.code, Some(0), "{}", unloaded.stderr);
    assert!(
        unloaded.stderr.contains("unloaded: p on here"),
        "{}",
        unloaded.stderr
    );
    assert!(guest_names(&wharf_json(&server, &["guests", "list"]).await?).is_empty());
    let show = ["guests", "show", "p"];
    wharf_fails(&server, &show, "there is no guest \"p\"").await?;

    let stats = ask_json(&client, "$SRV.STATS.wharf").await?;
    let load = stats["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["name"] == "load");
    let load = load.context("the verbs are endpoints")?;
    assert_eq!(
        (&load["num_requests"], &load["num_errors"]),
        (&json!(2), &json!(1)),
        "{load}"
    );
    host.shutdown().await;
    Ok(())
}

/// A file of settings of an echo with a probe as its canary, which gets every message and may not fail.
fn probe_as_canary(directory: &TempDir) -> Result<String> {
    let (echo, probe) = (component("echo")?, component("probe")?);
    settings_file(
        directory,
        &format!(
            "component = {:?}\nsubscribe = [\"p\"]\n[canary]\ncomponent = {:?}\nshare = 1.0\nmax_failure = 0.0\n",
            echo.display().to_string(),
            probe.display().to_string()
        ),
    )
}

#[tokio::test]
async fn the_command_shows_and_aborts_a_canary() -> Result<()> {
    let server = TestServer::start("").await?;
    let host = host(&server, "here").await?;
    let client = server.client().await?;
    let directory = tempfile::tempdir()?;
    let file = probe_as_canary(&directory)?;
    wharf_json(&server, &["guests", "load", "p", &file]).await?;
    let config = json!({ "do": "config", "key": "k" });
    assert_eq!(
        ask_json_of(&client, "p", &config).await?,
        json!({ "ok": null }),
        "the canary answers"
    );
    let listed = wharf_json(&server, &["guests", "list"]).await?;
    let guest = &listed["hosts"][0]["guests"][0];
    assert_eq!(
        (&guest["version"], &guest["canary"]["version"]),
        (&json!(1), &json!(2)),
        "{listed}"
    );
    assert_eq!(
        (&guest["canary"]["share"], &guest["canary"]["handled"]),
        (&json!(1.0), &json!(1)),
        "{listed}"
    );
    let table = wharf_text(&server, &["guests", "list"]).await?;
    assert!(table.contains("here  p (canary, 100%)  2 "), "{table}");
    let people = wharf_text(&server, &["guests", "show", "p"]).await?;
    assert!(
        people.contains("with 100% of the messages: 1 handled, 0 failed"),
        "{people}"
    );

    let aborted = wharf(&server, &["guests", "abort", "p"]).await?;
    assert_eq!(aborted.code, Some(0), "{}", aborted.stderr);
    assert!(
        aborted.stderr.contains("aborted the canary of: p on here"),
        "{}",
        aborted.stderr
    );
    assert_eq!(
        ask_json_of(&client, "p", &config).await?,
        config,
        "the version in service answers"
    );
    let promote = ["guests", "promote", "p"];
    wharf_fails(&server, &promote, "guest \"p\" has no canary").await?;
    host.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_command_promotes_a_canary_and_tells_of_one_that_was_rolled_back() -> Result<()> {
    let server = TestServer::start("").await?;
    let host = host(&server, "here").await?;
    let client = server.client().await?;
    let directory = tempfile::tempdir()?;
    let file = probe_as_canary(&directory)?;
    wharf_json(&server, &["guests", "load", "p", &file]).await?;
    let promoted = wharf_json(&server, &["guests", "promote", "p", "--host", "here"]).await?;
    assert_eq!(
        (&promoted["done"], &promoted["abandoned"]),
        (&json!("promoted"), &json!(0))
    );
    assert_eq!(
        ask_json_of(&client, "p", &json!({ "do": "config", "key": "k" })).await?,
        json!({ "ok": null })
    );
    let shown = wharf_json(&server, &["guests", "show", "p"]).await?;
    assert_eq!(
        (&shown["version"], &shown["canary"]),
        (&json!(2), &Value::Null),
        "{shown}"
    );

    wharf_json(&server, &["guests", "replace", "p", &file]).await?;
    service_error(&ask(&client, "p", json!({ "do": "trap" })).await?)?;
    until("it is rolled back", || host.guests()[0].canary.is_none()).await?;
    let promote = ["guests", "promote", "p"];
    wharf_fails(
        &server,
        &promote,
        "the last one was rolled back: version 4, ",
    )
    .await?;
    let people = wharf_text(&server, &["guests", "show", "p"]).await?;
    assert!(
        people.contains("canary rolled back       version 4, "),
        "{people}"
    );
    host.shutdown().await;
    Ok(())
}

/// Orders that cannot be carried out, with the code and the words of their errors.
fn refused() -> [(&'static str, Value, &'static str, &'static str); 13] {
    [
        (
            "load",
            "nonsense".to_owned().into(),
            "400",
            "cannot be read",
        ),
        (
            "load",
            json!({ "guest": "A b", "settings": "component = \"a\"" }),
            "400",
            "guest's name",
        ),
        (
            "load",
            json!({ "guest": "a", "settings": "componet = \"a\"" }),
            "400",
            "component",
        ),
        (
            "load",
            json!({ "guest": "a", "settings": "component = \"/no/such.wasm\"" }),
            "400",
            "/no/such.wasm is not there",
        ),
        (
            "load",
            json!({ "guest": "a", "settings": "component = \"nats://b/n\"\ndirs = [{ host = \"/\", guest = \"/d\" }]" }),
            "400",
            "[admin] dirs",
        ),
        (
            "load",
            json!({ "guest": "a", "settings": "component = \"nats://b/n\"\n[env]\nX = \"${HOME}\"" }),
            "400",
            "HOME",
        ),
        (
            "load",
            json!({ "guest": "a", "settings": "component = \"nats://no/such\"" }),
            "422",
            "object store",
        ),
        (
            "promote",
            json!({ "guest": "probe" }),
            "404",
            "\"probe\" has no canary",
        ),
        ("abort", json!({ "guest": "a" }), "404", "no guest"),
        (
            "replace",
            json!({ "guest": "a", "settings": "component = \"/no/such.wasm\"" }),
            "4",
            "",
        ),
        ("unload", json!({ "guest": "a" }), "404", "no guest"),
        (
            "unload",
            json!({ "guest": "probe", "force": true }),
            "400",
            "force",
        ),
        ("erase", json!({}), "404", "list, show, load"),
    ]
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_its_reason_and_changes_nothing() -> Result<()> {
    let Probe {
        server: _server,
        host,
        client,
        ..
    } = probe_on("h").await?;
    for (verb, request, code, words) in refused() {
        let reply = ask(&client, &format!("wharf.admin.h.{verb}"), request).await?;
        let (found_code, found_words) = service_error(&reply)?;
        assert!(
            found_code.starts_with(code) && found_words.contains(words),
            "{verb}: {found_code} {found_words}"
        );
        let body: Value = serde_json::from_slice(&reply.payload)?;
        assert_eq!(body["code"].to_string(), found_code);
    }
    assert_eq!(host.guests().len(), 1);
    host.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn guests_are_listed_while_a_guest_loops() -> Result<()> {
    let Probe {
        server,
        host,
        client,
        ..
    } = Probe::start(|config, settings, _| {
        config.host.name = Some("busy".to_owned());
        config.admin = admin();
        settings.limits.time = Duration::from_secs(20);
        settings.instances.max = 4.try_into().expect("4 is not 0");
    })
    .await?;
    for _ in 0..8 {
        client
            .publish("probe", json!({ "do": "spin" }).to_string().into())
            .await?;
    }
    round_trip(&client).await?;
    until("all instances loop", || {
        host.guests().iter().any(|guest| guest.in_flight == 4)
    })
    .await?;
    let listed = wharf_json(&server, &["guests", "list"]).await?;
    assert_eq!(listed["hosts"][0]["guests"][0]["in_flight"], 4, "{listed}");
    drop(host);
    Ok(())
}

#[tokio::test]
async fn a_host_is_drained_by_an_order() -> Result<()> {
    let Probe {
        server: _server,
        host,
        client,
        ..
    } = probe_on("h").await?;
    let reply = ask(&client, "wharf.admin.h.drain", json!({})).await?;
    assert!(reply.headers.is_none(), "{reply:?}");
    soon("the host is told", host.drain_requested()).await?;
    let report = host.shutdown().await;
    assert!(report.is_clean(), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_is_obeyed_unless_the_host_is_told_to() -> Result<()> {
    let Probe {
        server,
        host,
        client,
        ..
    } = Probe::start(|config, _, _| config.host.name = Some("h".to_owned())).await?;
    let refused = client
        .request("wharf.admin.h.list", "".into())
        .await
        .expect_err("nobody listens");
    assert_eq!(refused.kind(), async_nats::RequestErrorKind::NoResponders);
    assert_eq!(
        wharf_json(&server, &["hosts"]).await?["hosts"][0]["admin"],
        false
    );
    let listed = wharf(&server, &["guests", "list"]).await?;
    assert_eq!(listed.code, Some(0));
    assert!(
        listed.stderr.contains("[admin] enabled = true"),
        "{}",
        listed.stderr
    );
    host.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn no_grant_lets_a_guest_tell_a_host_anything() -> Result<()> {
    let everything = || SubjectGrant::new(">").without_prefix();
    let Probe {
        server: _server,
        host,
        client,
        ..
    } = Probe::start(|config, settings, _| {
        config.host.name = Some("h".to_owned());
        config.admin = admin();
        settings.publish.push(everything());
        settings.request.push(everything());
        settings.may_subscribe.push(everything());
    })
    .await?;
    let unload = json!({ "guest": "probe" }).to_string();
    for step in [
        json!({ "do": "publish", "subject": "wharf.admin.h.unload", "text": unload }),
        json!({ "do": "publish", "subject": "elsewhere", "reply_to": "wharf.admin.h.unload" }),
        json!({ "do": "request", "subject": "wharf.admin.h.unload", "text": unload }),
        json!({ "do": "store", "subject": "wharf.admin.h.unload", "text": unload }),
        json!({ "do": "subscribe", "subject": "wharf.admin.>" }),
        json!({ "do": "subscribe", "subject": "wharf.admin.h.*" }),
    ] {
        let answer: Value =
            serde_json::from_slice(&ask(&client, "probe", step.clone()).await?.payload)?;
        assert_eq!(answer["error"]["kind"], "denied", "{step}: {answer}");
    }
    // Nor does an answer go there, for one who asks for that.
    let say = json!({ "do": "reply", "text": unload }).to_string();
    client
        .publish_with_reply("probe", "wharf.admin.h.unload", say.into())
        .await?;
    round_trip(&client).await?;
    until("the reply is refused", || {
        host.stats("probe")
            .is_some_and(|stats| stats.replies_failed == 1)
    })
    .await?;
    assert_eq!(host.guests().len(), 1);
    host.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_guest_that_hears_everything_hears_no_orders() -> Result<()> {
    let Probe {
        server: _server,
        host,
        client,
        ..
    } = Probe::start(|config, settings, _| {
        config.host.name = Some("h".to_owned());
        config.admin = admin();
        settings.may_subscribe.push(">".into());
    })
    .await?;
    let subscribe = json!({ "do": "subscribe", "subject": "*.admin.>", "queue": "q" });
    let answer: Value = serde_json::from_slice(&ask(&client, "probe", subscribe).await?.payload)?;
    assert!(answer.get("ok").is_some(), "{answer}");
    for _ in 0..5 {
        let listed = ask_json(&client, "wharf.admin.h.list").await?;
        assert_eq!(listed["guests"][0]["stats"]["received"], 1, "{listed}");
    }
    host.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_settings_name_the_host_and_refuse_subjects_that_are_its_own() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path: PathBuf = directory.path().join("wharf.toml");
    let load = |text: &str| -> Result<std::result::Result<Config, ConfigErrors>> {
        std::fs::write(&path, text)?;
        Ok(Config::load(&Sources {
            config: Some(path.clone()),
            settings: None,
            env: &|_| None,
        }))
    };
    let config = load("[host]\nname = \"prod-1\"\n[admin]\nenabled = true\n")??;
    assert_eq!(
        (config.host.name.as_deref(), config.admin.enabled),
        (Some("prod-1"), true)
    );
    assert!(!load("")??.admin.enabled);
    for (text, words) in [
        ("[host]\nname = \"a.b\"\n", "host's name"),
        ("[admin]\nenable = true\n", "did you mean \"enabled\""),
        ("[admin]\n", "\"enabled\" is missing"),
        (
            "[guests.a]\ncomponent = \"a.wasm\"\npublish = [\"wharf.admin.>\"]\n",
            "for operators",
        ),
        (
            "[guests.a]\ncomponent = \"a.wasm\"\nsubscribe = [\"wharf.admin.h.list\"]\n",
            "for operators",
        ),
        (
            "[guests.a]\ncomponent = \"a.wasm\"\nprefix = \"wharf.admin.\"\n",
            "operators",
        ),
    ] {
        let errors = load(text)?.expect_err("it is refused").to_string();
        assert!(errors.contains(words), "{errors}");
    }
    // What only a prefix makes of it is refused where it would travel.
    let server = TestServer::start("").await?;
    let mut config = named(&server, "h");
    config.nats.prefix = "wharf.".to_owned();
    let mut settings = probe()?;
    settings.subscribe.push("admin.h.list".into());
    config.guests.insert("probe".to_owned(), settings);
    let error = Host::builder(config)
        .start()
        .await
        .expect_err("it is refused");
    let words = format!("{:#}", anyhow::Error::from(error));
    assert!(words.contains("never a guest's"), "{words}");
    Ok(())
}

#[tokio::test]
async fn no_answer_goes_where_orders_are_taken() -> Result<()> {
    let Probe {
        server: _server,
        host,
        client,
        ..
    } = probe_on("h").await?;
    let mut heard = client.subscribe("wharf.admin.other.load").await?;
    client
        .publish_with_reply("$SRV.PING.wharf", "wharf.admin.other.load", "".into())
        .await?;
    client
        .publish_with_reply("wharf.admin.h.list", "wharf.admin.other.load", "".into())
        .await?;
    // Both have been seen to by the time that this is answered: the same subscriptions, in order.
    ask_json(&client, "$SRV.PING.wharf").await?;
    ask_json(&client, "wharf.admin.h.list").await?;
    client
        .publish("wharf.admin.other.load", "the first".into())
        .await?;
    let first = soon("a message comes", heard.next())
        .await?
        .context("the subscription lives")?;
    assert_eq!(first.payload, "the first");
    host.shutdown().await;
    Ok(())
}
