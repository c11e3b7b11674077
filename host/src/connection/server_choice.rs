//! The client's next server: directly, or through the relay while messages pass the filter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{ReconnectToServer, Server, ServerAddr};

use super::reconnect::{ReconnectDecision, ReconnectPolicy, attempt};
use super::relay::{DialError, Relay};
use super::shared::ConnectionShared;

/// The choice of one connection's clients.
#[derive(Clone)]
pub(super) struct ServerChoice {
    /// The choice of the next server, of the wait before it, and of when to give up.
    pub(super) reconnects: Arc<ReconnectPolicy>,
    /// The relay. `None` if messages never pass the filter.
    pub(super) relay: Option<Arc<Relay>>,
    /// The connection's state, its filter's among it.
    pub(super) shared: Arc<ConnectionShared>,
    /// The last attempt went through the relay.
    pub(super) was_relayed: Arc<AtomicBool>,
}

impl ServerChoice {
    /// The address that the client has to connect to for this server. Through the relay, that has connected to the server
    /// before this returns.
    ///
    /// # Errors
    /// The reason why the relay cannot connect to the server.
    pub(super) async fn address_for(&self, server: &ServerAddr) -> Result<ServerAddr, DialError> {
        let relay = self.relay.as_ref().filter(|_| self.shared.filter.is_on());
        self.was_relayed.store(relay.is_some(), Ordering::Relaxed);
        let Some(relay) = relay else {
            // A ticket is for the relay alone.
            self.withdraw();
            return Ok(server.clone());
        };
        let info = relay.prepare(server).await?;
        self.reconnects.learn(&info.connect_urls);
        Ok(relay.address().clone())
    }

    /// Closes a connection to a server that no client has come for.
    pub(super) fn withdraw(&self) {
        if let Some(relay) = &self.relay {
            relay.withdraw();
        }
    }

    /// The next server of a client that has lost its connection, or could not connect. Waits for as long as it takes until
    /// one is to be tried; for ever, if the connection has been given up.
    pub(super) async fn next(&self, client_pool: Vec<Server>) -> ReconnectToServer {
        let relay = self.relay.as_ref().map(|relay| relay.address());
        let was_relayed = self.was_relayed.load(Ordering::Relaxed);
        let mut pool = self.reconnects.merge(&client_pool, relay, was_relayed);
        loop {
            let ReconnectDecision::Try(target) = self.reconnects.next(&pool, &self.shared) else {
                // The connection's thread is being told to end, and this with it.
                return std::future::pending().await;
            };
            let ReconnectToServer { addr, delay } = target;
            let is_known = client_pool.iter().any(|server| server.addr == addr);
            let error = if self.shared.filter.is_on() {
                tokio::time::sleep(delay.unwrap_or_default()).await;
                match self.address_for(&addr).await {
                    Ok(address) => return attempt(address, Duration::ZERO),
                    Err(error) => error.to_string(),
                }
            } else if is_known {
                self.was_relayed.store(false, Ordering::Relaxed);
                self.withdraw();
                return attempt(addr, delay.unwrap_or_default());
            } else {
                // The client takes no other address than it knows, and could not be told of this one in time.
                "it is not among the client's servers yet".to_owned()
            };
            self.reconnects.note_error(&addr, &error);
            for server in pool.iter_mut().filter(|server| server.addr == addr) {
                server.last_error = Some(error.clone());
            }
        }
    }
}
