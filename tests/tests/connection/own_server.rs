//! The nats-server of our own.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use wharf::{Server, ServerError};

#[tokio::test]
async fn it_serves_with_streams_until_it_is_stopped() -> Result<()> {
    let data = tempfile::tempdir()?;
    let server = Server::start(data.path()).await?;
    assert_eq!(
        std::fs::read_to_string(data.path().join("url"))?.trim(),
        server.url()
    );
    let client = async_nats::connect(server.url()).await?;
    async_nats::jetstream::new(client.clone())
        .create_key_value(bucket("kept"))
        .await?
        .put("key", "value".into())
        .await?;
    let url = server.url().to_owned();
    server.stop().await?;
    assert!(!data.path().join("url").exists(), "the address is gone");
    assert!(
        async_nats::connect(url).await.is_err(),
        "the server is gone"
    );

    let server = Server::start(data.path()).await?;
    let client = async_nats::connect(server.url()).await?;
    let kept = async_nats::jetstream::new(client)
        .get_key_value("kept")
        .await?;
    assert_eq!(
        kept.get("key").await?.context("the value is still there")?,
        "value"
    );
    server.stop().await?;
    Ok(())
}

fn bucket(name: &str) -> async_nats::jetstream::kv::Config {
    async_nats::jetstream::kv::Config {
        bucket: name.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_second_one_on_the_same_data_is_refused() -> Result<()> {
    let data = tempfile::tempdir()?;
    let first = Server::start(data.path()).await?;
    let error = Server::start(data.path())
        .await
        .expect_err("the data is in use");
    assert!(matches!(error, ServerError::InUse { .. }), "{error}");
    first.stop().await?;
    Server::start(data.path()).await?.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_new_one_waits_for_one_that_is_stopping_after_a_drop() -> Result<()> {
    let data = tempfile::tempdir()?;
    drop(Server::start(data.path()).await?);
    Server::start(data.path()).await?.stop().await?;
    Ok(())
}

#[tokio::test]
async fn its_unexpected_end_is_noticed() -> Result<()> {
    let data = tempfile::tempdir()?;
    let server = Server::start(data.path()).await?;
    let ports = std::fs::read_dir(data.path())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(|name| {
            name.strip_prefix("nats-server_")?
                .strip_suffix(".ports")?
                .parse::<i32>()
                .ok()
        });
    kill_process(
        ports
            .and_then(Pid::from_raw)
            .context("the server's process")?,
        Signal::KILL,
    )?;
    let error = server.died().await.to_string();
    assert!(error.contains("signal: 9"), "{error}");
    assert!(matches!(server.stop().await, Err(ServerError::Ended(_))));
    Ok(())
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() -> Result<()> {
    let data = tempfile::tempdir()?;
    let file = data.path().join("file");
    std::fs::write(&file, "")?;
    let error = Server::start(&file)
        .await
        .expect_err("no directory")
        .to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    Ok(())
}
