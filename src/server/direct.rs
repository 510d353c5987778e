//! TLS that isn't asked for first (`server_tls_sslnegotiation = "direct"`).

use super::connect::{Address, dial};
use super::error::ConnectError;
use crate::net::stream::Stream;
use crate::tls::{ALPN, Channel, Connector, TlsError};
use crate::wire::startup;
use std::io;

/// Begins it. As libpq: what speaks TLS there has to say that it speaks PostgreSQL within, so that nothing else can be talked
/// to by mistake (RFC 9325, 3.8).
pub(super) async fn begin(stream: &mut Stream, connector: &Connector, host: &str) -> io::Result<()> {
    stream.connect_tls(connector, host).await?;
    let agreed = stream.tls().and_then(Channel::alpn) == Some(ALPN);
    if agreed { Ok(()) } else { Err(TlsError::NoAlpn.into()) }
}

/// Whether the server has closed the connection instead of going on: it may take no direct TLS, or be about to stop.
pub(super) fn was_closed(error: &io::Error) -> bool {
    match TlsError::of(error) {
        Some(of_tls) => *of_tls == TlsError::Closed,
        None => matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
    }
}

/// Which of the two: one that is asked for TLS, and answers, takes none that isn't asked for. Nothing else is told to it. Cancel safe.
pub(super) async fn why_closed(address: &Address, error: io::Error) -> ConnectError {
    match ask(address).await {
        Ok(b'S') => ConnectError::Tls(address.to_string(), TlsError::NotDirect.into()),
        Ok(b'N') => ConnectError::NoTls(address.to_string()),
        Ok(_) | Err(_) => ConnectError::Tls(address.to_string(), error),
    }
}

/// The answer to an SSLRequest on a connection of its own.
async fn ask(address: &Address) -> Result<u8, ConnectError> {
    let io = |error| ConnectError::Io(address.to_string(), error);
    let mut stream = dial(address).await?;
    stream.write_all(startup::SSL_REQUEST).await.map_err(io)?;
    let mut answer = Vec::new();
    stream.read_some(&mut answer, 1).await.map_err(io)?;
    answer.first().copied().ok_or_else(|| io(io::ErrorKind::UnexpectedEof.into()))
}
