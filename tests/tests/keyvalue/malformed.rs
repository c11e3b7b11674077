//! Messages that no client can read, stored in a bucket: they are read, listed and deleted like any other.

use anyhow::{Result, ensure};
use wharf::{Bucket, Connector};
use wharf_tests::raw::{LONE_CR, Raw, SPACE_IN_NAME};
use wharf_tests::{TestServer, soon};

use super::{bucket, jetstream, with_history};

/// Headers that the client cannot read, each with the name of a key.
const UNREADABLE: [(&str, &[u8]); 7] = [
    ("lone-cr", LONE_CR),
    ("space-in-name", SPACE_IN_NAME),
    ("latin-1", b"NATS/1.0\r\nN: J\xfc\r\n\r\n"),
    ("no-colon", b"NATS/1.0\r\nfoo\r\n\r\n"),
    ("no-name", b"NATS/1.0\r\n: x\r\n\r\n"),
    ("no-status", b"NATS/1.0 abc\r\n\r\n"),
    ("other-version", b"NATS/2.0\r\nA: b\r\n\r\n"),
];

/// A mark that there is no value, between lines that the client cannot read.
const UNREADABLE_MARK: &[u8] = b"NATS/1.0\r\nX: a\rb\r\nKV-Operation: DEL\r\nN: J\xfc\r\n\r\n";

/// Stores a message of each kind, and a mark; returns the keys that have a value.
async fn store(server: &TestServer) -> Result<(Raw, Vec<String>)> {
    let mut raw = Raw::connect(server).await?;
    for (key, headers) in UNREADABLE {
        raw.publish(format!("$KV.b.{key}"), "", headers, key.as_bytes())
            .await?;
    }
    for key in ["gone", "gone-too"] {
        raw.publish(format!("$KV.b.{key}"), "", UNREADABLE_MARK, b"")
            .await?;
    }
    // No text, so no key.
    raw.publish(b"$KV.b.\xff", "", b"NATS/1.0\r\n\r\n", b"x")
        .await?;
    raw.flush().await?;
    Ok((raw, UNREADABLE.map(|(key, _)| key.to_owned()).to_vec()))
}

async fn sorted(bucket: &Bucket, prefix: &str) -> Result<Vec<String>> {
    let mut keys = bucket.keys(Some(prefix)).await?;
    keys.sort_unstable();
    Ok(keys)
}

fn losses(connector: &Connector) -> u64 {
    connector.counters().disconnects
}

#[tokio::test]
async fn they_are_read_listed_counted_and_deleted_and_the_connection_stays() -> Result<()> {
    let (server, connector, bucket) = bucket().await?;
    let (_raw, mut keys) = store(&server).await?;
    keys.sort_unstable();
    for key in &keys {
        let value = bucket.get_raw(key).await?;
        assert_eq!(value.as_deref(), Some(key.as_bytes()), "{key}");
        let entry = bucket.get_entry(key).await?.expect("a value");
        assert_eq!(bucket.history(key).await?, [entry], "{key}");
    }
    assert_eq!(bucket.get_raw("gone").await?, None);
    assert_eq!(sorted(&bucket, "").await?, keys);
    assert_eq!(bucket.count().await?, keys.len() as u64);
    assert_eq!(
        sorted(&bucket, "no-").await?,
        ["no-colon", "no-name", "no-status"]
    );
    bucket.add_raw("gone", "back", None).await?;
    bucket.replace_raw("latin-1", "replaced").await?;
    for key in &keys {
        bucket.delete(key).await?;
        assert_eq!(bucket.get_raw(key).await?, None, "{key}");
    }
    assert_eq!(bucket.keys(None).await?, ["gone"]);
    assert_eq!(bucket.count().await?, 1);
    assert_eq!(losses(&connector), 0);
    Ok(())
}

#[tokio::test]
async fn in_a_stream_with_other_subjects_besides_the_buckets_they_are_listed_likewise() -> Result<()>
{
    let (server, connector, bucket) = bucket().await?;
    let jetstream = jetstream(&connector);
    let mut config = jetstream
        .get_stream("KV_b")
        .await?
        .cached_info()
        .config
        .clone();
    config.subjects.push("other.>".into());
    jetstream.update_stream(config).await?;
    let (mut raw, keys) = store(&server).await?;
    raw.publish("other.a", "", LONE_CR, b"").await?;
    raw.flush().await?;
    bucket.set_raw("last", "x", None).await?;
    assert_eq!(bucket.count().await?, keys.len() as u64 + 1);
    assert_eq!(bucket.keys(None).await?.len(), keys.len() + 1);
    assert_eq!(losses(&connector), 0);
    Ok(())
}

#[tokio::test]
async fn all_revisions_of_a_key_are_read_of_which_some_are_such() -> Result<()> {
    let (server, connector, _) = bucket().await?;
    let bucket = connector.create_bucket("b", with_history(8)).await?;
    bucket.set_raw("k", "1", None).await?;
    let mut raw = Raw::connect(&server).await?;
    raw.publish("$KV.b.k", "", LONE_CR, b"2").await?;
    raw.publish("$KV.b.k", "", UNREADABLE_MARK, b"").await?;
    raw.flush().await?;
    bucket.set_raw("k", "4", None).await?;
    let values: Vec<_> = bucket
        .history("k")
        .await?
        .into_iter()
        .map(|e| e.value)
        .collect();
    assert_eq!(values, ["1", "2", "4"]);
    assert_eq!(bucket.keys(None).await?, ["k"]);
    assert_eq!(losses(&connector), 0);
    Ok(())
}

#[tokio::test]
async fn in_a_large_bucket_the_first_listing_interrupts_the_connection_and_no_other_does()
-> Result<()> {
    let (server, connector, bucket) = bucket().await?;
    let (mut raw, unreadable) = store(&server).await?;
    const OTHERS: usize = 5_000;
    let mut all = Vec::new();
    for number in 0..OTHERS {
        all.extend_from_slice(format!("PUB $KV.b.k{number} 1\r\nx\r\n").as_bytes());
    }
    raw.send(&all).await?;
    // All that was published before was taken once this is answered.
    raw.flush().await?;
    bucket.set_raw("last", "x", None).await?;
    let expected = OTHERS + unreadable.len() + 1;
    let count = soon("the keys are counted", bucket.count()).await??;
    assert_eq!(count, expected as u64);
    ensure!(losses(&connector) <= 1, "{} losses", losses(&connector));
    for _ in 0..3 {
        assert_eq!(bucket.count().await?, expected as u64);
        assert_eq!(bucket.keys(None).await?.len(), expected);
        assert_eq!(sorted(&bucket, "lone").await?, ["lone-cr"]);
    }
    ensure!(losses(&connector) <= 1, "{} losses", losses(&connector));
    Ok(())
}
