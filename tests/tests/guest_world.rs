//! What a guest sees beside NATS, when it comes into and goes out of service, and which components are no guests.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf::config::{Config, DirectoryAccess, DirectoryGrant, GuestSettings};
use wharf::{Host, StartError};
use wharf_tests::probe::{Probe, config, probe};
use wharf_tests::{TestServer, component, round_trip};

#[tokio::test]
async fn a_guest_reads_its_configuration_and_environment_and_no_other() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings.config.insert("threshold".into(), "4.5".into());
        settings.env.insert("MODE".into(), "test".into());
    })
    .await?;
    assert_eq!(
        probe
            .ok(json!({ "do": "config", "key": "threshold" }))
            .await?,
        "4.5"
    );
    assert_eq!(
        probe
            .ok(json!({ "do": "config", "key": "wharf.serializer" }))
            .await?,
        "json"
    );
    assert_eq!(
        probe.ok(json!({ "do": "config", "key": "other" })).await?,
        Value::Null
    );
    assert_eq!(
        probe.ok(json!({ "do": "env", "name": "MODE" })).await?,
        "test"
    );
    assert_eq!(
        probe.ok(json!({ "do": "env", "name": "PATH" })).await?,
        Value::Null
    );
    Ok(())
}

#[tokio::test]
async fn a_guest_sees_the_directories_that_it_was_granted_and_nothing_beside_them() -> Result<()> {
    let probe = Probe::start(|_, settings, directory| {
        for (name, access) in [
            ("in", DirectoryAccess::Read),
            ("out", DirectoryAccess::ReadWrite),
        ] {
            let host = directory.path().join(name);
            std::fs::create_dir(&host).expect("a new directory");
            std::fs::write(host.join("file"), name).expect("a new file");
            let grant = DirectoryGrant::new(host, format!("/{name}"), access);
            settings.dirs.push(grant);
        }
        std::fs::write(directory.path().join("secret"), "secret").expect("a new file");
        std::os::unix::fs::symlink("../secret", directory.path().join("out/link"))
            .expect("a new link");
    })
    .await?;
    let read = |path: &str| json!({ "do": "read", "path": path });
    let write = |path: &str| json!({ "do": "write", "path": path, "text": "written" });
    assert_eq!(probe.ok(read("/in/file")).await?, "in");
    probe.ok(write("/out/new")).await?;
    assert_eq!(
        std::fs::read_to_string(probe.directory.path().join("out/new"))?,
        "written"
    );
    for step in [
        write("/in/file"),
        write("/in/new"),
        read("/out/../secret"),
        read("/out/link"),
        read("/secret"),
        read("/etc/passwd"),
    ] {
        assert_eq!(probe.err(step.clone()).await?.0, "io", "{step}");
    }
    assert_eq!(
        std::fs::read_to_string(probe.directory.path().join("in/file"))?,
        "in"
    );
    Ok(())
}

#[tokio::test]
async fn sockets_are_there_and_denied() -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let probe = Probe::start(|_, _, _| {}).await?;
    let connect = json!({ "do": "connect", "address": listener.local_addr()?.to_string() });
    assert_eq!(probe.err(connect).await?.0, "io");
    listener.set_nonblocking(true)?;
    assert!(listener.accept().is_err(), "nobody has connected");
    Ok(())
}

#[tokio::test]
async fn start_runs_before_the_first_message_and_stop_after_the_last() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        let steps = |subject: &str| json!([{ "do": "publish", "subject": subject }]).to_string();
        let subscribe = json!([{ "do": "subscribe", "subject": "extra" }]).to_string();
        settings.config.insert("start".into(), subscribe);
        settings.config.insert("stop".into(), steps("life.stopped"));
        settings.publish = vec!["life.*".into()];
        settings.may_subscribe = vec!["extra".into()];
    })
    .await?;
    let mut life = probe.client.subscribe("life.*").await?;
    round_trip(&probe.client).await?;
    assert_eq!(
        probe.describe("extra").await?["calls"],
        1,
        "subscribed by itself, while it started"
    );
    let report = probe.host.shutdown().await;
    ensure!(report.is_clean(), "{report:?}");
    let said = tokio::time::timeout(
        Duration::from_secs(20),
        futures_util::StreamExt::next(&mut life),
    )
    .await?;
    assert_eq!(said.context("a message")?.subject.as_str(), "life.stopped");
    Ok(())
}

/// Why a host with this guest does not start.
async fn refusal(server: &TestServer, settings: GuestSettings) -> Result<String> {
    let mut config: Config = config(server);
    config.guests.insert("bad".to_owned(), settings);
    match Host::builder(config).start().await {
        Ok(_) => anyhow::bail!("it started"),
        Err(error) => {
            ensure!(
                matches!(&error, StartError::Guest { name, .. } if name == "bad"),
                "{error:?}"
            );
            Ok(format!("{:#}", anyhow::Error::from(error)))
        }
    }
}

