//! Buckets are shared with other clients.

use std::time::Duration;

use anyhow::Result;
use async_nats::HeaderMap;
use async_nats::jetstream::kv;
use futures_util::TryStreamExt;
use wharf::Error;

use super::{bucket, connected, expired, jetstream};

#[tokio::test]
async fn another_client_reads_what_we_write_and_writes_what_we_read() -> Result<()> {
    let (_server, connector, ours) = bucket().await?;
    let theirs = jetstream(&connector).get_key_value("b").await?;

    let revision = ours.set_raw("user:1", "ours", None).await?;
    let entry = theirs.entry("user=3A1").await?.expect("was set");
    assert_eq!((&entry.value[..], entry.revision), (&b"ours"[..], revision));
    assert_eq!(theirs.status().await?.history(), 1);

    let revision = theirs.put("quakes.ci", "theirs".into()).await?;
    let entry = ours.get_entry("quakes.ci").await?.expect("was put");
    assert_eq!(
        (&entry.value[..], entry.revision),
        (&b"theirs"[..], revision)
    );

    ours.delete("user:1").await?;
    assert_eq!(theirs.get("user=3A1").await?, None);
    assert_eq!(
        theirs.keys().await?.try_collect::<Vec<_>>().await?,
        ["quakes.ci"]
    );
    Ok(())
}

#[tokio::test]
async fn what_another_client_deleted_or_purged_has_no_value() -> Result<()> {
    let (_server, connector, ours) = bucket().await?;
    let theirs = jetstream(&connector).get_key_value("b").await?;
    for key in ["deleted", "purged"] {
        theirs.put(key, "x".into()).await?;
    }
    theirs.delete("deleted").await?;
    theirs.purge("purged").await?;
    for key in ["deleted", "purged"] {
        assert_eq!(ours.get_raw(key).await?, None, "{key}");
        assert_eq!(ours.replace_raw(key, "y").await?, None, "{key}");
        assert_eq!(ours.history(key).await?, [], "{key}");
    }
    assert_eq!(ours.count().await?, 0);
    for key in ["deleted", "purged"] {
        ours.add_raw(key, "y", None).await?;
    }
    assert_eq!(ours.count().await?, 2);
    Ok(())
}

#[tokio::test]
async fn the_marker_that_a_server_leaves_of_an_expired_value_is_no_value() -> Result<()> {
    let (_server, connector) = connected().await?;
    let config = kv::Config {
        bucket: "b".to_owned(),
        limit_markers: Some(Duration::from_secs(3600)),
        ..kv::Config::default()
    };
    jetstream(&connector).create_key_value(config).await?;
    let bucket = connector.bucket(Some("b")).await?;
    bucket
        .set_raw("k", "x", Some(Duration::from_secs(1)))
        .await?;
    expired(&bucket, "k").await?;

    assert_eq!(bucket.count().await?, 0);
    assert_eq!(bucket.history("k").await?, []);
    assert_eq!(bucket.replace_raw("k", "y").await?, None);
    assert_eq!(bucket.increment("k", 2).await?, 2);
    assert_eq!(bucket.add_raw("k", "y", None).await, Err(Error::Conflict));
    Ok(())
}

#[tokio::test]
async fn a_key_that_no_text_travels_as_is_left_out() -> Result<()> {
    let (_server, connector, bucket) = bucket().await?;
    let theirs = jetstream(&connector).get_key_value("b").await?;
    theirs.put("a=b", "x".into()).await?;
    theirs.put("good", "x".into()).await?;
    assert_eq!(bucket.keys(None).await?, ["good"]);
    assert_eq!(bucket.count().await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_ttl_that_another_client_wrote_as_a_duration_is_understood() -> Result<()> {
    let (_server, connector, bucket) = bucket().await?;
    for (key, ttl, seconds) in [
        ("go", "1h0m0s", Some(3600)),
        ("plain", "60", Some(60)),
        ("never", "never", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", ttl);
        jetstream(&connector)
            .publish_with_headers(format!("$KV.b.{key}"), headers, "x".into())
            .await?
            .await?;
        let entry = bucket.get_entry(key).await?.expect("was put");
        let lives_for = entry
            .expires
            .map(|expires| Duration::from_nanos(expires - entry.created));
        assert_eq!(lives_for, seconds.map(Duration::from_secs), "{key}");
    }
    Ok(())
}
