//! Settings → the client's options; the first connect, and the one after a client has ended.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ReconnectToServer, Server, ServerAddr};

use super::auth::Login;
use super::client_signs::ClientSigns;
use super::connect_error::{ConnectError, Refusal};
use super::events::EventHandler;
use super::reconnect::{ReconnectDecision, ReconnectPolicy, attempt, shuffle, untried};
use super::relay::{DialError, Relay};
use super::server_choice::ServerChoice;
use super::shared::ConnectionShared;
use crate::config::{ConnectionSettings, Servers, TlsSettings, parse_servers, redact_server};

/// A plan of how to connect: the settings, checked as far as that is possible without a server.
pub(super) struct ConnectPlan {
    /// The servers' addresses, without users.
    servers: Vec<ServerAddr>,
    /// Shuffle the servers before the first connect.
    randomize: bool,
    /// The way to authenticate.
    login: Arc<Login>,
    /// The TLS files.
    tls: TlsSettings,
    /// The longest time that one attempt may take.
    connect_timeout: Duration,
    /// The choice of the next server.
    reconnects: Arc<ReconnectPolicy>,
    /// The relay, once it is bound. There is none if messages never pass the filter.
    relay: Option<Arc<Relay>>,
    /// The last attempt went through the relay.
    was_relayed: Arc<AtomicBool>,
}

