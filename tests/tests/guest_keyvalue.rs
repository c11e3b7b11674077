//! `wharf:nats/keyvalue`, called from a real guest: every function, its success and its errors.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wharf::config::{BucketAccess, BucketSettings};
use wharf_tests::probe::Probe;

/// May write to `b` and to the default bucket, and read `r`.
async fn probe() -> Result<Probe> {
    Probe::start(|config, settings, _| {
        config.nats.default_bucket = "standard".to_owned();
        config.buckets.insert(
            "fixed".to_owned(),
            BucketSettings {
                history: 3,
                ..BucketSettings::default()
            },
        );
        for bucket in ["b", "standard", "fixed"] {
            settings
                .buckets
                .insert(bucket.to_owned(), BucketAccess::ReadWrite);
        }
        settings.buckets.insert("r".to_owned(), BucketAccess::Read);
    })
    .await
}

fn set(key: &str, value: &str) -> Value {
    json!({ "do": "set", "bucket": "b", "key": key, "value": value })
}

fn get(key: &str) -> Value {
    json!({ "do": "get", "bucket": "b", "key": key })
}

#[tokio::test]
async fn values_are_set_read_replaced_and_deleted_under_any_key() -> Result<()> {
    let probe = probe().await?;
    for key in [
        "user:1", "a.b", "sp ace", "é", "*", ">", "..", "a=b", "$KV", "x/y",
    ] {
        assert_eq!(probe.ok(get(key)).await?, Value::Null, "{key}");
        let first = probe.ok(set(key, "one")).await?;
        assert_eq!(probe.ok(get(key)).await?, "one");
        let replace = json!({ "do": "replace", "bucket": "b", "key": key, "value": "two" });
        let second = probe.ok(replace).await?;
        assert!(second.as_u64() > first.as_u64(), "{first} {second}");
        let entry = probe
            .ok(json!({ "do": "get_entry", "bucket": "b", "key": key }))
            .await?;
        assert_eq!(
            (&entry["value"], &entry["revision"]),
            (&json!("two"), &second)
        );
        assert!(entry["created"].as_u64().context("a time")? > 1_700_000_000_000_000_000);
        assert_eq!(entry["expires"], Value::Null);
        probe
            .ok(json!({ "do": "delete", "bucket": "b", "key": key }))
            .await?;
        probe
            .ok(json!({ "do": "delete", "bucket": "b", "key": key }))
            .await?;
        assert_eq!(probe.ok(get(key)).await?, Value::Null);
    }
    let replace = json!({ "do": "replace", "bucket": "b", "key": "none", "value": "x" });
    assert_eq!(probe.ok(replace).await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_writer_that_comes_second_is_told_so() -> Result<()> {
    let probe = probe().await?;
    let add = json!({ "do": "add", "bucket": "b", "key": "k", "value": "first" });
    let revision = probe.ok(add.clone()).await?;
    assert_eq!(probe.err(add).await?.0, "conflict");
    let update = |revision: &Value| json!({ "do": "update", "bucket": "b", "key": "k", "value": "v", "revision": revision });
    probe.ok(update(&revision)).await?;
    assert_eq!(probe.err(update(&revision)).await?.0, "conflict");
    Ok(())
}

#[tokio::test]
async fn keys_counts_numbers_and_flush_do_what_they_say() -> Result<()> {
    let probe = probe().await?;
    for key in ["a:1", "a:2", "b:1"] {
        probe.ok(set(key, "v")).await?;
    }
    let keys = |prefix: Value| json!({ "do": "keys", "bucket": "b", "prefix": prefix });
    assert_eq!(
        probe.ok(keys(Value::Null)).await?,
        json!(["a:1", "a:2", "b:1"])
    );
    assert_eq!(probe.ok(keys(json!("a:"))).await?, json!(["a:1", "a:2"]));
    let count = json!({ "do": "count", "bucket": "b" });
    assert_eq!(probe.ok(count.clone()).await?, 3);
    let increment =
        |key: &str, by: i64| json!({ "do": "increment", "bucket": "b", "key": key, "by": by });
    assert_eq!(probe.ok(increment("n", 5)).await?, 5);
    assert_eq!(probe.ok(increment("n", -7)).await?, -2);
    assert_eq!(probe.err(increment("a:1", 1)).await?.0, "invalid");
    assert_eq!(probe.ok(increment("big", i64::MAX)).await?, i64::MAX);
    assert_eq!(probe.err(increment("big", 1)).await?.0, "invalid");
    probe.ok(json!({ "do": "flush", "bucket": "b" })).await?;
    assert_eq!(probe.ok(count).await?, 0);
    assert_eq!(probe.ok(get("a:1")).await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_value_expires_where_that_was_asked_for() -> Result<()> {
    let probe = probe().await?;
    let with_ttl =
        json!({ "do": "set", "bucket": "b", "key": "k", "value": "v", "ttl_ms": 60_000 });
    probe.ok(with_ttl).await?;
    let entry = json!({ "do": "get_entry", "bucket": "b", "key": "k" });
    let expiring = probe.ok(entry.clone()).await?;
    let left = expiring["expires"].as_u64().context("expires")?
        - expiring["created"].as_u64().context("created")?;
    assert_eq!(left, 60_000_000_000);
    let expire = |ttl: Value| json!({ "do": "expire", "bucket": "b", "key": "k", "ttl_ms": ttl });
    assert_eq!(probe.ok(expire(Value::Null)).await?, true);
    assert_eq!(probe.ok(entry).await?["expires"], Value::Null);
    assert_eq!(probe.ok(expire(json!(1000))).await?, true);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while probe.ok(get("k")).await? != Value::Null {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "it has not expired");
    }
    assert_eq!(probe.ok(expire(json!(1000))).await?, false);
    Ok(())
}

#[tokio::test]
async fn a_bucket_keeps_history_as_it_was_created_to() -> Result<()> {
    let probe = probe().await?;
    probe
        .ok(json!({ "do": "create", "bucket": "b", "history": 2, "max_value_size": 100 }))
        .await?;
    for value in ["1", "2", "3"] {
        probe.ok(set("k", value)).await?;
    }
    let history = probe
        .ok(json!({ "do": "history", "bucket": "b", "key": "k" }))
        .await?;
    let values: Vec<_> = history
        .as_array()
        .context("a list")?
        .iter()
        .map(|entry| &entry["value"])
        .collect();
    assert_eq!(values, ["2", "3"]);
    assert_eq!(probe.err(set("k", &"x".repeat(1000))).await?.0, "too-large");
    let create = json!({ "do": "create", "bucket": "b", "history": 65 });
    assert_eq!(probe.err(create).await?.0, "invalid");
    Ok(())
}

#[tokio::test]
async fn buckets_that_are_not_granted_are_denied() -> Result<()> {
    let probe = probe().await?;
    let open = |bucket: Value| json!({ "do": "open", "bucket": bucket });
    assert_eq!(probe.ok(open(Value::Null)).await?, "standard");
    let (kind, text) = probe.err(open(json!("other"))).await?;
    assert_eq!(kind, "denied");
    assert!(
        text.contains("`buckets`") && text.contains("\"other\""),
        "{text}"
    );
    assert_eq!(
        probe.err(open(json!("r"))).await?.0,
        "not-found",
        "a reader does not create a bucket"
    );
    let create = |bucket: &str| json!({ "do": "create", "bucket": bucket, "history": 1 });
    assert_eq!(probe.err(create("other")).await?.0, "denied");
    assert_eq!(probe.err(create("r")).await?.0, "denied");
    let (kind, text) = probe.err(create("fixed")).await?;
    assert_eq!(
        kind, "denied",
        "the host's configuration has its settings: {text}"
    );
    assert_eq!(probe.ok(open(json!("fixed"))).await?, "fixed");
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_granted_for_reading_can_only_be_read() -> Result<()> {
    let probe = probe().await?;
    let theirs = async_nats::jetstream::new(probe.client.clone());
    let config = async_nats::jetstream::kv::Config {
        bucket: "r".into(),
        ..Default::default()
    };
    theirs
        .create_key_value(config)
        .await?
        .put("k", "v".into())
        .await?;
    assert_eq!(
        probe
            .ok(json!({ "do": "get", "bucket": "r", "key": "k" }))
            .await?,
        "v"
    );
    assert_eq!(
        probe.ok(json!({ "do": "keys", "bucket": "r" })).await?,
        json!(["k"])
    );
    for step in [
        json!({ "do": "set", "bucket": "r", "key": "k", "value": "x" }),
        json!({ "do": "add", "bucket": "r", "key": "n", "value": "x" }),
        json!({ "do": "replace", "bucket": "r", "key": "k", "value": "x" }),
        json!({ "do": "update", "bucket": "r", "key": "k", "value": "x", "revision": 1 }),
        json!({ "do": "expire", "bucket": "r", "key": "k", "ttl_ms": 1000 }),
        json!({ "do": "increment", "bucket": "r", "key": "k", "by": 1 }),
        json!({ "do": "delete", "bucket": "r", "key": "k" }),
        json!({ "do": "flush", "bucket": "r" }),
    ] {
        let (kind, text) = probe.err(step.clone()).await?;
        assert_eq!(kind, "denied", "{step}");
        assert!(text.contains("read-write"), "{text}");
    }
    assert_eq!(
        probe
            .ok(json!({ "do": "get", "bucket": "r", "key": "k" }))
            .await?,
        "v"
    );
    Ok(())
}

#[tokio::test]
async fn keys_and_options_that_are_not_allowed_are_invalid() -> Result<()> {
    let probe = probe().await?;
    assert_eq!(probe.err(set("", "v")).await?.0, "invalid");
    assert_eq!(probe.err(get("")).await?.0, "invalid");
    let create = json!({ "do": "create", "bucket": "b", "history": 0 });
    assert_eq!(probe.err(create).await?.0, "invalid");
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_was_deleted_under_an_open_handle_is_made_again() -> Result<()> {
    let probe = Probe::start(|_, settings, _| {
        settings
            .buckets
            .insert("b".to_owned(), BucketAccess::ReadWrite);
    })
    .await?;
    // The stream goes away under an open handle, and comes back.
    probe.ok(set("k", "v")).await?;
    async_nats::jetstream::new(probe.client.clone())
        .delete_stream("KV_b")
        .await?;
    assert_eq!(probe.ok(get("k")).await?, Value::Null);
    probe.ok(set("k", "again")).await?;
    assert_eq!(probe.ok(get("k")).await?, "again");
    Ok(())
}
