//! Settings → the client's options, and the first connect.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ReconnectToServer, Server, ServerAddr};

use super::auth::Login;
use super::client::Signs;
use super::error::Refusal;
use super::reconnect::{Next, Reconnects, attempt, shuffle, untried};
use super::shared::Shared;
use super::{ConnectError, events};
use crate::config::{ConnectionSettings, Servers, TlsSettings, parse_servers, redact_server};

/// How to connect: everything that can be checked without a server is.
pub(super) struct Plan {
    servers: Vec<ServerAddr>,
    randomize: bool,
    login: Login,
    tls: TlsSettings,
    tls_required: bool,
    connect_timeout: Duration,
    reconnects: Arc<Reconnects>,
}

/// A client that is connected.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) signs: Signs,
}

impl Plan {
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
        Ok(Self {
            tls_required: has_tls_file || servers.iter().any(ServerAddr::tls_required),
            servers,
            login,
            tls: settings.tls.clone(),
            randomize: settings.randomize,
            connect_timeout: settings.connect_timeout,
            reconnects: Arc::new(Reconnects::new(settings)),
        })
    }

    /// One pass over the servers, one by one, so that every server's own reason is known when none answers.
    pub(super) async fn connect(&self, shared: &Arc<Shared>) -> Result<Connected, ConnectError> {
        let mut servers = self.servers.clone();
        if self.randomize {
            shuffle(&mut servers);
        }
        let mut refusals = Vec::new();
        for server in servers {
            match self.connect_to(&server, shared).await {
                Ok(connected) => {
                    // Nothing may be awaited before this: the client's first reconnect asks for it.
                    self.reconnects.connected(&server);
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

    /// Another client, after one has ended: on the same terms as when a connection is lost. `None` when it has been
    /// given up.
    pub(super) async fn connect_again(&self, shared: &Arc<Shared>) -> Option<Connected> {
        let mut pool = self.reconnects.known_after_end();
        loop {
            let Next::Try(target) = self.reconnects.next(&pool, shared) else {
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

    /// One attempt.
    async fn connect_to(
        &self,
        server: &ServerAddr,
        shared: &Arc<Shared>,
    ) -> Result<Connected, async_nats::ConnectError> {
        let signs = Signs::default();
        let client = self.options(shared, &signs).connect(server).await?;
        shared.counted_by(client.statistics());
        Ok(Connected { client, signs })
    }

    /// The client knows the one server that answered, and those that it was told of; now the others, too.
    async fn complete_pool(&self, client: &Client) {
        let mut pool = self.servers.clone();
        let known = client.server_pool().await.unwrap_or_default();
        let earlier = self.reconnects.known();
        for Server { addr, .. } in known.into_iter().chain(earlier) {
            if !pool.contains(&addr) {
                pool.push(addr);
            }
        }
        self.reconnects
            .knows(pool.iter().cloned().map(untried).collect());
        // It fails only when the client has ended already, which its state says.
        if let Err(error) = client.set_server_pool(pool.as_slice()).await {
            tracing::debug!(target: "wharf::connection", %error, "cannot set the servers");
        }
    }

    fn options(&self, shared: &Arc<Shared>, signs: &Signs) -> ConnectOptions {
        let mut options = self
            .login
            .options()
            .name("wharf")
            .require_tls(self.tls_required)
            .connection_timeout(self.connect_timeout)
            .max_reconnects(None)
            .retain_servers_order();
        if let Some(ca) = &self.tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&self.tls.cert, &self.tls.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        let events = events::Events::new(shared, signs.clone());
        options = options.event_callback(move |event| {
            events.handle(event);
            std::future::ready(())
        });
        let (reconnects, shared) = (Arc::clone(&self.reconnects), Arc::clone(shared));
        let (is_first, ending) = (AtomicBool::new(true), signs.ending());
        options.reconnect_to_server_callback(move |pool, _| {
            // The client's task owns this callback: it goes when the client does.
            let _ends_with_the_client = &ending;
            // It is asked before the first connect, too: of the one server that is tried then.
            let next = match pool.first() {
                Some(server) if is_first.swap(false, Ordering::Relaxed) => {
                    attempt(server.addr.clone(), Duration::ZERO)
                }
                _ => {
                    let next = reconnects.next(&pool, &shared);
                    reconnects.knows(pool);
                    next
                }
            };
            async move {
                match next {
                    Next::Try(target) => Some(target),
                    // The connection's thread is being told to end, and this with it.
                    Next::GiveUp => std::future::pending().await,
                }
            }
        })
    }

    fn reason(&self, error: &async_nats::ConnectError) -> String {
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation => {
                format!("the server does not let us in {}", self.login.words())
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

/// Each entry may itself be a list, with commas.
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

/// The address without `user:password@`.
pub(super) fn without_user(server: &ServerAddr) -> ServerAddr {
    let mut url = server.clone().into_inner();
    // These fail only for addresses that cannot have a user.
    let removed = url.set_username("").and_then(|()| url.set_password(None));
    debug_assert!(removed.is_ok(), "an address with a user can be without");
    ServerAddr::from_url(url).unwrap_or_else(|_| server.clone())
}

/// The client reads these files at every connect; here, once, for an error that says which and why.
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
