//! Components that are objects of an object store, for programs that embed the host.

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::object_store::{self, ObjectStore};
use wharf::config::GuestSettings;
use wharf::{ChangeError, FetchError, GuestError, Host, LoadError};
use wharf_tests::probe::config;
use wharf_tests::raw::{LONE_CR, Raw, SPACE_IN_NAME};
use wharf_tests::{TestServer, component, soon, until};

async fn store(server: &TestServer) -> Result<ObjectStore> {
    let jetstream = async_nats::jetstream::new(server.client().await?);
    let config = object_store::Config {
        bucket: "plugins".to_owned(),
        ..object_store::Config::default()
    };
    Ok(jetstream.create_object_store(config).await?)
}

async fn put(store: &ObjectStore, component_of: &str) -> Result<()> {
    let bytes = std::fs::read(component(component_of)?)?;
    store.put("guest.wasm", &mut bytes.as_slice()).await?;
    Ok(())
}

fn settings() -> Result<GuestSettings> {
    let source: wharf::config::ComponentSource = "nats://plugins/guest.wasm"
        .parse()
        .map_err(anyhow::Error::msg)?;
    let mut settings = GuestSettings::new(source);
    settings.subscribe.push("guest".into());
    Ok(settings)
}

async fn refusal(host: &Host) -> Result<LoadError> {
    match host.load("guest", settings()?).await {
        Err(ChangeError::Guest {
            source: GuestError::Load(error),
            ..
        }) => Ok(error),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_not_there_or_is_no_guest_is_told_apart() -> Result<()> {
    let server = TestServer::start("").await?;
    let host = Host::builder(config(&server)).start().await?;
    let error = refusal(&host).await?;
    ensure!(
        matches!(error, LoadError::Fetch(FetchError::NoBucket { .. })),
        "{error:?}"
    );
    let store = store(&server).await?;
    let error = refusal(&host).await?;
    ensure!(
        matches!(error, LoadError::Fetch(FetchError::NoObject { .. })),
        "{error:?}"
    );
    store.put("guest.wasm", &mut "text".as_bytes()).await?;
    let error = refusal(&host).await?;
    ensure!(
        matches!(error, LoadError::NotAComponent { .. }),
        "{error:?}"
    );
    store.put("guest.wasm", &mut "".as_bytes()).await?;
    let error = refusal(&host).await?;
    ensure!(
        matches!(error, LoadError::NotAComponent { .. }),
        "{error:?}"
    );
    store.delete("guest.wasm").await?;
    let error = refusal(&host).await?;
    ensure!(
        matches!(error, LoadError::Fetch(FetchError::NoObject { .. })),
        "{error:?}"
    );
    put(&store, "echo").await?;
    host.load("guest", settings()?).await?;
    assert_eq!(
        host.guests()[0].component.to_string(),
        "nats://plugins/guest.wasm"
    );
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_not_what_was_put_are_refused() -> Result<()> {
    let server = TestServer::start("").await?;
    let store = store(&server).await?;
    put(&store, "echo").await?;
    let mut info = store.info("guest.wasm").await?;
    info.digest = Some("SHA-256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned());
    let meta = format!("$O.plugins.M.{}", "Z3Vlc3Qud2FzbQ==");
    let client = server.client().await?;
    let jetstream = async_nats::jetstream::new(client);
    jetstream
        .publish(meta, serde_json::to_vec(&info)?.into())
        .await?
        .await?;
    let host = Host::builder(config(&server)).start().await?;
    let error = refusal(&host).await?;
    ensure!(
        matches!(&error, LoadError::Fetch(FetchError::Server { source, .. }) if source.to_string().contains("digest")),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn new_versions_are_told_once_also_after_the_server_was_away() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let objects = store(&server).await?;
    put(&objects, "echo").await?;
    let mut config = config(&server);
    config.nats.max_reconnect = None;
    config.guests.insert("guest".to_owned(), settings()?);
    let host = Host::builder(config.clone()).start().await?;
    let mut changes = host.component_changes();
    let mut next = async || {
        soon("a new version is told", changes.next())
            .await?
            .context("the host runs")
    };
    put(&objects, "probe").await?;
    assert_eq!(next().await?, "guest");
    assert_eq!(host.apply(config.guests.clone()).await?.replaced, ["guest"]);
    // The same bytes are nothing new.
    put(&objects, "probe").await?;
    ensure!(host.apply(config.guests.clone()).await?.replaced.is_empty());
    server.restart().await?;
    let objects = store(&server).await?;
    put(&objects, "echo").await?;
    assert_eq!(next().await?, "guest");
    assert_eq!(host.apply(config.guests).await?.replaced, ["guest"]);
    assert_eq!(host.guests()[0].version, 3);
    host.shutdown().await;
    assert_eq!(soon("the changes end", changes.next()).await?, None);
    Ok(())
}

#[tokio::test]
async fn new_versions_are_told_and_fetched_after_the_hosts_client_has_ended() -> Result<()> {
    let server = TestServer::start("").await?;
    let objects = store(&server).await?;
    put(&objects, "echo").await?;
    let mut config = config(&server);
    config.guests.insert("guest".to_owned(), settings()?);
    let host = Host::builder(config.clone()).start().await?;
    let mut changes = host.component_changes();
    put(&objects, "probe").await?;
    let told = soon("a new version is told", changes.next()).await?;
    assert_eq!(told.as_deref(), Some("guest"));
    let mut raw = Raw::connect(&server).await?;
    raw.publish("$SRV.PING", "", LONE_CR, b"").await?;
    until("there is another client", || {
        host.connection_counters().connects == 2
    })
    .await?;
    host.connector().flush_published().await?;
    assert_eq!(host.apply(config.guests.clone()).await?.replaced, ["guest"]);
    put(&objects, "echo").await?;
    let told = soon("a new version is told", changes.next()).await?;
    assert_eq!(told.as_deref(), Some("guest"));
    assert_eq!(host.apply(config.guests).await?.replaced, ["guest"]);
    Ok(())
}

/// Stores an object whose messages all have headers that no client can read, as somebody may who writes to its store.
async fn put_unreadable(store: &ObjectStore, raw: &mut Raw, component_of: &str) -> Result<()> {
    let bytes = std::fs::read(component(component_of)?)?;
    let mut info = store.put("template", &mut bytes.as_slice()).await?;
    store.delete("template").await?;
    info.name = "guest.wasm".to_owned();
    info.nuid = format!("unreadable{component_of}");
    let pieces = bytes.chunks(128 * 1024);
    info.chunks = pieces.len();
    for (number, piece) in pieces.enumerate() {
        let headers = [LONE_CR, SPACE_IN_NAME][number % 2];
        let subject = format!("$O.plugins.C.{}", info.nuid);
        raw.publish(subject, "", headers, piece).await?;
        // Something else comes between.
        raw.publish("$O.plugins.C.other", "", LONE_CR, b"").await?;
    }
    for name in ["Z3Vlc3Qud2FzbQ==", "b3RoZXI="] {
        let (subject, meta) = (format!("$O.plugins.M.{name}"), serde_json::to_vec(&info)?);
        raw.publish(subject, "", LONE_CR, &meta).await?;
    }
    raw.flush().await
}

#[tokio::test]
async fn objects_with_headers_that_no_client_can_read_are_loaded_and_followed() -> Result<()> {
    let server = TestServer::start("").await?;
    let objects = store(&server).await?;
    let mut raw = Raw::connect(&server).await?;
    put_unreadable(&objects, &mut raw, "echo").await?;
    let mut config = config(&server);
    config.guests.insert("guest".to_owned(), settings()?);
    let host = Host::builder(config.clone()).start().await?;
    let mut changes = host.component_changes();
    put_unreadable(&objects, &mut raw, "probe").await?;
    let told = soon("a new version is told", changes.next()).await?;
    assert_eq!(told.as_deref(), Some("guest"));
    assert_eq!(host.apply(config.guests).await?.replaced, ["guest"]);
    assert_eq!(host.connection_counters().disconnects, 0);
    Ok(())
}

#[tokio::test]
async fn a_link_leads_to_its_object_and_a_circle_of_links_to_an_error() -> Result<()> {
    let server = TestServer::start("").await?;
    let objects = store(&server).await?;
    put(&objects, "echo").await?;
    let there = objects.get("guest.wasm").await?;
    objects.add_link("a-link", &there).await?;
    let host = Host::builder(config(&server)).start().await?;
    let load = async |name: &str| -> Result<_> {
        let source = format!("nats://plugins/{name}");
        let source: wharf::config::ComponentSource = source.parse().map_err(anyhow::Error::msg)?;
        Ok(host.load("guest", GuestSettings::new(source)).await)
    };
    load("a-link").await??;
    host.unload("guest").await?;
    let mut raw = Raw::connect(&server).await?;
    // "circle", which is itself meant instead.
    let meta = br#"{"name":"circle","bucket":"plugins","options":{"link":{"bucket":"plugins","name":"circle"}}}"#;
    raw.publish("$O.plugins.M.Y2lyY2xl", "", b"NATS/1.0\r\n\r\n", meta)
        .await?;
    raw.flush().await?;
    let refused = format!("{:?}", load("circle").await?.expect_err("a circle"));
    ensure!(refused.contains("links"), "{refused}");
    Ok(())
}
