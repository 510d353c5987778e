//! A connection to a client or a server: a bare socket, or one with TLS around it.

use super::aside::Aside;
use super::kept::Kept;
use super::low_water;
use super::secured::Secured;
use super::socket::Socket;
pub use super::socket::yield_to_others;
use crate::tls::{Acceptor, Channel, Connector};
use crate::wire::tag::frontend::TERMINATE;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{getpeername, getsockname};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// A TCP or Unix-domain connection, registered with the reactor of the runtime that it was made in.
///
/// A read or write first tries the socket and registers a waker only if it isn't ready. Nothing here consumes the
/// runtime's cooperative budget but an empty-handed read: who loops over a busy socket has to bound its rounds.
#[derive(Debug)]
pub struct Stream(Kind);

/// As large as a bare socket: the others lie in its gaps.
#[derive(Debug)]
enum Kind {
    Plain(Socket),
    Secured(Box<Secured>),
    /// A TLS handshake failed, or was given up.
    Broken,
}

impl Stream {
    /// Registers a connected, non-blocking socket with the reactor of the runtime this is called in. It is to be polled in
    /// that runtime only.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Ok(Self(Kind::Plain(Socket::new(socket)?)))
    }

    /// Begins TLS with a server that has agreed to it. Not cancel safe: dropped, or failed, the connection is of no more use.
    pub async fn connect_tls(&mut self, connector: &Connector, host: &str) -> io::Result<()> {
        let channel = Box::new(connector.channel(host)?);
        let socket = self.take_socket()?;
        self.0 = Kind::Secured(Box::new(Secured::connect(socket, channel).await?));
        Ok(())
    }

    /// Begins TLS with a client that wants it and has sent `more` of its handshake already. What makes the CPU hot is done
    /// aside. Not cancel safe: dropped, or failed, the connection is of no more use.
    pub async fn accept_tls(&mut self, acceptor: &Acceptor, more: Vec<u8>, aside: &Aside) -> io::Result<()> {
        let channel = Box::new(acceptor.channel()?);
        let socket = self.take_socket()?;
        self.0 = Kind::Secured(Box::new(
            Secured::accept(socket, channel, more, (aside, acceptor.verifies())).await?,
        ));
        Ok(())
    }

    fn take_socket(&mut self) -> io::Result<Socket> {
        match std::mem::replace(&mut self.0, Kind::Broken) {
            Kind::Plain(socket) => Ok(socket),
            Kind::Secured(_) | Kind::Broken => Err(broken()),
        }
    }

    /// What is known of the other side by TLS, if it is there.
    pub fn tls(&self) -> Option<&Channel> {
        match &self.0 {
            Kind::Secured(secured) => Some(secured.channel()),
            Kind::Plain(_) | Kind::Broken => None,
        }
    }

    /// Reads at most `into.len()` bytes; 0 is the end of the stream.
    #[inline(always)]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.poll_read(cx, into),
            Kind::Secured(secured) => secured.poll_read(cx, into),
            Kind::Broken => Poll::Ready(Err(broken())),
        }
    }

    /// What the peer has sent: nothing (`None`), or the outcome of a read. Without a system call while the reactor has seen
    /// no event, and without a waker.
    #[inline]
    pub fn probe(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.probe(into),
            Kind::Secured(secured) => secured.probe(into),
            Kind::Broken => Some(Err(broken())),
        }
    }

    /// From now on its reader is woken for at least so many bytes, or the end of the stream; if they are there, or come to
    /// be enough by this, at once. Whether it was done: not with TLS, and not by old systems.
    pub fn wait_for(&self, bytes: usize) -> bool {
        matches!(&self.0, Kind::Plain(socket) if low_water::set(socket, bytes))
    }

    /// Like [`Self::probe`], but with a system call: finds also what the reader hasn't been woken for.
    pub fn read_unasked(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.read_unasked(into),
            Kind::Secured(_) | Kind::Broken => self.probe(into),
        }
    }

    /// Whether the reactor has seen nothing to read. No system call.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        match &self.0 {
            Kind::Plain(socket) => socket.is_quiet(),
            Kind::Secured(secured) => secured.is_quiet(),
            Kind::Broken => false,
        }
    }

    /// Writes what `pending` holds and removes it; `Ready` when all is gone. Only [`Self::write_or_keep`] and [`Self::keep`]
    /// put anything there: it is encrypted.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, pending: &mut Kept) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.poll_drain(cx, pending),
            Kind::Secured(secured) => secured.socket().poll_drain(cx, pending),
            Kind::Broken => Poll::Ready(Err(broken())),
        }
    }

    /// Writes `bytes` at once as far as the socket takes them; the rest goes behind `pending`, which is sent first.
    #[inline(always)]
    pub fn write_or_keep(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        pending: &mut Kept,
    ) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.write_or_keep(cx, bytes, pending),
            Kind::Secured(secured) => secured.write_or_keep(cx, bytes, pending),
            Kind::Broken => Err(broken()),
        }
    }

    /// Puts `bytes` behind `pending`, to be drained.
    pub fn keep(&mut self, bytes: &[u8], pending: &mut Kept) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(_) => pending.extend_from_slice(bytes),
            Kind::Secured(secured) => secured.keep(bytes, pending)?,
            Kind::Broken => return Err(broken()),
        }
        Ok(())
    }

    /// Waits until the peer has closed the connection. Bytes that are there to be read are left to be read, and hide the
    /// end behind them: then this waits for ever. Cancel safe.
    pub async fn hung_up(&mut self) {
        match &mut self.0 {
            Kind::Plain(socket) => socket.hung_up().await,
            Kind::Secured(secured) => secured.hung_up().await,
            Kind::Broken => {}
        }
    }

    /// Waits until the peer has closed the connection, or says Terminate next. `input` begins with a message, if with
    /// anything; what comes meanwhile is kept behind it, up to `at_most` bytes: beyond them the end is hidden, and this
    /// waits for ever. Cancel safe.
    pub async fn left(&mut self, input: &mut Vec<u8>, at_most: usize) {
        while input.first() != Some(&TERMINATE) {
            if input.len() >= at_most {
                return std::future::pending().await;
            }
            if !self.read_some(input, 1024).await.is_ok_and(|n| n > 0) {
                return;
            }
        }
    }

    /// Reads some bytes behind what `into` holds. Cancel safe.
    pub async fn read_some(&mut self, into: &mut Vec<u8>, at_most: usize) -> io::Result<usize> {
        poll_fn(|cx| {
            let at = into.len();
            into.resize(at + at_most, 0);
            let read = self.poll_read(cx, &mut into[at..]);
            let size = if let Poll::Ready(Ok(size)) = read { size } else { 0 };
            into.truncate(at + size);
            read
        })
        .await
    }

    /// Wipes what the thread has decrypted last, for who has just read a secret. To be called before anything else is waited for.
    pub fn wipe_what_passed(&self) {
        if let Kind::Secured(_) = self.0 {
            super::secured::wipe();
        }
    }

    /// Writes all of `bytes`. Not cancel safe: dropped half way, some bytes are sent.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut pending = Kept::default();
        poll_fn(|cx| Poll::Ready(self.write_or_keep(cx, bytes, &mut pending))).await?;
        self.drain(pending).await
    }

    /// Writes all that is `pending`. Not cancel safe: dropped half way, some bytes are sent.
    pub async fn drain(&mut self, mut pending: Kept) -> io::Result<()> {
        poll_fn(|cx| self.poll_drain(cx, &mut pending)).await
    }

    /// This end of a TCP connection.
    pub fn local_address(&self) -> Option<SocketAddr> {
        getsockname(self.socket()?).ok().and_then(|address| address.try_into().ok())
    }

    /// That end of a TCP connection.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        getpeername(self.socket()?).ok().flatten().and_then(|address| address.try_into().ok())
    }

    /// Says that nothing more will be sent. Errors don't matter: the socket is about to be dropped.
    pub fn shutdown(&mut self) {
        match &mut self.0 {
            Kind::Plain(socket) => socket.shutdown(),
            Kind::Secured(secured) => secured.shutdown(),
            Kind::Broken => {}
        }
    }
}

#[cold]
fn broken() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Stream {
    /// The socket, for its options.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Kind::Plain(socket) => Some(socket.as_fd()),
            Kind::Secured(secured) => Some(secured.as_fd()),
            Kind::Broken => None,
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_costs_a_plain_connection_no_byte() {
        assert_eq!(size_of::<Stream>(), size_of::<Socket>());
    }
}
