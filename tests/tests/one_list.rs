//! Each grant and each outcome is written once, and is everywhere where people look for it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wharf::config::{AdminSettings, BucketAccess};
use wharf::{Grant, MalformedCause, OutcomeKind};
use wharf_tests::probe::Probe;
use wharf_tests::soon;
use wharf_tests::wharf::{command, run};

#[tokio::test]
async fn each_grant_is_a_key_of_the_configuration() -> Result<()> {
    let directory = tempfile::tempdir()?;
    for grant in Grant::ALL {
        let text = format!("[guests.g]\ncomponent = 'g.wasm'\n{} = 5\n", grant.key());
        std::fs::write(directory.path().join("wharf.toml"), text)?;
        let ended = run(command(directory.path(), &["check"])?, b"").await?;
        assert_eq!(ended.code, Some(2), "{grant:?}");
        let said = ended.stderr;
        let place = said.contains("wharf.toml:3:") && said.contains("expected");
        assert!(place && !said.contains("unknown key"), "{grant:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn each_grant_is_a_flag_of_run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let help = run(command(directory.path(), &["run", "--help"])?, b"").await?;
    let help = help.text()?;
    for grant in Grant::ALL {
        // A flag is given once for each: `buckets` is `--bucket`.
        let flag = grant.key().trim_end_matches('s').replace('_', "-");
        assert!(help.contains(&format!("--{flag} <")), "{grant:?}: {help}");
    }
    Ok(())
}

#[tokio::test]
async fn each_grant_and_each_outcome_is_a_label_of_the_metrics() -> Result<()> {
    let probe = Probe::start(|config, _, _| {
        config.http.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await?;
    let mut stream = TcpStream::connect(probe.host.http_address().context("an address")?).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await?;
    let mut metrics = String::new();
    soon("the metrics", stream.read_to_string(&mut metrics)).await??;
    for grant in Grant::ALL {
        let label = format!("grant=\"{}\"", grant.label());
        assert!(metrics.contains(&label), "{label}: {metrics}");
    }
    for outcome in OutcomeKind::ALL {
        let label = format!("outcome=\"{}\"", outcome.label());
        assert!(metrics.contains(&label), "{label}: {metrics}");
    }
    for cause in MalformedCause::ALL {
        let label = format!("cause=\"{}\"", cause.label());
        assert!(metrics.contains(&label), "{label}: {metrics}");
    }
    probe.host.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn each_grant_of_a_guest_is_shown() -> Result<()> {
    let probe = Probe::start(|config, settings, _| {
        config.host.name = Some("here".to_owned());
        config.admin = AdminSettings {
            enabled: true,
            ..AdminSettings::default()
        };
        settings.may_subscribe = vec!["a.subscribe".into()];
        settings.publish = vec!["a.publish".into()];
        settings.request = vec!["a.request".into()];
        settings.buckets = [("a".to_owned(), BucketAccess::Read)].into();
    })
    .await?;
    let url = probe.server.url();
    let arguments = ["guests", "show", "probe", "--server", &url];
    let shown = run(command(probe.server.directory(), &arguments)?, b"").await?;
    let shown = shown.text()?;
    for grant in Grant::ALL {
        let line = match grant.key() {
            "buckets" => "buckets".to_owned(),
            _ => format!("may {}", grant.words()),
        };
        assert!(shown.contains(&line), "{line}: {shown}");
    }
    probe.host.shutdown().await;
    Ok(())
}
