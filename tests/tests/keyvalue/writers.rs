//! Several writers at once.

use anyhow::Result;
use futures_util::future::{join_all, try_join_all};
use tokio::task::JoinSet;
use wharf::Error;

use super::{bucket, connect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_increments_at_once_over_two_connections_are_all_counted() -> Result<()> {
    let (server, _connector, one) = bucket().await?;
    let other = connect(&server).await?.bucket(Some("b")).await?;
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let bucket = if n % 2 == 0 {
            one.clone()
        } else {
            other.clone()
        };
        tasks.spawn(async move { bucket.increment("n", 3).await });
    }
    let mut sums = tasks
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    sums.sort_unstable();
    assert_eq!(
        sums,
        (1..=50).map(|count| count * 3).collect::<Vec<i64>>(),
        "every sum is seen once"
    );
    assert_eq!(one.get_raw("n").await?.as_deref(), Some(&b"150"[..]));
    Ok(())
}

#[tokio::test]
async fn of_many_adds_at_once_one_succeeds() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket.set_raw("k", "x", None).await?;
    bucket.delete("k").await?;
    let results = join_all((0..20).map(|n| bucket.add_raw("k", n.to_string(), None))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .flat_map(|result| result.as_ref().err())
            .all(|error| *error == Error::Conflict)
    );
    Ok(())
}

#[tokio::test]
async fn of_many_updates_at_once_one_succeeds() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    let revision = bucket.set_raw("k", "x", None).await?;
    let results = join_all((0..20).map(|n| bucket.update_raw("k", n.to_string(), revision))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .flat_map(|result| result.as_ref().err())
            .all(|error| *error == Error::Conflict)
    );
    Ok(())
}

#[tokio::test]
async fn replaces_at_once_all_succeed_one_after_the_other() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    bucket.set_raw("k", "x", None).await?;
    let revisions = try_join_all((0..20).map(|n| bucket.replace_raw("k", n.to_string()))).await?;
    let last = bucket.get_entry("k").await?.map(|entry| entry.revision);
    assert!(revisions.iter().all(Option::is_some));
    assert_eq!(revisions.into_iter().max(), Some(last));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replace_never_brings_back_a_value_that_was_deleted_meanwhile() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    for _ in 0..50 {
        bucket.set_raw("k", "x", None).await?;
        let mut replaces = JoinSet::new();
        for _ in 0..4 {
            let bucket = bucket.clone();
            replaces.spawn(async move { bucket.replace_raw("k", "y").await });
        }
        bucket.delete("k").await?;
        for replaced in replaces.join_all().await {
            replaced?;
        }
        assert_eq!(bucket.get_raw("k").await?, None);
    }
    Ok(())
}

#[tokio::test]
async fn expire_keeps_the_value_of_a_concurrent_writer() -> Result<()> {
    let (_server, _connector, bucket) = bucket().await?;
    let hour = std::time::Duration::from_secs(3600);
    bucket.set_raw("n", "0", None).await?;
    let increments = try_join_all((0..10).map(|_| bucket.increment("n", 1)));
    let expires = try_join_all((0..10).map(|_| bucket.expire("n", Some(hour))));
    let (sums, existed) = tokio::try_join!(increments, expires)?;
    assert!(existed.into_iter().all(|existed| existed));
    assert_eq!(sums.into_iter().max(), Some(10));
    let entry = bucket.get_entry("n").await?.expect("has a value");
    assert_eq!(&entry.value[..], b"10");
    assert!(entry.expires.is_some());
    Ok(())
}