#[tokio::test]
async fn a_guest_whose_start_fails_traps_or_does_not_end_stops_the_host_from_starting() -> Result<()>
{
    let server = TestServer::start("").await?;
    let with_start = |steps: Value| -> Result<GuestSettings> {
        let mut settings = probe()?;
        settings.config.insert("start".into(), steps.to_string());
        settings.limits.time = Duration::from_millis(500);
        Ok(settings)
    };
    let denied = refusal(
        &server,
        with_start(json!([{ "do": "publish", "subject": "x" }]))?,
    )
    .await?;
    ensure!(
        denied.contains("start function failed") && denied.contains("`publish`"),
        "{denied}"
    );
    let trapped = refusal(&server, with_start(json!([{ "do": "trap" }]))?).await?;
    ensure!(trapped.contains("it trapped while it started"), "{trapped}");
    let spinning = refusal(&server, with_start(json!([{ "do": "spin" }]))?).await?;
    ensure!(
        spinning.contains("did not return within 500ms"),
        "{spinning}"
    );
    let mut small = probe()?;
    small.limits.memory_bytes = 1 << 16;
    let small = refusal(&server, small).await?;
    ensure!(small.contains("memory"), "{small}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_guest_is_refused_with_the_names_of_what_is_missing() -> Result<()> {
    let server = TestServer::start("").await?;
    let directory = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| -> Result<GuestSettings> {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(GuestSettings::new(path))
    };
    let missing = refusal(
        &server,
        GuestSettings::new(directory.path().join("none.wasm")),
    )
    .await?;
    ensure!(
        missing.contains("cannot read component") && missing.contains("none.wasm"),
        "{missing}"
    );
    let text = refusal(&server, file("text.wasm", b"hello")?).await?;
    ensure!(text.contains("it is not WebAssembly"), "{text}");
    let module = refusal(&server, file("module.wasm", &wat::parse_str("(module)")?)?).await?;
    ensure!(
        module.contains("core WebAssembly module") && module.contains("wasm32-wasip2"),
        "{module}"
    );
    let broken = refusal(&server, file("broken.wasm", b"\0asm\x0d\0\x01\0garbage")?).await?;
    ensure!(broken.contains("cannot compile"), "{broken}");
    let wants = wat::parse_str(
        r#"(component
            (import "wharf:nats/pubsub@0.9.0" (instance))
            (import "acme:gpu/tensors@1.0.0" (instance))
            (import "wasi:http/types@0.2.3" (instance)))"#,
    )?;
    let wants = refusal(&server, file("wants.wasm", &wants)?).await?;
    for part in [
        "wharf:nats/pubsub@0.9.0",
        "acme:gpu/tensors@1.0.0",
        "does not export wharf:nats/handler@0.2.0",
    ] {
        ensure!(wants.contains(part), "{part} is not named: {wants}");
    }
    ensure!(
        !wants.contains("wasi:http"),
        "what is offered is not a problem: {wants}"
    );
    let handler = wat::parse_str(
        r#"(component (component $c (import "f" (func))) (instance $i) (export "wharf:nats/handler@0.2.0" (instance $i)))"#,
    )?;
    let handler = refusal(&server, file("handler.wasm", &handler)?).await?;
    ensure!(handler.contains("no function `handle`"), "{handler}");
    Ok(())
}

#[tokio::test]
async fn a_component_with_a_proposal_of_which_the_host_has_only_the_compiler_is_refused()
-> Result<()> {
    let server = TestServer::start("").await?;
    let directory = tempfile::tempdir()?;
    // Called, it would end the process: the function behind `ref.test` is not there.
    let bytes = wat::parse_str(
        r#"(component (core module
            (type $a (sub (func))) (type $b (sub $a (func)))
            (func $f (type $a)) (elem declare func $f)
            (func (drop (ref.test (ref $b) (ref.func $f))))))"#,
    )?;
    let path = directory.path().join("subtype.wasm");
    std::fs::write(&path, bytes)?;
    let refused = refusal(&server, GuestSettings::new(path)).await?;
    ensure!(
        refused.contains("cannot compile") && refused.contains("proposal"),
        "{refused}"
    );
    Ok(())
}

#[test]
fn inspecting_a_component_tells_what_it_is() -> Result<()> {
    let found = wharf::inspect(&component("probe")?, None)?;
    assert_eq!((found.world, found.problems.len()), (Some("service"), 0));
    assert!(
        found.imports.iter().all(|import| import.offered),
        "{:?}",
        found.imports
    );
    assert!(
        found
            .exports
            .iter()
            .any(|export| export == "wharf:nats/handler@0.2.0")
    );
    let found = wharf::inspect(&component("echo")?, None)?;
    assert_eq!(found.world, Some("guest"));
    assert!(wharf::inspect(Path::new("none.wasm"), None).is_err());
    Ok(())
}

#[tokio::test]
async fn more_instances_than_there_can_be_are_refused() -> Result<()> {
    let server = TestServer::start("").await?;
    let mut config = config(&server);
    let mut settings = probe()?;
    settings.instances.max = 1001.try_into()?;
    config.guests.insert("greedy".to_owned(), settings);
    let error = Host::builder(config)
        .start()
        .await
        .err()
        .context("it started")?;
    ensure!(
        matches!(error, StartError::TooManyInstances { asked: 1001 }),
        "{error:?}"
    );
    Ok(())
}
