//! Key/value against a real server, one server for each test.

mod buckets;
mod cluster;
mod errors;
mod interop;
mod listing;
mod malformed;
mod ttl;
mod values;
mod writers;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use async_nats::jetstream;
use wharf::config::{BucketSettings, ConnectionSettings};
use wharf::{Bucket, Connector};
use wharf_tests::TestServer;

/// A server, a connection to it, and a bucket with the default settings.
async fn bucket() -> Result<(TestServer, Connector, Bucket)> {
    let (server, connector) = connected().await?;
    let bucket = connector.bucket(Some("b")).await?;
    Ok((server, connector, bucket))
}

async fn connected() -> Result<(TestServer, Connector)> {
    let server = TestServer::start("").await?;
    let connector = connect(&server).await?;
    Ok((server, connector))
}

async fn connect(server: &TestServer) -> Result<Connector> {
    let servers = vec![server.url()];
    Ok(Connector::connect(ConnectionSettings {
        servers: servers.into(),
        ..ConnectionSettings::default()
    })
    .await?)
}

/// Another client's view of the server.
fn jetstream(connector: &Connector) -> jetstream::Context {
    jetstream::new(connector.client().clone())
}

fn with_history(history: u8) -> BucketSettings {
    BucketSettings {
        history,
        ..BucketSettings::default()
    }
}

/// Reads a key until the server has removed its value.
async fn expired(bucket: &Bucket, key: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while bucket.get_raw(key).await?.is_some() {
        if Instant::now() > deadline {
            bail!("`{key}` still has a value");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
