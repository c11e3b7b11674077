//! The filter: what the client cannot read costs one interruption, or none.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wharf::config::{BucketSettings, ConnectionSettings, FilterMode};
use wharf::{ConnectionState, Connector, MalformedCause, RawSubscription};
use wharf_tests::raw::{LONE_CR, Raw, SPACE_IN_NAME};
use wharf_tests::{TestServer, soon, until};

use crate::malformed::{answered, echo};
use crate::tls;

/// Headers that the client cannot read, the cause, and whether it panics.
const UNREADABLE: [(&[u8], MalformedCause); 6] = [
    (LONE_CR, MalformedCause::HeaderValue),
    (SPACE_IN_NAME, MalformedCause::HeaderName),
    (b"NATS/1.0\r\nN: J\xfc\r\n\r\n", MalformedCause::Encoding),
    (b"NATS/1.0\r\nno colon\r\n\r\n", MalformedCause::HeaderLine),
    (b"NATS/1.0 abc\r\n\r\n", MalformedCause::Status),
    (b"HTTP/1.1\r\n\r\n", MalformedCause::Version),
];

/// A subject below `in` that is no text.
const NO_TEXT: &[u8] = b"in.\xff";

/// A connection that hears `in.>`, a neighbour of it that answers, and one who sends.
struct Scene {
    server: TestServer,
    connector: Connector,
    inbound: RawSubscription,
    raw: Raw,
}

impl Scene {
    async fn start(filter: FilterMode) -> Result<Self> {
        let server = TestServer::start("").await?;
        let settings = ConnectionSettings {
            filter,
            ..server.settings()
        };
        Self::with(server, settings).await
    }

    async fn with(server: TestServer, settings: ConnectionSettings) -> Result<Self> {
        let connector = Connector::connect(settings).await?;
        let inbound = connector.subscribe_raw("in.>", None).await?;
        connector.flush_published().await?;
        let raw = Raw::connect(&server).await?;
        Ok(Self {
            server,
            connector,
            inbound,
            raw,
        })
    }

    /// Sends every kind of malformed message, and a good one behind each.
    async fn attack(&mut self) -> Result<()> {
        for (headers, _) in UNREADABLE {
            self.raw.publish("in.a", "", headers, b"malformed").await?;
            self.raw
                .publish("in.a", "", b"NATS/1.0\r\n\r\n", b"good")
                .await?;
        }
        self.raw
            .publish(NO_TEXT, "", SPACE_IN_NAME, b"dropped")
            .await?;
        self.raw.send(b"PUB in.\xff 7\r\ndropped\r\n").await?;
        self.raw.flush().await
    }

    /// Reads what arrived of an attack.
    async fn read(&mut self) -> Result<()> {
        for (headers, _) in UNREADABLE {
            for expected in ["malformed", "good"] {
                let message = soon("a message", self.inbound.next()).await?;
                let message = message.context("a message")?;
                let shown = headers.escape_ascii();
                ensure!(message.payload == expected, "{shown}: {message:?}");
                ensure!(message.headers.is_none_or(|all| all.is_empty()), "{shown}");
            }
        }
        Ok(())
    }

    async fn connected(&self, times: u64) -> Result<()> {
        let mut state = self.connector.state();
        let is_so = |state: &ConnectionState| {
            *state == ConnectionState::Connected && self.connector.counters().connects == times
        };
        soon("it is connected", state.wait_for(is_so)).await??;
        Ok(self.connector.flush_published().await?)
    }
}

#[tokio::test]
async fn with_the_filter_always_on_no_malformed_message_costs_anything() -> Result<()> {
    let mut scene = Scene::start(FilterMode::Always).await?;
    assert!(scene.connector.counters().filter_is_on);
    for _ in 0..3 {
        scene.attack().await?;
        scene.read().await?;
    }
    scene.connector.flush_published().await?;
    let counters = scene.connector.counters();
    assert_eq!((counters.connects, counters.disconnects), (1, 0));
    for (headers, cause) in UNREADABLE {
        assert_eq!(
            counters.malformed.of(cause),
            3,
            "{}",
            headers.escape_ascii()
        );
    }
    assert_eq!(counters.malformed.of(MalformedCause::Subject), 6);
    assert_eq!(counters.malformed.total(), 24);
    Ok(())
}

