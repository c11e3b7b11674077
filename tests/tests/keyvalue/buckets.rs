//! How buckets come to be, change and go.

use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::stream;
use wharf::config::{BucketSettings, Storage};
use wharf::{Connector, Error, Host};
use wharf_tests::TestServer;

use super::{bucket, connect, connected, jetstream, with_history};

async fn stream_config(connector: &Connector, bucket: &str) -> Result<stream::Config> {
    Ok(jetstream(connector)
        .get_stream(format!("KV_{bucket}"))
        .await?
        .cached_info()
        .config
        .clone())
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_made_only_where_that_is_allowed() -> Result<()> {
    let (_server, connector) = connected().await?;
    let refused = connector.open_bucket("b", false).await.map(drop);
    assert!(
        matches!(&refused, Err(Error::NotFound(words)) if words.contains("`b`")),
        "{refused:?}"
    );
    connector
        .open_bucket("b", true)
        .await?
        .set_raw("k", "x", None)
        .await?;
    assert_eq!(
        connector
            .open_bucket("b", false)
            .await?
            .get_raw("k")
            .await?
            .as_deref(),
        Some(&b"x"[..])
    );
    Ok(())
}

#[tokio::test]
async fn the_default_bucket_is_meant_where_none_is_named() -> Result<()> {
    let (_server, connector) = connected().await?;
    assert_eq!(connector.bucket(None).await?.name(), "default");
    Ok(())
}

#[tokio::test]
async fn a_bucket_is_made_on_first_use_with_the_settings_that_are_configured_for_it() -> Result<()>
{
    let server = TestServer::start("").await?;
    let mut config = wharf_tests::probe::config(&server);
    config.buckets.insert("places".to_owned(), with_history(7));
    let host = Host::builder(config).start().await?;
    host.connector().bucket(Some("places")).await?;
    assert_eq!(
        stream_config(host.connector(), "places")
            .await?
            .max_messages_per_subject,
        7
    );
    host.connector().bucket(Some("others")).await?;
    assert_eq!(
        stream_config(host.connector(), "others")
            .await?
            .max_messages_per_subject,
        1
    );
    host.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_name_that_no_bucket_can_have_is_invalid() -> Result<()> {
    let (_server, connector) = connected().await?;
    for name in ["", "a.b", "a b", "*", "ключ"] {
        assert!(
            matches!(
                connector.open_bucket(name, true).await,
                Err(Error::Invalid(_))
            ),
            "{name}"
        );
        let created = connector
            .create_bucket(name, BucketSettings::default())
            .await;
        assert!(matches!(created, Err(Error::Invalid(_))), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bucket_is_created_with_its_settings_and_updated_to_others() -> Result<()> {
    let (_server, connector) = connected().await?;
    let settings = BucketSettings {
        description: "what it is for".to_owned(),
        history: 5,
        ttl: Some(Duration::from_secs(60)),
        storage: Storage::Memory,
        max_bytes: Some(1 << 20),
        max_value_size: Some(100),
        ..BucketSettings::default()
    };
    connector.create_bucket("b", settings.clone()).await?;
    let config = stream_config(&connector, "b").await?;
    assert_eq!(config.description.as_deref(), Some("what it is for"));
    assert_eq!(
        (config.max_messages_per_subject, config.max_age),
        (5, Duration::from_secs(60))
    );
    assert_eq!(
        (config.storage, config.max_bytes),
        (stream::StorageType::Memory, 1 << 20)
    );
    assert_eq!(config.subjects, ["$KV.b.>"]);
    assert!(
        config.allow_rollup
            && config.deny_delete
            && config.allow_direct
            && !config.allow_message_ttl
    );

    let bucket = connector
        .create_bucket(
            "b",
            BucketSettings {
                ttl: None,
                history: 1,
                ..settings.clone()
            },
        )
        .await?;
    let config = stream_config(&connector, "b").await?;
    assert_eq!(
        (config.max_messages_per_subject, config.max_age),
        (1, Duration::ZERO)
    );
    assert!(config.allow_message_ttl);
    bucket.set_raw("k", "x", None).await?;

    connector
        .create_bucket(
            "b",
            BucketSettings {
                ttl: None,
                history: 1,
                ..settings
            },
        )
        .await?;
    assert_eq!(
        bucket.get_raw("k").await?.as_deref(),
        Some(&b"x"[..]),
        "the same settings again change nothing"
    );
    Ok(())
}

#[tokio::test]
async fn settings_that_the_server_refuses_come_back_with_its_words() -> Result<()> {
    let (_server, connector, _bucket) = bucket().await?;
    let settings = BucketSettings {
        storage: Storage::Memory,
        ..BucketSettings::default()
    };
    let refused = connector.create_bucket("b", settings).await.map(drop);
    assert!(
        matches!(&refused, Err(Error::Failed(words)) if words.contains("storage")),
        "{refused:?}"
    );

    let settings = BucketSettings {
        replicas: 3,
        ..BucketSettings::default()
    };
    let refused = connector.create_bucket("other", settings).await.map(drop);
    assert!(
        matches!(&refused, Err(Error::Unsupported(words)) if words.contains("cluster")),
        "{refused:?}"
    );
    let missing = connector.open_bucket("other", false).await;
    assert!(
        matches!(missing, Err(Error::NotFound(_))),
        "what could not be created is not there"
    );

    let refused = connector
        .create_bucket("other", with_history(65))
        .await
        .map(drop);
    assert!(
        matches!(&refused, Err(Error::Invalid(words)) if words.contains("history")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_stream_that_only_has_a_buckets_name_is_refused() -> Result<()> {
    let (_server, connector) = connected().await?;
    let config = stream::Config {
        name: "KV_b".to_owned(),
        subjects: vec!["b.>".to_owned()],
        ..Default::default()
    };
    jetstream(&connector).create_stream(config).await?;
    assert!(matches!(
        connector.bucket(Some("b")).await,
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        connector
            .create_bucket("b", BucketSettings::default())
            .await,
        Err(Error::Invalid(_))
    ));
    Ok(())
}

#[tokio::test]
async fn hosts_that_make_one_bucket_at_once_all_succeed() -> Result<()> {
    let (server, one) = connected().await?;
    let other = connect(&server).await?;
    for round in 0..20 {
        let name = format!("bucket-{round}");
        // The first makes it with other settings than the second, who takes what there is.
        let (created, opened) = tokio::join!(
            one.create_bucket(&name, with_history(3)),
            other.open_bucket(&name, true)
        );
        created?.set_raw("k", "x", None).await?;
        assert_eq!(opened?.get_raw("k").await?.as_deref(), Some(&b"x"[..]));
        assert_eq!(
            stream_config(&one, &name).await?.max_messages_per_subject,
            3
        );
    }
    let (one, other) = tokio::join!(one.bucket(Some("same")), other.bucket(Some("same")));
    one?.set_raw("k", "x", None).await?;
    assert_eq!(other?.count().await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_was_deleted_is_made_again_only_where_that_is_allowed() -> Result<()> {
    let (_server, connector) = connected().await?;
    let creator = connector.create_bucket("b", with_history(4)).await?;
    let reader = connector.open_bucket("b", false).await?;
    creator.set_raw("k", "x", None).await?;

    jetstream(&connector).delete_stream("KV_b").await?;
    assert!(matches!(reader.get_raw("k").await, Err(Error::NotFound(_))));
    assert!(matches!(
        reader.set_raw("k", "x", None).await,
        Err(Error::NotFound(_))
    ));
    assert!(matches!(reader.keys(None).await, Err(Error::NotFound(_))));
    assert!(matches!(reader.history("k").await, Err(Error::NotFound(_))));
    assert!(matches!(reader.flush().await, Err(Error::NotFound(_))));

    creator.set_raw("k", "y", None).await?;
    assert_eq!(
        stream_config(&connector, "b")
            .await?
            .max_messages_per_subject,
        4,
        "with the settings it had"
    );
    assert_eq!(reader.get_raw("k").await?.as_deref(), Some(&b"y"[..]));

    jetstream(&connector).delete_stream("KV_b").await?;
    assert_eq!(creator.get_raw("k").await?, None);
    jetstream(&connector).delete_stream("KV_b").await?;
    assert_eq!(creator.count().await?, 0);
    Ok(())
}
