//! Keys and how many there are.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use wharf::{Bucket, Error};
use wharf_tests::raw::{LONE_CR, Raw};
use wharf_tests::soon;

use super::{bucket, jetstream, with_history};

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
    bucket.set_raw("one-more", "x", None).await?;
    let refused = bucket.keys(None).await;
    ensure!(
        matches!(&refused, Err(Error::Invalid(words)) if words.contains("use a prefix")),
        "{refused:?}"
    );
    let refused = bucket.keys(Some("")).await;
    ensure!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(bucket.keys(Some("one-m")).await?, ["one-more"]);
    assert_eq!(bucket.count().await?, 100_001);
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

#[tokio::test]
async fn what_is_not_the_last_revision_or_no_key_does_not_count() -> Result<()> {
    let (server, connector, _) = bucket().await?;
    let bucket = connector.create_bucket("b", with_history(3)).await?;
    let mut raw = Raw::connect(&server).await?;
    const KEYS: usize = 5_000;
    for _ in 0..2 {
        fill(&mut raw, &bucket, KEYS).await?;
    }
    for number in 1..100 {
        bucket.delete(&format!("key-{number}")).await?;
        bucket.set_raw("key-0", "again", None).await?;
    }
    raw.publish("$KV.b.no=key", "", b"NATS/1.0\r\n\r\n", b"x")
        .await?;
    raw.flush().await?;
    // The server may be a little behind with what it was not asked to acknowledge.
    bucket.set_raw("key-0", "last", None).await?;
    assert_eq!(bucket.count().await?, KEYS as u64 - 99);
    assert_eq!(bucket.keys(None).await?.len(), KEYS - 99);
    let mut of_ten = bucket.keys(Some("key-10")).await?;
    of_ten.retain(|key| key.len() == "key-10x".len());
    assert_eq!(of_ten.len(), 10);

    // A stream that listens on more than the bucket's own subjects.
    let jetstream = jetstream(&connector);
    let mut config = jetstream
        .get_stream("KV_b")
        .await?
        .cached_info()
        .config
        .clone();
    config.subjects.push("other.>".into());
    jetstream.update_stream(config).await?;
    jetstream.publish("other.a", "x".into()).await?.await?;
    assert_eq!(bucket.count().await?, KEYS as u64 - 99);
    assert_eq!(bucket.keys(None).await?.len(), KEYS - 99);
    Ok(())
}

/// Stores a value under each of so many keys. The server drops what it cannot store soon enough, from 10,000 on.
async fn fill(raw: &mut Raw, bucket: &Bucket, keys: usize) -> Result<()> {
    for begin in (0..keys).step_by(5_000) {
        let mut writes = Vec::new();
        for number in begin..keys.min(begin + 5_000) {
            writes.extend_from_slice(format!("PUB $KV.b.key-{number} 1\r\nx\r\n").as_bytes());
        }
        raw.send(&writes).await?;
        raw.flush().await?;
        // All that was published before was taken once this is answered.
        soon("all is stored", bucket.set_raw("key-0", "x", None)).await??;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "by hand: it takes a minute, and the time of others"]
async fn a_million_keys_are_counted_within_the_time_of_one_message() -> Result<()> {
    let (server, connector, bucket) = bucket().await?;
    let mut raw = Raw::connect(&server).await?;
    fill(&mut raw, &bucket, 1_000_000).await?;
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(bucket.count().await?, 1_000_000);
        eprintln!("counted in {:?}", begun.elapsed());
        ensure!(begun.elapsed() < Duration::from_secs(5));
    }
    let begun = Instant::now();
    let refused = bucket.keys(None).await;
    ensure!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    eprintln!("too many to list after {:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(bucket.keys(Some("key-9999")).await?.len(), 111);
    eprintln!("listed by a prefix in {:?}", begun.elapsed());
    assert_eq!(connector.counters().disconnects, 0);
    Ok(())
}

#[tokio::test]
#[ignore = "by hand: it takes half a minute, and the time of others"]
async fn the_most_keys_are_listed_within_the_time_of_one_message_in_both_ways() -> Result<()> {
    let (server, connector, bucket) = bucket().await?;
    let mut raw = Raw::connect(&server).await?;
    fill(&mut raw, &bucket, 99_999).await?;
    for losses in [0, 1] {
        for _ in 0..2 {
            let begun = Instant::now();
            assert_eq!(bucket.keys(None).await?.len(), 99_999 + losses);
            eprintln!("listed in {:?}", begun.elapsed());
        }
        raw.publish("$KV.b.unreadable", "", LONE_CR, b"x").await?;
        raw.flush().await?;
        bucket.set_raw("key-0", "x", None).await?;
        eprintln!("now one message cannot be read");
    }
    ensure!(connector.counters().disconnects <= 1);
    Ok(())
}