#[tokio::test]
async fn the_first_malformed_message_costs_one_interruption_and_all_others_nothing() -> Result<()> {
    for (headers, _) in UNREADABLE {
        let mut scene = Scene::start(FilterMode::Auto).await?;
        let _echoing = echo(&scene.connector, "echo").await?;
        let client = scene.server.client().await?;
        assert!(!scene.connector.counters().filter_is_on);
        scene.raw.publish("in.a", "", headers, b"first").await?;
        scene.connected(2).await?;
        let counters = scene.connector.counters();
        assert!(counters.filter_is_on, "{}", headers.escape_ascii());
        assert_eq!(counters.filter_activations, 1);
        answered(&client, "echo").await?;
        for _ in 0..3 {
            scene.attack().await?;
            scene.read().await?;
            let asked = client.request("echo", "hello".into());
            soon("the neighbour answers", asked).await??;
        }
        let counters = scene.connector.counters();
        assert_eq!((counters.connects, counters.disconnects), (2, 1));
        assert_eq!(counters.malformed.total(), 24);
    }
    Ok(())
}

#[tokio::test]
async fn without_the_filter_each_one_interrupts() -> Result<()> {
    let mut scene = Scene::start(FilterMode::Never).await?;
    for times in 2..5 {
        scene.raw.publish("in.a", "", SPACE_IN_NAME, b"").await?;
        scene.connected(times).await?;
    }
    let pool = scene.connector.client().server_pool().await?;
    assert_eq!(pool.len(), 1, "there is no relay: {pool:?}");
    Ok(())
}

#[tokio::test]
async fn over_tls_one_client_goes_directly_first_and_then_through_the_filter() -> Result<()> {
    let authority = wharf_tests::Authority::new()?;
    let server = tls::server(&authority).await?;
    let settings = ConnectionSettings {
        filter: FilterMode::Auto,
        ..tls::settings(&server, &authority)?
    };
    let connector = Connector::connect(settings.clone()).await?;
    let sender = Connector::connect(ConnectionSettings {
        filter: FilterMode::Never,
        ..settings
    })
    .await?;
    let mut inbound = connector.subscribe_raw("in.>", None).await?;
    connector.flush_published().await?;
    let pool = connector.client().server_pool().await?;
    let (relays, servers): (Vec<_>, Vec<_>) = pool
        .iter()
        .partition(|server| server.addr.scheme() == "nats");
    assert_eq!((relays.len(), servers.len()), (1, 1), "{pool:?}");
    // A message with too many headers is one that other libraries send.
    let mut headers = async_nats::HeaderMap::new();
    (0..2000).for_each(|number| headers.append("n", number.to_string()));
    for times in 0..3 {
        let client = sender.client();
        client
            .publish_with_headers("in.a", headers.clone(), "hi".into())
            .await?;
        sender.flush_published().await?;
        let message = soon("the message", inbound.next()).await?.context("one")?;
        assert_eq!(message.payload, "hi", "{times}");
        assert!(message.headers.is_none_or(|all| all.is_empty()));
        let reconnected = || connector.counters().connects == 2;
        until("it is connected through the filter", reconnected).await?;
        connector.flush_published().await?;
    }
    let counters = connector.counters();
    assert_eq!((counters.connects, counters.disconnects), (2, 1));
    assert_eq!(counters.malformed.of(MalformedCause::HeaderCount), 3);
    Ok(())
}

