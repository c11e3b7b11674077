//! One connection through the relay, from the client's `CONNECT` to the end.

use std::io;
use std::pin::pin;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::ServerStream;
use super::filter::{Filter, Unfollowable};
use super::malformed::Malformed;
use crate::random::Token;

/// The bytes of each way's buffer.
const BUFFER_BYTES: usize = 64 * 1024;

/// The time that one side has to read on when the other has closed.
const LINGER: Duration = Duration::from_secs(1);

/// The end of a connection, as far as the client cannot know it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    /// The client has closed the connection.
    #[error("the client closed the connection")]
    Client,
    /// The server has closed the connection.
    #[error("the server closed the connection")]
    Server,
    /// The connection to the server broke.
    #[error("{0}")]
    Broken(#[source] io::Error),
    /// The server's stream cannot be followed any further.
    #[error(transparent)]
    Unfollowable(#[from] Unfollowable),
}

/// Both ends of a connection, and what is to be passed on first.
pub(super) struct Session {
    /// The client's end.
    pub(super) client: TcpStream,
    /// The server's end.
    pub(super) server: Box<dyn ServerStream>,
    /// Bytes for the server: the client's `CONNECT`, and what came behind it.
    pub(super) first_up: Vec<u8>,
    /// Bytes for the client, to be filtered: what came behind the server's `INFO`.
    pub(super) first_down: Vec<u8>,
}

/// Takes the ticket out of a client's `CONNECT`, where it stands before the token if there is one.
///
/// `None` if the line is no `CONNECT` with this ticket.
pub(super) fn admit(line: &[u8], ticket: Token) -> Option<Vec<u8>> {
    let json = line.strip_prefix(b"CONNECT ")?;
    let mut options: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let ticket = ticket.to_string();
    let token = options.get("auth_token")?.as_str()?;
    let token = Value::from(token.strip_prefix(&ticket)?);
    options.remove("auth_token");
    if token != "" {
        options.insert("auth_token".to_owned(), token);
    }
    let mut line = b"CONNECT ".to_vec();
    serde_json::to_writer(&mut line, &options).ok()?;
    line.extend_from_slice(b"\r\n");
    Some(line)
}

impl Session {
    /// Passes bytes on in both directions until one side ends. Who ended it is said before the client can notice.
    pub(super) async fn run(
        self,
        report: &mut (dyn FnMut(Malformed<'_>) + Send),
        ended: impl FnOnce(&SessionEnd),
    ) {
        let (mut from_client, mut to_client) = self.client.into_split();
        let (mut from_server, mut to_server) = split(self.server);
        let end = {
            let upstream = pass_up(self.first_up, &mut from_client, &mut to_server);
            let downstream = pass_down(self.first_down, &mut from_server, &mut to_client, report);
            let (mut upstream, mut downstream) = (pin!(upstream), pin!(downstream));
            tokio::select! {
                biased;
                end = &mut downstream => end,
                end = &mut upstream => match end {
                    SessionEnd::Client => return,
                    // The server may have said why before it closed.
                    _ => match timeout(LINGER, &mut downstream).await {
                        Ok(SessionEnd::Server) | Err(_) => end,
                        Ok(other) => other,
                    },
                },
            }
        };
        ended(&end);
        // A close while there is something to be read would throw away what was just written.
        if to_client.shutdown().await.is_ok() {
            let mut nowhere = tokio::io::sink();
            let read_on = tokio::io::copy(&mut from_client, &mut nowhere);
            // If the client does not close, it is not waited for.
            let _ = timeout(LINGER, read_on).await;
        }
    }
}

/// Passes the client's bytes on as they are.
async fn pass_up(
    first: Vec<u8>,
    client: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
) -> SessionEnd {
    let done: io::Result<()> = async {
        server.write_all(&first).await?;
        server.flush().await?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            // Whatever ends it, nothing more comes from there.
            let read = client.read(&mut buffer).await.unwrap_or_default();
            if read == 0 {
                return server.shutdown().await;
            }
            server.write_all(&buffer[..read]).await?;
            server.flush().await?;
        }
    }
    .await;
    done.map_or_else(SessionEnd::Broken, |()| SessionEnd::Client)
}

/// Passes the server's bytes on through the filter.
async fn pass_down(
    first: Vec<u8>,
    server: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    report: &mut (dyn FnMut(Malformed<'_>) + Send),
) -> SessionEnd {
    let mut filter = Filter::default();
    let mut buffer = first;
    let mut read = buffer.len();
    buffer.resize(BUFFER_BYTES.max(read), 0);
    let mut filtered = Vec::with_capacity(2 * BUFFER_BYTES);
    loop {
        let followed = filter.push(&buffer[..read], &mut filtered, report);
        if client.write_all(&filtered).await.is_err() {
            return SessionEnd::Client;
        }
        filtered.clear();
        if let Err(error) = followed {
            return error.into();
        }
        read = match server.read(&mut buffer).await {
            Ok(0) => return SessionEnd::Server,
            Ok(read) => read,
            Err(error) => return SessionEnd::Broken(error),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_taken_out_and_the_token_behind_it_stays() {
        let ticket = Token::new();
        let admitted = |token: Value| {
            let connect = serde_json::json!({ "name": "wharf", "auth_token": token, "echo": true });
            let line = admit(format!("CONNECT {connect}").as_bytes(), ticket)?;
            let line = line.strip_prefix(b"CONNECT ")?.strip_suffix(b"\r\n")?;
            serde_json::from_slice::<Value>(line).ok()
        };
        let without = serde_json::json!({ "name": "wharf", "echo": true });
        assert_eq!(admitted(Value::from(ticket.to_string())), Some(without));
        let with = admitted(Value::from(format!("{ticket}s3cret"))).expect("admitted");
        assert_eq!(with["auth_token"], "s3cret");
        for refused in [
            Value::Null,
            Value::from(""),
            Value::from(7),
            Value::from(Token::new().to_string()),
            Value::from(format!("s3cret{ticket}")),
        ] {
            assert_eq!(admitted(refused.clone()), None, "{refused}");
        }
        for line in ["", "PING", "CONNECT", "CONNECT {}", "CONNECT []"] {
            assert_eq!(admit(line.as_bytes(), ticket), None, "{line}");
        }
    }
}
