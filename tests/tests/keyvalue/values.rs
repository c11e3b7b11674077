//! One caller, every function.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use wharf::Error;
use wharf::config::Serializer;

use super::{bucket, connected, jetstream, with_history};

fn now_nanos() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos(),
    )?)
}

#[tokio::test]
async fn a_value_comes_back_with_its_revision_and_its_time() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    assert_eq!(bucket.name(), "b");
    assert_eq!(bucket.get_raw("k").await?, None);
    assert_eq!(bucket.get_entry("k").await?, None);

    let before = now_nanos()?;
    let first = bucket.set_raw("k", "one", None).await?;
    let second = bucket.set_raw("k", "two", None).await?;
    assert!(second > first);

    assert_eq!(bucket.get_raw("k").await?.as_deref(), Some(&b"two"[..]));
    let entry = bucket.get_entry("k").await?.expect("was set");
    assert_eq!(
        (&entry.value[..], entry.revision, entry.expires),
        (&b"two"[..], second, None)
    );
    assert!(
        (before..=now_nanos()?).contains(&entry.created),
        "{entry:?}"
    );
    Ok(())
}

#[tokio::test]
async fn any_text_is_a_key_and_any_bytes_are_a_value() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    let keys = [
        "user:1", "a b", ".", "..", "a.", ".a", "a..b", "*", ">", "a.>", "=", "a=3D", "ключ", "🗝",
        "\n", "/",
    ];
    for (at, key) in (0_u8..).zip(keys) {
        bucket
            .set_raw(key, vec![at, 0, 255, b'\r', b'\n'], None)
            .await?;
    }
    for (at, key) in (0_u8..).zip(keys) {
        assert_eq!(
            bucket.get_raw(key).await?.as_deref(),
            Some(&[at, 0, 255, b'\r', b'\n'][..]),
            "{key:?}"
        );
    }
    let mut listed = bucket.keys(None).await?;
    listed.sort_unstable();
    let mut expected = keys.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(bucket.count().await?, keys.len() as u64);
    Ok(())
}

#[tokio::test]
async fn an_empty_value_is_a_value() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket.set_raw("k", "", None).await?;
    assert_eq!(bucket.get_raw("k").await?.as_deref(), Some(&b""[..]));
    assert_eq!(bucket.add_raw("k", "x", None).await, Err(Error::Conflict));
    Ok(())
}

#[tokio::test]
async fn add_takes_a_key_only_while_it_has_no_value() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    let revision = bucket.add_raw("k", "one", None).await?;
    assert_eq!(bucket.add_raw("k", "two", None).await, Err(Error::Conflict));
    assert_eq!(
        bucket.get_entry("k").await?.map(|entry| entry.revision),
        Some(revision)
    );

    bucket.delete("k").await?;
    bucket.add_raw("k", "three", None).await?;
    assert_eq!(bucket.get_raw("k").await?.as_deref(), Some(&b"three"[..]));

    bucket.flush().await?;
    bucket.add_raw("k", "four", None).await?;
    Ok(())
}

#[tokio::test]
async fn replace_sets_only_a_key_that_has_a_value() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    assert_eq!(bucket.replace_raw("k", "one").await?, None);
    assert_eq!(bucket.get_raw("k").await?, None);

    let set = bucket.set_raw("k", "one", None).await?;
    let replaced = bucket.replace_raw("k", "two").await?.expect("has a value");
    assert!(replaced > set);
    assert_eq!(bucket.get_raw("k").await?.as_deref(), Some(&b"two"[..]));

    bucket.delete("k").await?;
    assert_eq!(bucket.replace_raw("k", "three").await?, None);
    assert_eq!(bucket.get_raw("k").await?, None);
    Ok(())
}

#[tokio::test]
async fn update_sets_only_a_key_at_that_revision() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    assert_eq!(bucket.update_raw("k", "x", 0).await, Err(Error::Conflict));
    assert_eq!(bucket.update_raw("k", "x", 7).await, Err(Error::Conflict));

    let first = bucket.set_raw("k", "one", None).await?;
    let second = bucket.update_raw("k", "two", first).await?;
    assert_eq!(
        bucket.update_raw("k", "x", first).await,
        Err(Error::Conflict)
    );
    assert_eq!(
        bucket.get_entry("k").await?.map(|entry| entry.revision),
        Some(second)
    );

    bucket.delete("k").await?;
    assert_eq!(
        bucket.update_raw("k", "x", second).await,
        Err(Error::Conflict)
    );
    assert_eq!(bucket.get_raw("k").await?, None);
    Ok(())
}

#[tokio::test]
async fn increment_counts_up_and_down_from_nothing() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    assert_eq!(bucket.increment("n", 5).await?, 5);
    assert_eq!(bucket.increment("n", -8).await?, -3);
    assert_eq!(bucket.get_raw("n").await?.as_deref(), Some(&b"-3"[..]));
    assert_eq!(bucket.increment("n", 0).await?, -3);

    bucket.delete("n").await?;
    assert_eq!(bucket.increment("n", 1).await?, 1);
    Ok(())
}

