//! A bucket that three servers keep.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::{join_all, try_join_all};
use wharf::config::{BucketSettings, ConnectionSettings};
use wharf::{Bucket, Connector, Error};
use wharf_tests::TestServer;

/// A test server of a cluster has no JetStream by itself.
const STORE: &str = "jetstream { store_dir: \"DIR/jetstream\" }";

async fn three_servers() -> Result<Vec<TestServer>> {
    let ports: Vec<u16> = {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        listeners
            .into_iter()
            .map(|listener| Ok(listener?.local_addr()?.port()))
            .collect::<Result<_>>()?
    };
    let servers = ports.iter().enumerate().map(|(at, port)| {
        let routes: Vec<_> = ports
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let routes = routes.join(", ");
        let cluster = format!("name: c, listen: \"127.0.0.1:{port}\", routes: [{routes}]");
        async move {
            TestServer::start(&format!(
                "server_name: s{at}\n{STORE}\ncluster {{ {cluster} }}"
            ))
            .await
        }
    });
    try_join_all(servers).await
}

/// Creates the bucket as soon as the servers have found each other.
async fn bucket_of_three(connector: &Connector) -> Result<Bucket> {
    let settings = BucketSettings {
        replicas: 3,
        ..BucketSettings::default()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match connector.create_bucket("b", settings.clone()).await {
            Ok(bucket) => return Ok(bucket),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_read_what_they_wrote_and_lose_nothing_when_a_server_dies() -> Result<()> {
    let mut servers = three_servers().await?;
    let (mut connectors, mut buckets) = (Vec::new(), Vec::new());
    for server in &servers {
        let servers = vec![server.url()];
        let connector = Connector::connect(ConnectionSettings {
            servers: servers.into(),
            ..ConnectionSettings::default()
        })
        .await?;
        buckets.push(bucket_of_three(&connector).await?);
        connectors.push(connector);
    }

    for n in 0..100 {
        let (key, value) = (format!("key-{n}"), n.to_string());
        buckets[n % 3].set_raw(&key, value.clone(), None).await?;
        assert_eq!(
            buckets[(n + 1) % 3].get_raw(&key).await?.as_deref(),
            Some(value.as_bytes())
        );
        assert_eq!(buckets[(n + 2) % 3].count().await?, n as u64 + 1);
    }
    let sums = try_join_all((0..50).map(|n| buckets[n % 3].increment("n", 1))).await?;
    assert_eq!(sums.into_iter().max(), Some(50));
    let results = join_all((0..30).map(|n| buckets[n % 3].add_raw("new", "x", None))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .flat_map(|result| result.as_ref().err())
            .all(|error| *error == Error::Conflict),
        "{results:?}"
    );

    let leader = leader(&connectors[0]).await?;
    servers[leader].kill().await?;
    // The two that are left choose a leader, which takes longer than one operation may.
    let bucket = &buckets[(leader + 1) % 3];
    let (sum, tries) = in_time(|| bucket.increment("n", 1)).await?;
    assert!(
        (51..=50 + tries).contains(&sum),
        "{sum} after {tries} tries"
    );
    assert_eq!(in_time(|| bucket.count()).await?.0, 102);
    Ok(())
}

/// Tries until it works, and counts the tries.
async fn in_time<T, F: Future<Output = Result<T, Error>>>(
    operation: impl Fn() -> F,
) -> Result<(T, i64)> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut tries = 1;
    loop {
        match operation().await {
            Ok(result) => return Ok((result, tries)),
            Err(Error::Timeout | Error::Unavailable(_)) if Instant::now() < deadline => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Which of the servers leads the bucket.
async fn leader(connector: &Connector) -> Result<usize> {
    let stream = connector.jetstream().get_stream("KV_b").await?;
    let leader = stream
        .cached_info()
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.leader.as_deref());
    Ok(leader
        .context("no leader")?
        .trim_start_matches('s')
        .parse()?)
}
