//! A connection to a server, as the client would make it: TCP, the server's `INFO`, and TLS where it is wanted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use async_nats::rustls::{ClientConfig, RootCertStore};
use async_nats::{ServerAddr, ServerInfo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::filter::MAX_LINE_BYTES;
use super::info;
use crate::config::TlsSettings;

/// A stream to a server, with TLS or without.
pub(super) trait ServerStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> ServerStream for T {}

/// A server that has been connected to and has sent its `INFO`.
pub(super) struct Dialled {
    /// The stream, with TLS if that was wanted.
    pub(super) stream: Box<dyn ServerStream>,
    /// The server's `INFO`.
    pub(super) info: ServerInfo,
    /// The `INFO` for the client, a whole line.
    pub(super) info_line: Vec<u8>,
    /// Bytes that the server has sent after it.
    pub(super) rest: Vec<u8>,
}

/// The reason why a server could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(in crate::connection) enum DialError {
    /// The server's name does not resolve.
    #[error("its name does not resolve: {0}")]
    Name(#[source] io::Error),
    /// The connection could not be made, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS could not be begun: the certificates do not fit, or the server does not do TLS.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The server did not greet as a NATS server does.
    #[error("it does not greet as a NATS server does: {0:?}")]
    Greeting(String),
    /// There was no answer in time.
    #[error("timed out")]
    TimedOut,
}

/// Connects to a server, with this limit of time for each of its addresses.
///
/// # Errors
/// The reason for the last address.
pub(super) async fn dial(
    server: &ServerAddr,
    tls: &TlsSettings,
    limit: Duration,
) -> Result<Dialled, DialError> {
    let addresses: Vec<_> = server
        .socket_addrs()
        .await
        .map_err(DialError::Name)?
        .collect();
    let no_address = || DialError::Name(io::ErrorKind::NotFound.into());
    let mut last = no_address();
    for address in addresses {
        match timeout(limit, dial_address(address, server, tls)).await {
            Ok(Ok(dialled)) => return Ok(dialled),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = DialError::TimedOut,
        }
    }
    Err(last)
}

async fn dial_address(
    address: SocketAddr,
    server: &ServerAddr,
    tls: &TlsSettings,
) -> Result<Dialled, DialError> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let rest = read_line(&mut stream, &mut buffer).await?;
    let greeting = || DialError::Greeting(shortened(&buffer));
    let json = buffer.strip_prefix(b"INFO ").ok_or_else(greeting)?;
    let (Some(info), Some(info_line)) = (info::parse(json), info::for_client(json)) else {
        return Err(greeting());
    };
    let stream: Box<dyn ServerStream> = if server.tls_required() || info.tls_required {
        // Somebody in between may have put it there, in the hope that it counts as sent with TLS.
        if !rest.is_empty() {
            return Err(DialError::Greeting(shortened(&rest)));
        }
        Box::new(
            begin_tls(stream, server, tls)
                .await
                .map_err(DialError::Tls)?,
        )
    } else {
        Box::new(stream)
    };
    Ok(Dialled {
        stream,
        info,
        info_line,
        rest,
    })
}

/// Reads a line, without its end, into the buffer. Returns what arrived behind it.
///
/// # Errors
/// Of the stream; `UnexpectedEof` before the line is complete, `InvalidData` for one longer than [`MAX_LINE_BYTES`].
pub(super) async fn read_line(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Vec<u8>> {
    let mut searched = 0;
    loop {
        let found = buffer[searched..].windows(2).position(|two| two == b"\r\n");
        if let Some(end) = found.map(|found| searched + found) {
            let rest = buffer.split_off(end + b"\r\n".len());
            buffer.truncate(end);
            return Ok(rest);
        }
        searched = buffer.len().saturating_sub(1);
        if buffer.len() > MAX_LINE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the first line is too long",
            ));
        }
        buffer.reserve(4096);
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The beginning of what a server sent, for an error.
fn shortened(line: &[u8]) -> String {
    let beginning = line.get(..200).unwrap_or(line);
    String::from_utf8_lossy(beginning).into_owned()
}

async fn begin_tls(
    stream: TcpStream,
    server: &ServerAddr,
    tls: &TlsSettings,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tls = tls.clone();
    // The files are read for every connect, so that renewed ones are used without a restart.
    let config = tokio::task::spawn_blocking(move || client_config(&tls)).await??;
    let name = ServerName::try_from(server.host().to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}

/// The settings of TLS, as the client has them: authorities of the file, or else the system's.
fn client_config(tls: &TlsSettings) -> io::Result<ClientConfig> {
    let unreadable = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let certificates = |path| {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)
    };
    let mut roots = RootCertStore::empty();
    if let Some(path) = &tls.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
    } else {
        let system = rustls_native_certs::load_native_certs();
        if let Some(error) = system.errors.into_iter().next() {
            return Err(io::Error::other(error));
        }
        roots.add_parsable_certificates(system.certs);
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
    builder
        .with_client_auth_cert(certificates(cert)?, key)
        .map_err(io::Error::other)
}