#[tokio::test]
async fn too_many_headers_are_left_out_and_cost_one_interruption() -> Result<()> {
    for filter in [FilterMode::Auto, FilterMode::Always] {
        let mut scene = Scene::start(filter).await?;
        let headers = format!("NATS/1.0\r\n{}\r\n", "abc:\r\n".repeat(170_000));
        let connects = 1 + u64::from(filter == FilterMode::Auto);
        for _ in 0..5 {
            let headers = headers.as_bytes();
            scene.raw.publish("in.a", "", headers, b"many").await?;
            let message = soon("a message", scene.inbound.next()).await?;
            let message = message.context("a message")?;
            assert_eq!(message.payload, "many");
            assert!(message.headers.is_none_or(|all| all.is_empty()));
            scene.connected(connects).await?;
        }
        let counters = scene.connector.counters();
        assert_eq!(
            (counters.connects, counters.disconnects),
            (connects, connects - 1)
        );
        assert_eq!(counters.malformed.of(MalformedCause::HeaderBytes), 5);
    }
    Ok(())
}

#[tokio::test]
async fn a_tombstone_with_headers_that_cannot_be_read_stays_one() -> Result<()> {
    let mut scene = Scene::start(FilterMode::Always).await?;
    let settings = BucketSettings::default();
    let bucket = scene.connector.create_bucket("b", settings).await?;
    // A stream stores up to 64 KiB of headers.
    let many = "abc:\r\n".repeat(10_000);
    for more in ["X: a\rb\r\n", &many] {
        for operation in ["DEL", "PURGE"] {
            bucket.set_raw("k", "a value", None).await?;
            let headers = format!("NATS/1.0\r\nKV-Operation: {operation}\r\n{more}\r\n");
            let headers = headers.as_bytes();
            scene.raw.publish("$KV.b.k", "", headers, b"").await?;
            scene.raw.flush().await?;
            assert_eq!(bucket.keys(None).await?, Vec::<String>::new());
        }
    }
    // And a value with such headers is one.
    scene.raw.publish("$KV.b.k", "", LONE_CR, b"v").await?;
    scene.raw.flush().await?;
    assert_eq!(bucket.keys(None).await?, ["k"]);
    assert_eq!(scene.connector.counters().disconnects, 0);
    Ok(())
}

#[tokio::test]
async fn the_relay_tells_a_stranger_nothing_while_no_client_is_expected() -> Result<()> {
    let scene = Scene::start(FilterMode::Always).await?;
    let pool = scene.connector.client().server_pool().await?;
    let relay = pool
        .iter()
        .find(|server| server.addr.port().to_string() != port_of(&scene.server))
        .context("the relay's address")?;
    for _ in 0..40 {
        let mut stream = TcpStream::connect(("127.0.0.1", relay.addr.port())).await?;
        // It may be closed already.
        let _ = stream.write_all(b"CONNECT {}\r\nPING\r\n").await;
        let mut said = Vec::new();
        // The close may arrive as a reset.
        let _ = soon("it is closed", stream.read_to_end(&mut said)).await?;
        assert_eq!(said, b"");
    }
    let connections = &scene.server.monitor("/connz").await?["connections"];
    let names: Vec<_> = connections
        .as_array()
        .context("connections")?
        .iter()
        .filter_map(|connection| connection["name"].as_str())
        .collect();
    assert_eq!(
        names,
        ["wharf"],
        "the host's own, and no ticket in its name"
    );
    Ok(())
}

fn port_of(server: &TestServer) -> String {
    let address = server.address();
    address.rsplit(':').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn large_payloads_pass_in_both_directions() -> Result<()> {
    let scene = Scene::start(FilterMode::Always).await?;
    let _echoing = echo(&scene.connector, "echo").await?;
    let client = scene.server.client().await?;
    let payload: Vec<u8> = (0..900_000_u32).map(|at| (at % 251) as u8).collect();
    let asking = (0..16).map(|_| client.request("echo", payload.clone().into()));
    let answers = tokio::time::timeout(
        Duration::from_secs(20),
        futures_util::future::try_join_all(asking),
    )
    .await??;
    assert!(answers.iter().all(|answer| answer.payload == payload));
    Ok(())
}
