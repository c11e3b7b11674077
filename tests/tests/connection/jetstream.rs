//! Messages that a stream stores.

use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::stream::Config;
use wharf::{Connector, Error, StoreOptions};
use wharf_tests::TestServer;

async fn connector(server: &TestServer, config: Config) -> Result<Connector> {
    let connector = Connector::connect(server.settings()).await?;
    let config = Config {
        name: "S".into(),
        subjects: vec!["s.>".into()],
        ..config
    };
    connector.jetstream().create_stream(config).await?;
    Ok(connector)
}

#[tokio::test]
async fn a_stream_acknowledges_what_it_has_stored() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = connector(&server, Config::default()).await?;
    let ack = connector.publish_acked("s.a", &1).await?;
    assert_eq!(
        (ack.stream.as_str(), ack.sequence, ack.duplicate),
        ("S", 1, false)
    );
    let once = StoreOptions {
        message_id: Some("two".into()),
        ..StoreOptions::default()
    };
    let first = connector.publish_acked_raw("s.a", None, "2", &once).await?;
    let again = connector.publish_acked_raw("s.a", None, "2", &once).await?;
    assert_eq!(
        (
            first.sequence,
            first.duplicate,
            again.sequence,
            again.duplicate
        ),
        (2, false, 2, true)
    );
    let mut stream = connector.jetstream().get_stream("S").await?;
    assert_eq!(stream.info().await?.state.messages, 2);
    Ok(())
}

#[tokio::test]
async fn where_no_stream_listens_nothing_is_found() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = connector(&server, Config::default()).await?;
    let error = connector
        .publish_acked("elsewhere", &1)
        .await
        .expect_err("no stream");
    assert_eq!(
        error,
        Error::NotFound("no stream listens on 'elsewhere'".into())
    );
    Ok(())
}

#[tokio::test]
async fn another_sequence_than_expected_is_a_conflict() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = connector(&server, Config::default()).await?;
    let after = |sequence| StoreOptions {
        expected_last_subject_sequence: Some(sequence),
        ..StoreOptions::default()
    };
    connector
        .publish_acked_raw("s.a", None, "", &after(0))
        .await?;
    connector.publish_acked("s.b", &1).await?;
    connector
        .publish_acked_raw("s.a", None, "", &after(1))
        .await?;
    let error = connector
        .publish_acked_raw("s.a", None, "", &after(1))
        .await
        .expect_err("it is at 3");
    assert_eq!(error, Error::Conflict);
    Ok(())
}

#[tokio::test]
async fn a_time_to_live_needs_a_stream_that_allows_it() -> Result<()> {
    let server = TestServer::start("").await?;
    let with = connector(
        &server,
        Config {
            allow_message_ttl: true,
            ..Config::default()
        },
    )
    .await?;
    let brief = StoreOptions {
        ttl: Some(Duration::from_millis(100)),
        ..StoreOptions::default()
    };
    let ack = with.publish_acked_raw("s.a", None, "", &brief).await?;
    let stored = with
        .jetstream()
        .get_stream("S")
        .await?
        .get_raw_message(ack.sequence)
        .await?;
    assert_eq!(
        stored.headers.get("Nats-TTL").map(|ttl| ttl.as_str()),
        Some("1")
    );

    let plain = Config {
        name: "P".into(),
        subjects: vec!["p".into()],
        ..Config::default()
    };
    with.jetstream().create_stream(plain).await?;
    let error = with
        .publish_acked_raw("p", None, "", &brief)
        .await
        .expect_err("not allowed there");
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_a_stream_refuses_fails_with_its_words() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = connector(
        &server,
        Config {
            max_message_size: 10,
            ..Config::default()
        },
    )
    .await?;
    let error = connector
        .publish_acked("s.a", &"more than ten bytes")
        .await
        .expect_err("too long for the stream");
    assert!(
        matches!(&error, Error::Failed(text) if text.contains("size")),
        "{error}"
    );
    Ok(())
}
