//! Keys and how many there are.

use anyhow::Result;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use wharf::Bucket;

use super::{bucket, jetstream};

async fn sorted(bucket: &Bucket, prefix: &str) -> Result<Vec<String>> {
    let mut keys = bucket.keys(Some(prefix)).await?;
    keys.sort_unstable();
    Ok(keys)
}

async fn set_all<'a>(bucket: &Bucket, keys: impl Iterator<Item = &'a String>) -> Result<()> {
    let writes = stream::iter(keys)
        .map(|key| bucket.set_raw(key, "x", None))
        .buffer_unordered(4);
    Ok(writes.try_for_each(|_| async { Ok(()) }).await?)
}

#[tokio::test]
async fn keys_are_those_that_have_a_value_and_begin_with_the_prefix() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    assert_eq!(bucket.keys(None).await?, Vec::<String>::new());
    assert_eq!(bucket.count().await?, 0);

    for key in [
        "user:1", "user:12", "user:2", "user.", "user.a", "user.a.b", "user..c", "user", "us", "x",
        "deleted",
    ] {
        bucket.set_raw(key, "x", None).await?;
    }
    bucket.delete("deleted").await?;

    assert_eq!(bucket.count().await?, 10);
    assert_eq!(bucket.keys(None).await?.len(), 10);
    assert_eq!(sorted(&bucket, "user:1").await?, ["user:1", "user:12"]);
    assert_eq!(
        sorted(&bucket, "user.").await?,
        ["user.", "user..c", "user.a", "user.a.b"]
    );
    assert_eq!(sorted(&bucket, "user.a").await?, ["user.a", "user.a.b"]);
    assert_eq!(sorted(&bucket, "user..").await?, ["user..c"]);
    assert_eq!(sorted(&bucket, "").await?.len(), 10);
    assert_eq!(sorted(&bucket, "del").await?, Vec::<String>::new());
    assert_eq!(sorted(&bucket, "nobody:").await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_bucket_larger_than_any_page_is_listed_whole() -> Result<()> {
    let (_server, connector, bucket) = bucket().await?;
    // The server lists 100,000 subjects at once.
    let keys: Vec<String> = (0..101_000)
        .map(|n| format!("part-{}.key-{n}", n % 7))
        .collect();
    for key in &keys {
        connector
            .client()
            .publish(format!("$KV.b.{key}"), "x".into())
            .await?;
    }
    // All that was published before was taken once this is answered.
    bucket.set_raw("last", "x", None).await?;
    try_join_all(
        keys[..1000]
            .iter()
            .chain([&"last".to_owned()])
            .map(|key| bucket.delete(key)),
    )
    .await?;

    let mut listed = bucket.keys(None).await?;
    listed.sort_unstable();
    let mut expected = keys[1000..].to_vec();
    expected.sort_unstable();
    assert!(listed == expected, "{} keys", listed.len());
    assert_eq!(bucket.count().await?, 100_000);
    let of_a_part = keys[1000..]
        .iter()
        .filter(|key| key.starts_with("part-3."))
        .count();
    assert_eq!(bucket.keys(Some("part-3.")).await?.len(), of_a_part);

    let consumers: Vec<_> = jetstream(&connector)
        .get_stream("KV_b")
        .await?
        .consumer_names()
        .try_collect()
        .await?;
    assert_eq!(
        consumers,
        Vec::<String>::new(),
        "a listing leaves nothing behind"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_written_while_it_is_listed_is_listed() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    let keys: Vec<String> = (0..6_000).map(|n| format!("key-{n}")).collect();
    set_all(&bucket, keys.iter()).await?;

    // Always from the end: a listing comes to these last.
    let writing = set_all(&bucket, keys.iter().rev().cycle());
    let listing = async {
        for _ in 0..5 {
            assert_eq!(bucket.count().await?, 6_000);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        written = writing => written,
        listed = listing => listed,
    }
}
