//! The connection, through the connector for Rust callers, against real servers.

use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use wharf::config::ConnectionSettings;
use wharf::{Connector, Error};
use wharf_tests::TestServer;

/// For this server, and impatient.
fn settings(server: &TestServer) -> ConnectionSettings {
    ConnectionSettings {
        servers: vec![server.url()],
        reconnect_wait: Duration::from_millis(50),
        drain_timeout: Duration::from_secs(10),
        ..ConnectionSettings::default()
    }
}

#[tokio::test]
async fn a_value_goes_out_and_comes_back() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(settings(&server)).await?;
    let mut numbers = connector.subscribe::<f64>("halve", None).await?;
    let answering = tokio::spawn(async move {
        while let Some(number) = numbers.next().await {
            let number = number?;
            number.reply(&(number.value / 2.0)).await?;
        }
        Ok::<_, Error>(())
    });
    assert_eq!(connector.request::<_, f64>("halve", &21).await?, 10.5);
    connector.drain().await?;
    answering.await??;
    Ok(())
}
