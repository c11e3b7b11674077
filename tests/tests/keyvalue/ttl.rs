//! Values that expire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use async_nats::jetstream::kv;
use wharf::config::BucketSettings;
use wharf::{Bucket, Entry, Error};

use super::{bucket, connected, expired, jetstream, with_history};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

async fn entry(bucket: &Bucket, key: &str) -> Result<Entry> {
    Ok(bucket.get_entry(key).await?.expect("has a value"))
}

/// How long a value lives from its last write on.
fn lives_for(entry: &Entry) -> Option<Duration> {
    Some(Duration::from_nanos(entry.expires? - entry.created))
}

#[tokio::test]
async fn a_value_with_a_ttl_says_when_it_expires_and_does() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket
        .set_raw("set", "x", Some(Duration::from_millis(1)))
        .await?;
    bucket.add_raw("add", "x", Some(SECOND)).await?;
    bucket.set_raw("stays", "x", None).await?;
    bucket.set_raw("expire", "x", None).await?;
    assert!(bucket.expire("expire", Some(SECOND)).await?);
    for key in ["set", "add", "expire"] {
        assert_eq!(
            lives_for(&entry(&bucket, key).await?),
            Some(SECOND),
            "{key}"
        );
    }
    for key in ["set", "add", "expire"] {
        expired(&bucket, key).await?;
    }
    assert_eq!(bucket.keys(None).await?, ["stays"]);
    Ok(())
}

#[tokio::test]
async fn a_ttl_is_rounded_up_to_whole_seconds() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket
        .set_raw("k", "x", Some(Duration::from_millis(59_001)))
        .await?;
    assert_eq!(lives_for(&entry(&bucket, "k").await?), Some(60 * SECOND));
    assert!(matches!(
        bucket.set_raw("k", "x", Some(Duration::MAX)).await,
        Err(Error::Invalid(_))
    ));
    Ok(())
}

#[tokio::test]
async fn a_write_without_a_ttl_ends_the_one_before() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket.set_raw("k", "one", Some(HOUR)).await?;
    bucket.set_raw("k", "two", None).await?;
    assert_eq!(entry(&bucket, "k").await?.expires, None);

    bucket.expire("k", Some(HOUR)).await?;
    bucket.replace_raw("k", "three").await?;
    assert_eq!(entry(&bucket, "k").await?.expires, None);

    bucket.expire("k", Some(HOUR)).await?;
    assert!(bucket.expire("k", None).await?);
    let still = entry(&bucket, "k").await?;
    assert_eq!((&still.value[..], still.expires), (&b"three"[..], None));

    assert!(bucket.expire("k", None).await?);
    assert_eq!(
        entry(&bucket, "k").await?.revision,
        still.revision,
        "there was nothing to end"
    );
    Ok(())
}

#[tokio::test]
async fn expire_says_whether_there_is_a_value() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    assert!(!bucket.expire("k", Some(HOUR)).await?);
    assert!(!bucket.expire("k", None).await?);
    bucket.set_raw("k", "x", None).await?;
    bucket.delete("k").await?;
    assert!(!bucket.expire("k", Some(HOUR)).await?);
    assert_eq!(bucket.count().await?, 0);
    Ok(())
}

#[tokio::test]
async fn add_over_a_deleted_or_expired_key_works_and_keeps_its_ttl() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket.set_raw("deleted", "x", None).await?;
    bucket.delete("deleted").await?;
    bucket.set_raw("expired", "x", Some(SECOND)).await?;
    expired(&bucket, "expired").await?;
    for key in ["deleted", "expired"] {
        bucket.add_raw(key, "y", Some(HOUR)).await?;
        assert_eq!(lives_for(&entry(&bucket, key).await?), Some(HOUR), "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn increment_leaves_the_expiry_where_it_was() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket.set_raw("n", "1", Some(HOUR)).await?;
    let before = entry(&bucket, "n").await?.expires;
    for sum in 2..=20 {
        assert_eq!(bucket.increment("n", 1).await?, sum);
    }
    assert_eq!(entry(&bucket, "n").await?.expires, before);
    Ok(())
}

#[tokio::test]
async fn a_counter_that_is_always_written_expires_all_the_same() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket.add_raw("n", "1000000", Some(SECOND)).await?;
    let expires =
        UNIX_EPOCH + Duration::from_nanos(entry(&bucket, "n").await?.expires.expect("has a TTL"));
    while bucket.increment("n", 1).await? > 1_000_000 {
        assert!(SystemTime::now() < expires + SECOND, "the counter lives on");
    }
    assert!(SystemTime::now() >= expires);
    assert_eq!(entry(&bucket, "n").await?.expires, None);
    Ok(())
}

#[tokio::test]
async fn a_bucket_with_a_history_refuses_a_ttl_and_says_why() -> Result<()> {
    let (_server, connector) = connected().await?;
    let bucket = connector.create_bucket("b", with_history(2)).await?;
    bucket.set_raw("k", "x", None).await?;
    for refused in [
        bucket.set_raw("k", "y", Some(HOUR)).await.map(drop),
        bucket.add_raw("new", "y", Some(HOUR)).await.map(drop),
        bucket.expire("k", Some(HOUR)).await.map(drop),
    ] {
        assert!(
            matches!(&refused, Err(Error::Invalid(words)) if words.contains("history")),
            "{refused:?}"
        );
    }
    assert_eq!(bucket.get_raw("k").await?.as_deref(), Some(&b"x"[..]));
    assert_eq!(bucket.get_raw("new").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_bucket_made_without_ttls_refuses_one_until_it_is_created_anew() -> Result<()> {
    let (_server, connector) = connected().await?;
    jetstream(&connector)
        .create_key_value(kv::Config {
            bucket: "b".to_owned(),
            ..kv::Config::default()
        })
        .await?;
    let bucket = connector.bucket(Some("b")).await?;
    let refused = bucket.set_raw("k", "x", Some(HOUR)).await;
    assert!(
        matches!(&refused, Err(Error::Unsupported(words)) if words.contains("--allow-msg-ttl")),
        "{refused:?}"
    );

    connector
        .create_bucket("b", BucketSettings::default())
        .await?;
    bucket.set_raw("k", "x", Some(HOUR)).await?;
    assert_eq!(lives_for(&entry(&bucket, "k").await?), Some(HOUR));
    Ok(())
}

#[tokio::test]
async fn a_value_expires_by_the_bucket_or_by_itself_whichever_is_first() -> Result<()> {
    let (_server, connector) = connected().await?;
    let settings = BucketSettings {
        ttl: Some(HOUR),
        ..BucketSettings::default()
    };
    let bucket = connector.create_bucket("b", settings.clone()).await?;
    bucket.set_raw("k", "x", None).await?;
    assert_eq!(lives_for(&entry(&bucket, "k").await?), Some(HOUR));
    bucket.set_raw("k", "x", Some(2 * HOUR)).await?;
    assert_eq!(lives_for(&entry(&bucket, "k").await?), Some(HOUR));
    bucket.set_raw("k", "x", Some(HOUR / 2)).await?;
    assert_eq!(lives_for(&entry(&bucket, "k").await?), Some(HOUR / 2));

    let bucket = connector
        .create_bucket(
            "b",
            BucketSettings {
                ttl: Some(SECOND),
                ..settings
            },
        )
        .await?;
    bucket.set_raw("k", "x", Some(HOUR)).await?;
    expired(&bucket, "k").await
}