/// The reason why an attempt to connect has failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    /// The client could not connect.
    #[error(transparent)]
    Client(#[from] async_nats::ConnectError),
    /// The relay could not connect to the server.
    #[error(transparent)]
    Relay(#[from] DialError),
}

/// A client that has just connected.
pub(super) struct NewClient {
    /// The client itself.
    pub(super) client: Client,
    /// The client's signs: in use, ended.
    pub(super) signs: ClientSigns,
}

impl ConnectPlan {
    /// A plan from valid settings.
    ///
    /// # Errors
    /// `NoServer`, `Address`, `File` or `Settings`.
    pub(super) fn new(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        let Servers::At(servers) = &settings.servers else {
            return Err(ConnectError::Settings(
                "a server of its own is a host's to start: name the servers to connect to".into(),
            ));
        };
        let mut servers = addresses(servers)?;
        let login = Login::new(&settings.auth, &mut servers)?;
        check_tls(&settings.tls)?;
        let TlsSettings { cert, key, ca } = &settings.tls;
        let has_tls_file = cert.is_some() || key.is_some() || ca.is_some();
        let tls_required = has_tls_file || servers.iter().any(ServerAddr::tls_required);
        let reconnects = Arc::new(ReconnectPolicy::new(settings, tls_required));
        // Said by each address, and not by an option of the client, which reaches the relay without TLS.
        let servers = servers
            .into_iter()
            .map(|server| reconnects.with_tls(server))
            .collect();
        Ok(Self {
            servers,
            login: Arc::new(login),
            tls: settings.tls.clone(),
            randomize: settings.randomize,
            connect_timeout: settings.connect_timeout,
            reconnects,
            relay: None,
            was_relayed: Arc::default(),
        })
    }

    /// Binds the relay, unless messages never pass the filter.
    ///
    /// # Errors
    /// Of the system.
    pub(super) async fn bind_relay(
        &mut self,
        shared: &Arc<ConnectionShared>,
    ) -> std::io::Result<()> {
        if shared.filter.may_be_on() {
            let relay = Relay::bind(&self.tls, self.connect_timeout, shared).await?;
            self.relay = Some(Arc::new(relay));
        }
        Ok(())
    }

    /// Relays for as long as this is awaited. Without a relay it waits for ever.
    pub(super) async fn relay(&self) {
        match &self.relay {
            Some(relay) => relay.run().await,
            None => std::future::pending().await,
        }
    }

    /// Connects: one pass over the servers, one by one, so that every server's own reason is known when none answers.
    ///
    /// # Errors
    /// `Refused`, with each server's reason.
    pub(super) async fn connect(
        &self,
        shared: &Arc<ConnectionShared>,
    ) -> Result<NewClient, ConnectError> {
        let mut servers = self.servers.clone();
        if self.randomize {
            shuffle(&mut servers);
        }
        let mut refusals = Vec::new();
        for server in servers {
            match self.connect_to(&server, shared).await {
                Ok(connected) => {
                    // Nothing may be awaited before this: the client's first reconnect asks for it.
                    self.reconnects.note_first_connect(&server);
                    connected.signs.put_in_use();
                    shared.connected();
                    self.complete_pool(&connected.client).await;
                    return Ok(connected);
                }
                Err(error) => refusals.push(Refusal {
                    server: server.as_url_str().to_owned(),
                    reason: self.reason(&error),
                }),
            }
        }
        Err(ConnectError::Refused(refusals))
    }

    /// Connects another client after one has ended, on the same terms as when a connection is lost. `None` when the
    /// connection has been given up.
    pub(super) async fn connect_again(&self, shared: &Arc<ConnectionShared>) -> Option<NewClient> {
        let mut pool = self.reconnects.pool_after_client_end();
        loop {
            let ReconnectDecision::Try(target) = self.reconnects.next(&pool, shared) else {
                return None;
            };
            let ReconnectToServer { addr, delay } = target;
            tokio::time::sleep(delay.unwrap_or_default()).await;
            let error = match self.connect_to(&addr, shared).await {
                Ok(connected) => {
                    self.complete_pool(&connected.client).await;
                    return Some(connected);
                }
                Err(error) => error.to_string(),
            };
            for server in pool.iter_mut().filter(|server| server.addr == addr) {
                server.last_error = Some(error.clone());
            }
        }
    }

    /// Makes one attempt, with a new client.
    async fn connect_to(
        &self,
        server: &ServerAddr,
        shared: &Arc<ConnectionShared>,
    ) -> Result<NewClient, AttemptError> {
        let signs = ClientSigns::default();
        let choice = ServerChoice {
            reconnects: Arc::clone(&self.reconnects),
            relay: self.relay.clone(),
            shared: Arc::clone(shared),
            was_relayed: Arc::clone(&self.was_relayed),
        };
        let first = choice.address_for(server).await?;
        let mut pool = vec![server.clone()];
        // From the start: while the client is disconnected it takes no others.
        pool.extend(self.relay_address());
        let options = self.options(choice, first, &signs);
        let client = options.connect(pool.as_slice()).await?;
        shared.count_with(client.statistics());
        Ok(NewClient { client, signs })
    }

    /// The address of the relay, if there is one.
    fn relay_address(&self) -> Option<ServerAddr> {
        self.relay.as_ref().map(|relay| relay.address().clone())
    }

    /// Tells the client of all servers: by itself it knows the one that answered, and those that this one has told it of.
    pub(super) async fn complete_pool(&self, client: &Client) {
        let relay = self.relay_address();
        let mut pool = self.servers.clone();
        let known = client.server_pool().await.unwrap_or_default();
        let earlier = self.reconnects.pool();
        for Server { addr, .. } in known.into_iter().chain(earlier) {
            let addr = self.reconnects.with_tls(addr);
            let is_relay = relay.as_ref().is_some_and(|relay| {
                *relay == addr || self.reconnects.with_tls(relay.clone()) == addr
            });
            if !pool.contains(&addr) && !is_relay {
                pool.push(addr);
            }
        }
        self.reconnects
            .set_pool(pool.iter().cloned().map(untried).collect());
        pool.extend(relay);
        // This fails only when the client has ended already, which its state says.
        if let Err(error) = client.set_server_pool(pool.as_slice()).await {
            tracing::debug!(target: "wharf::connection", %error, "cannot set the servers");
        }
    }

    /// Options for one new client.
    fn options(
        &self,
        choice: ServerChoice,
        first: ServerAddr,
        signs: &ClientSigns,
    ) -> ConnectOptions {
        let relay = self.relay.clone();
        let mut options = self
            .login
            .options(move || relay.as_ref()?.ticket())
            .name("wharf")
            .connection_timeout(self.connect_timeout)
            .max_reconnects(None)
            .retain_servers_order();
        if let Some(ca) = &self.tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&self.tls.cert, &self.tls.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        let events = EventHandler::new(&choice.shared, signs.clone());
        options = options.event_callback(move |event| {
            events.handle(event);
            std::future::ready(())
        });
        let is_first = AtomicBool::new(true);
        let end_guard = signs.end_guard();
        options.reconnect_to_server_callback(move |pool, _| {
            // The client's task owns this callback, and the guard with it.
            let _dropped_with_the_client = &end_guard;
            // The callback is asked before the first connect, too.
            let first = is_first
                .swap(false, Ordering::Relaxed)
                .then(|| attempt(first.clone(), Duration::ZERO));
            let choice = choice.clone();
            async move {
                Some(match first {
                    Some(first) => first,
                    None => choice.next(pool).await,
                })
            }
        })
    }

    /// Words for the reason why one server could not be connected to.
    fn reason(&self, error: &AttemptError) -> String {
        let kind = match error {
            AttemptError::Client(error) => error.kind(),
            AttemptError::Relay(DialError::TimedOut) => ConnectErrorKind::TimedOut,
            AttemptError::Relay(_) => ConnectErrorKind::Io,
        };
        match kind {
            ConnectErrorKind::AuthorizationViolation => {
                format!("the server does not let us in {}", self.login.describe())
            }
            ConnectErrorKind::TimedOut => {
                format!(
                    "no answer within {}",
                    humantime::format_duration(self.connect_timeout)
                )
            }
            _ => error.to_string(),
        }
    }
}

/// The addresses that the settings name. Each entry may itself be a list, with commas.
///
/// # Errors
/// `Address` for an entry that is none, `NoServer` without entries.
fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, ConnectError> {
    let mut addresses = Vec::new();
    for entry in servers {
        let wrong = |reason: String| ConnectError::Address {
            server: redact_server(entry),
            reason,
        };
        for name in parse_servers(entry).map_err(wrong)? {
            addresses.push(
                name.parse()
                    .map_err(|error: std::io::Error| wrong(error.to_string()))?,
            );
        }
    }
    if addresses.is_empty() {
        Err(ConnectError::NoServer)
    } else {
        Ok(addresses)
    }
}

/// Reads the TLS files once, for an error that names the file and the reason. The client itself reads them at every
/// connect.
///
/// # Errors
/// `File` for a file that cannot be used, `Settings` where only one of certificate and key is set.
fn check_tls(tls: &TlsSettings) -> Result<(), ConnectError> {
    let unusable = |what, path: &Path, reason: String| ConnectError::File {
        what,
        path: path.to_owned(),
        reason,
    };
    let authorities = tls
        .ca
        .iter()
        .map(|path| ("the TLS authorities' file", path));
    for (what, path) in authorities.chain(tls.cert.iter().map(|path| ("the TLS certificate", path)))
    {
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(what, path, error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable(
                what,
                path,
                "it has no certificate in PEM form".into(),
            ));
        }
    }
    if let Some(path) = &tls.key {
        PrivateKeyDer::from_pem_file(path)
            .map_err(|error| unusable("the TLS key", path, error.to_string()))?;
    }
    if tls.cert.is_some() != tls.key.is_some() {
        return Err(ConnectError::Settings(
            "a TLS certificate and its key go together: one is not set".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers_is_split_and_trimmed() {
        let servers = ["nats://a:1, b:2".to_owned(), " tls://c ".to_owned()];
        let addresses = addresses(&servers).expect("addresses");
        let urls: Vec<_> = addresses.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(urls, ["nats://a:1", "nats://b:2", "tls://c"]);
    }

    #[test]
    fn an_address_that_is_none_is_named_without_its_password() {
        for address in [
            "nats://u:s3cret@h:port",
            "http://u:s3cret@h",
            "ws://u:s3cret@h",
        ] {
            let error = addresses(&[address.to_owned()])
                .expect_err("no address")
                .to_string();
            assert!(error.contains("@h") && !error.contains("s3cret"), "{error}");
        }
        assert!(matches!(addresses(&[]), Err(ConnectError::NoServer)));
    }
}
