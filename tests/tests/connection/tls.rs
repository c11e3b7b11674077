//! TLS: both sides prove who they are.

use anyhow::Result;
use tempfile::TempDir;
use wharf::config::{ConnectionSettings, TlsSettings};
use wharf::{ConnectError, Connector};
use wharf_tests::{Authority, TestServer};

/// A server that wants certificates of this authority.
pub(crate) async fn server(authority: &Authority) -> Result<TestServer> {
    let directory = TempDir::new()?;
    authority.write(directory.path(), "ca")?;
    authority.identity(directory.path(), "server")?;
    let config = "tls { cert_file: \"DIR/server-cert.pem\", key_file: \"DIR/server-key.pem\", \
                  ca_file: \"DIR/ca.pem\", verify: true }";
    TestServer::start_in(directory, config).await
}

/// Settings for it, with a certificate that this authority signed.
pub(crate) fn settings(server: &TestServer, authority: &Authority) -> Result<ConnectionSettings> {
    let client = authority.identity(server.directory(), "client")?;
    let ca = server.directory().join("ca.pem");
    let tls = TlsSettings {
        cert: Some(client.cert),
        key: Some(client.key),
        ca: Some(ca),
    };
    Ok(ConnectionSettings {
        tls,
        ..server.settings()
    })
}

async fn refusal(settings: ConnectionSettings) -> String {
    let error = Connector::connect(settings)
        .await
        .expect_err("there is no connection");
    assert!(matches!(error, ConnectError::Refused(_)), "{error}");
    error.to_string()
}

#[tokio::test]
async fn both_sides_prove_who_they_are() -> Result<()> {
    let authority = Authority::new()?;
    let server = server(&authority).await?;
    let mut settings = settings(&server, &authority)?;
    Connector::connect(settings.clone())
        .await?
        .flush_published()
        .await?;
    settings.servers = server.url().replace("nats://", "tls://").into();
    Connector::connect(settings)
        .await?
        .flush_published()
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_server_of_an_authority_that_we_do_not_trust_is_refused() -> Result<()> {
    let authority = Authority::new()?;
    let server = server(&authority).await?;
    let mut settings = settings(&server, &authority)?;
    settings.tls.ca = Some(Authority::new()?.write(server.directory(), "other")?);
    let text = refusal(settings).await;
    assert!(
        text.contains(&server.address()) && text.contains("certificate"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_client_without_a_certificate_or_of_another_authority_is_refused() -> Result<()> {
    let authority = Authority::new()?;
    let server = server(&authority).await?;
    let mut anonymous = settings(&server, &authority)?;
    (anonymous.tls.cert, anonymous.tls.key) = (None, None);
    refusal(anonymous).await;
    refusal(settings(&server, &Authority::new()?)?).await;
    Ok(())
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_tls_is_wanted() -> Result<()> {
    let server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        servers: server.url().replace("nats://", "tls://").into(),
        ..server.settings()
    };
    let text = refusal(settings).await;
    assert!(text.contains("tls://127.0.0.1"), "{text}");
    Ok(())
}

#[tokio::test]
async fn files_that_hold_no_certificate_or_key_are_named() -> Result<()> {
    let directory = TempDir::new()?;
    let good = Authority::new()?.identity(directory.path(), "good")?;
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "")?;
    let missing = directory.path().join("missing.pem");
    let cases = [
        (
            TlsSettings {
                ca: Some(missing.clone()),
                ..TlsSettings::default()
            },
            "the TLS authorities' file",
        ),
        (
            TlsSettings {
                ca: Some(empty.clone()),
                ..TlsSettings::default()
            },
            "no certificate in PEM form",
        ),
        (
            TlsSettings {
                cert: Some(missing),
                key: Some(good.key.clone()),
                ca: None,
            },
            "the TLS certificate",
        ),
        (
            TlsSettings {
                cert: Some(good.cert.clone()),
                key: Some(empty),
                ca: None,
            },
            "the TLS key",
        ),
        (
            TlsSettings {
                cert: Some(good.cert),
                key: None,
                ca: None,
            },
            "go together",
        ),
    ];
    for (tls, expected) in cases {
        let settings = ConnectionSettings {
            tls,
            ..ConnectionSettings::default()
        };
        let text = Connector::connect(settings)
            .await
            .expect_err("nothing to connect with")
            .to_string();
        assert!(text.contains(expected), "{text}");
    }
    Ok(())
}
