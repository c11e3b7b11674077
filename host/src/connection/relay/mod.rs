//! A relay between the client and the server, with a filter: what the client cannot read never reaches it.
//!
//! The client dials itself and takes no stream from us, so the relay listens on the loopback interface. Before the client
//! is told to connect there, the relay has connected to a server; the two are then joined. As any local user could
//! connect there, too, nothing goes to the server before a `CONNECT` with a ticket, a random token for this one attempt,
//! which goes no further.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`Relay`]: the listener, and the server that waits for the client |
//! | `dial.rs` | the connection to a server, TLS included |
//! | `session.rs` | one connection through the relay |
//! | `filter.rs` | the filter: framing, and what is done with each operation |
//! | `arguments.rs`, `block.rs`, `kept_headers.rs`, `long_line.rs`, `info.rs` | the parts of an operation: the line of a message, its headers, those that are kept when there are too many, a line that is too long, the server's `INFO` |
//! | `malformed.rs` | the causes, their counts, and a subject in the log |

mod arguments;
pub(super) mod block;
mod dial;
pub(crate) mod filter;
mod info;
pub(super) mod kept_headers;
mod long_line;
pub(crate) mod malformed;
mod session;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{ServerAddr, ServerInfo};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::cause;
use super::shared::ConnectionShared;
use crate::config::TlsSettings;
use crate::lock::locked;
use crate::random::Token;

pub(super) use dial::DialError;
use dial::Dialled;
use malformed::Malformed;
use session::{Session, SessionEnd};

/// The most connections at once: the client's, one that is just ending, and those of strangers, which end soon.
const MAX_CONNECTIONS: usize = 16;

/// The wait after the system could not accept a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// The relay of one connection to NATS.
pub(super) struct Relay {
    /// The listener's address, as the client has it in its pool.
    address: ServerAddr,
    /// The listener, on the loopback interface.
    listener: TcpListener,
    /// The server that waits for the client.
    offer: Mutex<Option<Offer>>,
    /// The TLS files.
    tls: TlsSettings,
    /// The longest time that an attempt may take, and so a handshake with a client.
    limit: Duration,
    /// The connection's counters and log.
    shared: Arc<ConnectionShared>,
}

/// A server that was connected to for the client's next attempt.
struct Offer {
    /// The ticket that the client has to show.
    ticket: Token,
    /// The server.
    server: Dialled,
}

impl Relay {
    /// Binds the listener.
    ///
    /// # Errors
    /// Of the system.
    pub(super) async fn bind(
        tls: &TlsSettings,
        limit: Duration,
        shared: &Arc<ConnectionShared>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = format!("nats://{}", listener.local_addr()?).parse()?;
        Ok(Self {
            address,
            listener,
            offer: Mutex::default(),
            tls: tls.clone(),
            limit,
            shared: Arc::clone(shared),
        })
    }

    /// The address at which the client reaches the relay.
    pub(super) const fn address(&self) -> &ServerAddr {
        &self.address
    }

    /// Connects to a server, for the client's next attempt. Returns the server's `INFO`.
    ///
    /// # Errors
    /// The reason why that server cannot be connected to.
    pub(super) async fn prepare(&self, server: &ServerAddr) -> Result<ServerInfo, DialError> {
        self.withdraw();
        let server = dial::dial(server, &self.tls, self.limit).await?;
        let info = server.info.clone();
        let ticket = Token::new();
        *locked(&self.offer) = Some(Offer { ticket, server });
        Ok(info)
    }

    /// Closes the connection to a server that the client has not come for.
    pub(super) fn withdraw(&self) {
        drop(locked(&self.offer).take());
    }

    /// The ticket of the attempt that was prepared. `None` if there is none.
    pub(super) fn ticket(&self) -> Option<Token> {
        locked(&self.offer).as_ref().map(|offer| offer.ticket)
    }

    /// Joins clients and servers, for as long as this is awaited.
    pub(super) async fn run(self: &Arc<Self>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                    match accepted {
                        Ok((client, _)) => {
                            let relay = Arc::clone(self);
                            connections.spawn(async move { relay.serve(client).await });
                        }
                        Err(error) => {
                            tracing::warn!(target: "wharf::connection", %error, "the filter cannot accept a connection");
                            tokio::time::sleep(ACCEPT_RETRY).await;
                        }
                    }
                }
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(target: "wharf::connection", %error, "a connection through the filter has failed");
                    }
                }
            }
        }
    }

    /// Serves one client, which may be a stranger, to its end.
    async fn serve(&self, client: TcpStream) {
        // A stranger's connection is nothing to report: it breaks, takes too long or has no ticket.
        let Ok(Ok(Some(session))) = timeout(self.limit, self.admit(client)).await else {
            return;
        };
        let ended = |end: &SessionEnd| {
            // The client sees a closed connection only.
            if !matches!(end, SessionEnd::Client) {
                cause::broken(end.to_string());
            }
        };
        let mut report = |malformed: Malformed<'_>| self.shared.note_malformed(&malformed);
        session.run(&mut report, ended).await;
    }

    /// Shakes hands with a client. `None` for one without the ticket.
    async fn admit(&self, mut client: TcpStream) -> io::Result<Option<Session>> {
        client.set_nodelay(true)?;
        let greeting = |offer: &Offer| (offer.ticket, offer.server.info_line.clone());
        let Some((ticket, info_line)) = locked(&self.offer).as_ref().map(greeting) else {
            return Ok(None);
        };
        client.write_all(&info_line).await?;
        let mut line = Vec::new();
        let rest = dial::read_line(&mut client, &mut line).await?;
        let Some(mut first_up) = session::admit(&line, ticket) else {
            return Ok(None);
        };
        first_up.extend_from_slice(&rest);
        let offer = locked(&self.offer).take_if(|offer| offer.ticket == ticket);
        Ok(offer.map(|Offer { server, .. }| Session {
            client,
            server: server.stream,
            first_up,
            first_down: server.rest,
        }))
    }
}

#[cfg(test)]
mod tests;
