//! A host with guests that do what the messages say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use wharf::Host;
use wharf::config::{Config, ConnectionSettings, GuestSettings, HostSettings};

use crate::{TestServer, component, soon, target};

/// Settings that connect to this server, and share what has been compiled with the other tests.
#[must_use]
pub fn config(server: &TestServer) -> Config {
    let cache = target().map(|target| target.join("test-cache")).ok();
    let nats = ConnectionSettings {
        servers: server.url().into(),
        reconnect_wait: Duration::from_millis(50),
        drain_timeout: Duration::from_secs(20),
        ..ConnectionSettings::default()
    };
    let host = HostSettings {
        cache,
        // Where tests wait for answers that they do not ask for by a request.
        replies: ["_INBOX.>", "answers", "replies"].map(str::to_owned).into(),
        ..HostSettings::default()
    };
    Config {
        nats,
        host,
        ..Config::default()
    }
}

/// The probe, subscribed to `probe`.
///
/// # Errors
/// When it has not been built.
pub fn probe() -> Result<GuestSettings> {
    let mut settings = GuestSettings::new(component("probe")?);
    settings.subscribe.push("probe".into());
    Ok(settings)
}

/// A server, and a host on it that runs the probe as the guest `probe`.
#[derive(Debug)]
pub struct Probe {
    /// The server.
    pub server: TestServer,
    /// The host.
    pub host: Host,
    /// Somebody else's client.
    pub client: async_nats::Client,
    /// A directory that goes with the test.
    pub directory: TempDir,
}

impl Probe {
    /// Starts both. The closure may change the settings; it is given the probe's and a directory.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start(
        change: impl FnOnce(&mut Config, &mut GuestSettings, &TempDir),
    ) -> Result<Self> {
        let server = TestServer::start("").await?;
        let directory = tempfile::tempdir()?;
        let mut config = config(&server);
        let mut settings = probe()?;
        change(&mut config, &mut settings, &directory);
        config.guests.insert("probe".to_owned(), settings);
        let host = Host::builder(config).start().await?;
        let client = server.client().await?;
        Ok(Self {
            server,
            host,
            client,
            directory,
        })
    }

    /// Has the guest do something, and returns its reply.
    ///
    /// # Errors
    /// When there is none.
    pub async fn send(&self, subject: &'static str, step: &Value) -> Result<async_nats::Message> {
        let request = self.client.request(subject, step.to_string().into());
        Ok(soon("the guest answers", request).await??)
    }

    /// Has the guest do something that must succeed, and returns what it got.
    ///
    /// # Errors
    /// When it failed: with what it got.
    pub async fn ok(&self, step: Value) -> Result<Value> {
        let mut answer = self.answer(&step).await?;
        ensure!(answer.get("ok").is_some(), "{step} failed: {answer}");
        Ok(answer["ok"].take())
    }

    /// Has the guest do something that must fail, and returns the error's name in the WIT and its words.
    ///
    /// # Errors
    /// When it succeeded: with what it got.
    pub async fn err(&self, step: Value) -> Result<(String, String)> {
        let answer = self.answer(&step).await?;
        let error = &answer["error"];
        let (Some(kind), Some(text)) = (error["kind"].as_str(), error["text"].as_str()) else {
            anyhow::bail!("{step} did not fail: {answer}");
        };
        Ok((kind.to_owned(), text.to_owned()))
    }

    async fn answer(&self, step: &Value) -> Result<Value> {
        let reply = self.send("probe", step).await?;
        serde_json::from_slice(&reply.payload).with_context(|| {
            format!(
                "{step} was answered with {:?} {:?}",
                reply.headers, reply.payload
            )
        })
    }

    /// What the guest sees of a message: its subject, headers and so on.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn describe(&self, subject: &'static str) -> Result<Value> {
        let reply = self.send(subject, &json!({ "do": "describe" })).await?;
        Ok(serde_json::from_slice::<Value>(&reply.payload)?["ok"].take())
    }
}

/// The error that a service answered with: its code and words.
///
/// # Errors
/// When it is none.
pub fn service_error(reply: &async_nats::Message) -> Result<(String, String)> {
    let headers = reply.headers.as_ref().context("the reply has no headers")?;
    let header = |name: &str| {
        headers
            .get(name)
            .map(ToString::to_string)
            .with_context(|| format!("no {name}"))
    };
    Ok((
        header("Nats-Service-Error-Code")?,
        header("Nats-Service-Error")?,
    ))
}
