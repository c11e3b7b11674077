//! Servers that go away and come back, or do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use tokio::net::TcpListener;
use wharf::config::ConnectionSettings;
use wharf::{ConnectError, ConnectionState, Connector, Error};
use wharf_tests::{TestServer, round_trip, soon, until};

async fn connected(connector: &Connector, times: u64) -> Result<()> {
    let mut state = connector.state();
    let is_so = |state: &ConnectionState| {
        *state == ConnectionState::Connected && connector.counters().connects == times
    };
    soon("it is connected", state.wait_for(is_so)).await??;
    Ok(())
}

/// Why the connection is lost for good.
async fn lost(connector: &Connector) -> Result<String> {
    let mut state = connector.state();
    let lost = soon(
        "it is lost",
        state.wait_for(|state| matches!(state, ConnectionState::Lost(_))),
    )
    .await??;
    match &*lost {
        ConnectionState::Lost(reason) => Ok(reason.clone()),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn subscriptions_receive_again_after_the_server_restarted_under_load() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let mut numbers = connector.subscribe::<u64>("numbers", None).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (connector, stop) = (connector.clone(), Arc::clone(&stop));
        async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                connector.publish("numbers", &number).await?;
                tokio::task::yield_now().await;
            }
            connector.publish("numbers", &u64::MAX).await
        }
    });
    for times in 2..5 {
        numbers.next().await.context("a number before")??;
        server.restart().await?;
        connected(&connector, times).await?;
        numbers.next().await.context("a number after")??;
    }
    stop.store(true, Ordering::Relaxed);
    load.await??;
    soon("the last number arrives", async {
        while let Some(number) = numbers.next().await {
            if number?.value == u64::MAX {
                break;
            }
        }
        Ok::<_, Error>(())
    })
    .await??;
    assert_eq!(connector.counters().disconnects, 3);
    Ok(())
}

#[tokio::test]
async fn the_next_server_takes_over() -> Result<()> {
    let (mut first, second) = (TestServer::start("").await?, TestServer::start("").await?);
    let settings = ConnectionSettings {
        servers: format!("{},{}", first.url(), second.url()).into(),
        randomize: false,
        ..first.settings()
    };
    let connector = Connector::connect(settings.clone()).await?;
    assert_eq!(connector.client().server_info().port, port(&first));
    let mut numbers = connector.subscribe::<u32>("numbers", None).await?;
    first.stop().await?;
    connected(&connector, 2).await?;
    assert_eq!(connector.client().server_info().port, port(&second));
    connector.flush_published().await?;
    let other = second.client().await?;
    other.publish("numbers", "7".into()).await?;
    round_trip(&other).await?;
    assert_eq!(
        soon("a number arrives", numbers.next())
            .await?
            .context("a number")??
            .value,
        7
    );

    // With the first one away from the beginning.
    let connector = Connector::connect(settings).await?;
    assert_eq!(connector.client().server_info().port, port(&second));
    Ok(())
}

/// A server of a cluster, with routes to these.
async fn cluster_member(routes: &str) -> Result<TestServer> {
    TestServer::start(&format!(
        "cluster {{ name: test, listen: \"127.0.0.1:-1\", routes: [{routes}] }}"
    ))
    .await
}

#[tokio::test]
async fn a_server_that_the_first_one_tells_of_takes_over() -> Result<()> {
    let mut first = cluster_member("").await?;
    let route = first.monitor("/varz").await?["cluster"]["cluster_port"].clone();
    let second = cluster_member(&format!("\"nats://127.0.0.1:{route}\"")).await?;
    soon("the cluster forms", async {
        while first.client().await?.server_info().connect_urls.len() < 2 {}
        anyhow::Ok(())
    })
    .await??;
    let connector = Connector::connect(first.settings()).await?;
    first.stop().await?;
    connected(&connector, 2).await?;
    assert_eq!(connector.client().server_info().port, port(&second));
    Ok(())
}

fn port(server: &TestServer) -> u16 {
    server
        .address()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port")
}

