//! One HTTP request to a running pgweir.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);
/// More than ten thousand pools take.
const LARGEST: u64 = 64 << 20;

/// The body of the answer.
///
/// # Errors
/// Nobody answers there, or with something else than 200.
pub(super) fn get(address: &str, path: &str) -> io::Result<String> {
    let address = address.strip_prefix("http://").unwrap_or(address).split('/').next().unwrap_or_default();
    let no_address = || io::Error::new(io::ErrorKind::InvalidInput, "no such address");
    let at = address.to_socket_addrs()?.next().ok_or_else(no_address)?;
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if head.split(' ').nth(1) == Some("200") {
        return Ok(body.to_owned());
    }
    let status = head.lines().next().unwrap_or_default();
    Err(io::Error::other(format!("it answers {status:?}: is that pgweir's metrics address?")))
}