#[tokio::test]
async fn increment_refuses_what_is_no_integer_and_what_overflows() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    for value in ["", "x", "1.5", "9223372036854775808"] {
        let revision = bucket.set_raw("n", value, None).await?;
        let refused = bucket.increment("n", 1).await;
        assert!(
            matches!(&refused, Err(Error::Invalid(words)) if words.contains("`n`")),
            "{value}: {refused:?}"
        );
        assert_eq!(
            bucket.get_entry("n").await?.map(|entry| entry.revision),
            Some(revision)
        );
    }
    bucket.set_raw("n", i64::MAX.to_string(), None).await?;
    assert!(matches!(
        bucket.increment("n", 1).await,
        Err(Error::Invalid(_))
    ));
    assert_eq!(bucket.increment("n", -1).await?, i64::MAX - 1);
    Ok(())
}

#[tokio::test]
async fn delete_removes_a_value_and_leaves_nothing_where_there_was_none() -> Result<()> {
    let (_server, connector, bucket) = bucket().await?;
    bucket.delete("k").await?;
    let mut stream = jetstream(&connector).get_stream("KV_b").await?;
    assert_eq!(stream.info().await?.state.messages, 0);

    bucket.set_raw("k", "one", None).await?;
    bucket.delete("k").await?;
    assert_eq!(bucket.get_raw("k").await?, None);
    assert_eq!(bucket.get_entry("k").await?, None);

    let last = stream.info().await?.state.last_sequence;
    bucket.delete("k").await?;
    assert_eq!(stream.info().await?.state.last_sequence, last);
    Ok(())
}

#[tokio::test]
async fn history_lists_the_revisions_kept_oldest_first() -> Result<()> {
    let (_server, connector) = connected().await?;
    let bucket = connector.create_bucket("b", with_history(3)).await?;
    assert_eq!(bucket.history("k").await?, []);

    let mut revisions = Vec::new();
    for value in ["one", "two", "three", "four"] {
        revisions.push(bucket.set_raw("k", value, None).await?);
        bucket.set_raw("other", value, None).await?;
    }
    let history = bucket.history("k").await?;
    assert_eq!(
        history
            .iter()
            .map(|entry| &entry.value[..])
            .collect::<Vec<_>>(),
        [&b"two"[..], b"three", b"four"]
    );
    assert_eq!(
        history
            .iter()
            .map(|entry| entry.revision)
            .collect::<Vec<_>>(),
        revisions[1..]
    );
    assert!(history.is_sorted_by_key(|entry| entry.created));

    bucket.delete("k").await?;
    let values: Vec<_> = bucket
        .history("k")
        .await?
        .into_iter()
        .map(|entry| entry.value)
        .collect();
    assert_eq!(
        values,
        ["three", "four"],
        "a deletion is a revision, but no value"
    );
    Ok(())
}

#[tokio::test]
async fn flush_deletes_every_value_with_its_history() -> Result<()> {
    let (_server, connector) = connected().await?;
    let bucket = connector.create_bucket("b", with_history(5)).await?;
    for value in ["one", "two"] {
        bucket.set_raw("k", value, None).await?;
        bucket.set_raw("other", value, None).await?;
    }
    bucket.flush().await?;
    assert_eq!(bucket.count().await?, 0);
    assert_eq!(bucket.get_raw("k").await?, None);
    assert_eq!(bucket.history("k").await?, []);
    bucket.set_raw("k", "three", None).await?;
    assert_eq!(bucket.keys(None).await?, ["k"]);
    Ok(())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Quake {
    place: String,
    magnitude: f64,
}

#[tokio::test]
async fn values_of_any_type_are_written_with_the_serializer() -> Result<()> {
    let (_server, connector) = connected().await?;
    let quake = Quake {
        place: "Ridgecrest".to_owned(),
        magnitude: 4.5,
    };
    for connector in [
        connector.clone(),
        connector.with_serializer(Serializer::Msgpack),
    ] {
        let bucket = connector.bucket(None).await?;
        let revision = bucket.set("k", &quake, None).await?;
        assert_eq!(bucket.get::<Quake>("k").await?.as_ref(), Some(&quake));
        assert_eq!(bucket.add("k", &quake, None).await, Err(Error::Conflict));
        bucket.update("k", &quake, revision).await?;
        assert!(bucket.replace("k", &[1, 2, 3]).await?.is_some());
        let refused = bucket.get::<String>("k").await;
        assert!(
            matches!(&refused, Err(Error::Invalid(words)) if words.contains("'k'")),
            "{refused:?}"
        );

        connector.set("default", &quake, None).await?;
        assert_eq!(
            connector.get::<Quake>("default").await?.as_ref(),
            Some(&quake)
        );
        connector.delete("default").await?;
        assert_eq!(connector.get::<Quake>("default").await?, None);
    }
    Ok(())
}