#[tokio::test]
async fn every_server_that_cannot_be_reached_is_named_with_its_reason() -> Result<()> {
    let mut server = TestServer::start("").await?;
    server.stop().await?;
    let settings = ConnectionSettings {
        servers: vec![server.url(), "nats://does-not-resolve.invalid".into()].into(),
        ..server.settings()
    };
    let error = Connector::connect(settings)
        .await
        .expect_err("there is no server");
    let ConnectError::Refused(refusals) = &error else {
        panic!("{error}")
    };
    assert_eq!(refusals.len(), 2);
    let text = error.to_string();
    assert!(
        text.contains(&server.url())
            && text.contains("refused")
            && text.contains("does-not-resolve"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_after_the_connect_timeout() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let settings = ConnectionSettings {
        servers: format!("nats://{}", silent.local_addr()?).into(),
        connect_timeout: Duration::from_millis(200),
        filter: wharf_tests::filter(),
        ..ConnectionSettings::default()
    };
    let text = Connector::connect(settings)
        .await
        .expect_err("nobody answers")
        .to_string();
    assert!(text.contains("no answer within 200ms"), "{text}");
    Ok(())
}

#[tokio::test]
async fn when_reconnects_are_used_up_everything_ends_with_the_reason() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        max_reconnect: Some(2),
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    let mut messages = connector.subscribe_raw("messages", None).await?;
    server.stop().await?;
    let reason = lost(&connector).await?;
    assert!(
        reason.contains("2 tries") && reason.contains(&server.url()) && reason.contains("refused"),
        "{reason}"
    );
    assert!(
        soon("the subscription ends", messages.next())
            .await?
            .is_none()
    );
    let unavailable = |error: Error| match error {
        Error::Unavailable(text) => assert!(text.contains(&reason), "{text}"),
        other => panic!("{other}"),
    };
    unavailable(
        connector
            .publish("messages", &1)
            .await
            .expect_err("no connection"),
    );
    unavailable(
        connector
            .request_raw("messages", "")
            .await
            .expect_err("no connection"),
    );
    unavailable(
        connector
            .subscribe_raw("messages", None)
            .await
            .expect_err("no connection"),
    );
    unavailable(
        connector
            .flush_published()
            .await
            .expect_err("no connection"),
    );
    unavailable(connector.drain().await.expect_err("no connection"));
    Ok(())
}

#[tokio::test]
async fn a_request_that_waits_ends_with_the_connection() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        max_reconnect: Some(0),
        ..server.settings()
    };
    let connector = Connector::connect(settings)
        .await?
        .with_request_timeout(Duration::from_secs(60));
    let mut mute = server.client().await?.subscribe("mute").await?;
    let waiting = tokio::spawn({
        let connector = connector.clone();
        async move {
            loop {
                // Until the other client is subscribed.
                match connector.request_raw("mute", "").await {
                    Err(Error::NoResponders) => {}
                    other => break other,
                }
            }
        }
    });
    soon("the request arrives", mute.next()).await?;
    server.kill().await?;
    let error = soon("the request ends", waiting)
        .await??
        .expect_err("no reply");
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    Ok(())
}

#[tokio::test]
async fn zero_reconnects_is_never() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        max_reconnect: Some(0),
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    server.kill().await?;
    let reason = lost(&connector).await?;
    assert!(reason.contains("max_reconnect is 0"), "{reason}");
    assert_eq!(connector.counters().disconnects, 1);
    Ok(())
}

#[tokio::test]
async fn unlimited_reconnects_outlast_a_server_that_is_away_for_long() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        reconnect_wait: Duration::from_millis(1),
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    server.stop().await?;
    let broken = TcpListener::bind(server.address()).await?;
    for _ in 0..50 {
        drop(soon("another try", broken.accept()).await??);
    }
    drop(broken);
    server.start_again().await?;
    connected(&connector, 2).await
}

#[tokio::test]
async fn publishing_without_a_server_fails_when_nothing_more_can_be_queued() -> Result<()> {
    let mut server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    server.stop().await?;
    connector
        .state()
        .wait_for(|state| *state == ConnectionState::Disconnected)
        .await?;
    let error = soon("the queue is full", async {
        loop {
            if let Err(error) = connector.publish("numbers", &1).await {
                break error;
            }
        }
    })
    .await?;
    assert!(
        matches!(&error, Error::Unavailable(text) if text.contains("no connection to NATS")),
        "{error}"
    );
    let patient = connector
        .clone()
        .with_request_timeout(Duration::from_millis(100));
    assert_eq!(
        patient
            .request_raw("numbers", "")
            .await
            .expect_err("no reply"),
        Error::Timeout
    );
    server.start_again().await?;
    connected(&connector, 2).await?;
    connector.publish("numbers", &1).await?;
    Ok(())
}

#[tokio::test]
async fn a_lame_duck_is_counted() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    server.lame_duck()?;
    until("the lame duck is counted", || {
        connector.counters().lame_ducks == 1
    })
    .await
}

#[tokio::test]
async fn a_connector_that_is_dropped_leaves_the_server() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    assert_eq!(server.monitor("/connz").await?["num_connections"], 1);
    let kept = connector.client().clone();
    drop(connector);
    soon("the connection is gone", async {
        while server.monitor("/connz").await?["num_connections"] != 0 {
            tokio::task::yield_now().await;
        }
        Ok::<_, anyhow::Error>(())
    })
    .await??;
    soon("the client ends", async {
        while kept.publish("a", "".into()).await.is_ok() {}
    })
    .await
}
