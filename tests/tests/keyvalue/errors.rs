//! What is refused, and how that is said.

use std::time::{Duration, Instant};

use anyhow::Result;
use wharf::config::{BucketSettings, ConnectionSettings};
use wharf::{Bucket, ConnectionState, Connector, Error};
use wharf_tests::TestServer;

use super::{bucket, connect, connected, jetstream};

/// Every function that takes a key, with this one.
async fn with_key(bucket: &Bucket, key: &str) -> Vec<Result<(), Error>> {
    vec![
        bucket.get_raw(key).await.map(drop),
        bucket.get_entry(key).await.map(drop),
        bucket.set_raw(key, "x", None).await.map(drop),
        bucket.add_raw(key, "x", None).await.map(drop),
        bucket.replace_raw(key, "x").await.map(drop),
        bucket.update_raw(key, "x", 1).await.map(drop),
        bucket.expire(key, None).await.map(drop),
        bucket.increment(key, 1).await.map(drop),
        bucket.delete(key).await,
        bucket.history(key).await.map(drop),
    ]
}

#[tokio::test]
async fn a_key_that_is_empty_or_too_long_is_invalid_and_the_connection_lives_on() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    for key in [String::new(), "x".repeat(769), "é".repeat(129)] {
        for refused in with_key(&bucket, &key).await {
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
    }
    assert!(matches!(
        bucket.keys(Some(&"x".repeat(769))).await,
        Err(Error::Invalid(_))
    ));
    let longest = "x".repeat(768);
    bucket.set_raw(&longest, "x", None).await?;
    assert_eq!(bucket.keys(Some(&longest)).await?, [longest]);
    Ok(())
}

#[tokio::test]
async fn a_value_that_exceeds_what_the_server_takes_is_too_large() -> Result<()> {
    let (_server, connector, bucket) = bucket().await?;
    let most = connector.client().server_info().max_payload;
    for refused in [
        bucket
            .set_raw("k", vec![b'x'; most + 1], None)
            .await
            .map(drop),
        bucket
            .add_raw("k", vec![b'x'; most + 1], None)
            .await
            .map(drop),
    ] {
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
    }
    bucket.set_raw("k", vec![b'x'; most], None).await?;
    assert_eq!(
        bucket.get_raw("k").await?.map(|value| value.len()),
        Some(most)
    );
    Ok(())
}

#[tokio::test]
async fn a_value_that_exceeds_what_the_bucket_takes_is_too_large() -> Result<()> {
    let (_server, connector) = connected().await?;
    let settings = BucketSettings {
        max_value_size: Some(10),
        ..BucketSettings::default()
    };
    let bucket = connector.create_bucket("b", settings).await?;
    let hour = Some(Duration::from_secs(3600));
    bucket.add_raw("k", "0123456789", hour).await?;
    assert!(bucket.expire("k", hour).await?);
    let revision = bucket
        .replace_raw("k", "1111111111")
        .await?
        .expect("has a value");
    for refused in [
        bucket.set_raw("k", "0123456789x", None).await.map(drop),
        bucket.add_raw("new", "0123456789x", hour).await.map(drop),
        bucket.replace_raw("k", "0123456789x").await.map(drop),
        bucket
            .update_raw("k", "0123456789x", revision)
            .await
            .map(drop),
    ] {
        assert_eq!(refused, Err(Error::TooLarge(10)));
    }
    assert_eq!(bucket.increment("k", 1).await?, 1_111_111_112);
    bucket.delete("k").await?;
    assert_eq!(bucket.count().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_full_is_unavailable_with_the_servers_words() -> Result<()> {
    let (_server, connector) = connected().await?;
    let settings = BucketSettings {
        max_bytes: Some(200),
        ..BucketSettings::default()
    };
    let bucket = connector.create_bucket("b", settings).await?;
    bucket.set_raw("one", vec![0; 100], None).await?;
    let refused = bucket.set_raw("two", vec![0; 100], None).await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(words)) if words.contains("maximum bytes")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_without_jetstream_is_unsupported() -> Result<()> {
    let server = TestServer::start("jetstream: disabled").await?;
    let connector = connect(&server).await?;
    for refused in [
        connector.bucket(Some("b")).await.map(drop),
        connector.open_bucket("b", false).await.map(drop),
        connector
            .create_bucket("b", BucketSettings::default())
            .await
            .map(drop),
    ] {
        assert!(
            matches!(&refused, Err(Error::Unsupported(words)) if words.contains("JetStream")),
            "{refused:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_that_denies_purging_cannot_be_flushed() -> Result<()> {
    let (_server, connector, bucket) = bucket().await?;
    let context = jetstream(&connector);
    let mut config = context
        .get_stream("KV_b")
        .await?
        .cached_info()
        .config
        .clone();
    (config.deny_purge, config.allow_rollup) = (true, false);
    context.update_stream(config).await?;
    assert!(matches!(bucket.flush().await, Err(Error::Failed(_))));
    Ok(())
}

/// Every other function.
async fn without_a_key(bucket: &Bucket) -> Vec<Result<(), Error>> {
    vec![
        bucket.keys(None).await.map(drop),
        bucket.count().await.map(drop),
        bucket.flush().await,
    ]
}

#[tokio::test]
async fn without_a_connection_every_function_is_unavailable() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        servers: server.url().into(),
        max_reconnect: Some(0),
        ..ConnectionSettings::default()
    };
    let connector = Connector::connect(settings).await?;
    let bucket = connector.bucket(Some("b")).await?;
    server.kill().await?;
    connector
        .state()
        .wait_for(|state| *state != ConnectionState::Connected)
        .await?;

    let mut results = with_key(&bucket, "k").await;
    results.extend(without_a_key(&bucket).await);
    results.push(connector.bucket(Some("other")).await.map(drop));
    results.push(
        connector
            .create_bucket("b", BucketSettings::default())
            .await
            .map(drop),
    );
    for refused in results {
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_operation_waits_for_a_server_that_comes_back_only_so_long() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let connector = connect(&server).await?;
    let bucket = connector.bucket(Some("b")).await?;
    server.kill().await?;
    connector
        .state()
        .wait_for(|state| *state != ConnectionState::Connected)
        .await?;

    let begun = Instant::now();
    assert!(matches!(
        bucket.set_raw("k", "x", None).await,
        Err(Error::Unavailable(_))
    ));
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout() -> Result<()> {
    let (server, _connector, bucket) = bucket().await?;
    server.freeze()?;
    let begun = Instant::now();
    let (get, set, increment, keys) = tokio::join!(
        bucket.get_raw("k"),
        bucket.set_raw("k", "x", None),
        bucket.increment("n", 1),
        bucket.keys(None)
    );
    assert_eq!(
        (get, set, increment, keys.map(drop)),
        (
            Err(Error::Timeout),
            Err(Error::Timeout),
            Err(Error::Timeout),
            Err(Error::Timeout)
        )
    );
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}
