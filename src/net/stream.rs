//! A connected socket of either kind, read and written by polling.

use rustix::net::{RecvFlags, recv};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A TCP or Unix-domain connection, registered with the reactor of the worker that made it and usable from any.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix domain.
    Unix(UnixStream),
}

impl Stream {
    /// Reads at most `into.len()` bytes; 0 is the end of the stream.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(into);
        let read = match self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, &mut buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, &mut buf),
        };
        ready!(read)?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes some of `from`.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, from),
            Self::Unix(s) => Pin::new(s).poll_write(cx, from),
        }
    }

    /// Writes what `pending` holds and removes it; `Ready` when all is gone.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, pending: &mut Vec<u8>) -> Poll<io::Result<()>> {
        while !pending.is_empty() {
            let n = ready!(self.poll_write(cx, pending))?;
            pending.drain(..n);
        }
        *pending = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Writes `bytes` at once as far as the socket takes them; the rest goes behind `pending`, which is sent first.
    #[inline]
    pub fn write_or_keep(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        pending: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut sent = 0;
        if pending.is_empty() {
            while sent < bytes.len() {
                match self.poll_write(cx, &bytes[sent..]) {
                    Poll::Ready(Ok(n)) => sent += n,
                    Poll::Ready(Err(e)) => return Err(e),
                    Poll::Pending => break,
                }
            }
        }
        pending.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// What an idle peer has said: nothing (`None`), or the outcome of a read. Without a system call while its reactor
    /// has seen no event, and without a waker.
    #[inline]
    pub fn probe(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        let read = match self {
            Self::Tcp(s) => s.try_read(into),
            Self::Unix(s) => s.try_read(into),
        };
        match read {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(read),
        }
    }

    /// Waits until the peer has closed the connection. Takes nothing from it; bytes that are there to be read hide the
    /// end behind them, and then this waits for ever. Cancel safe.
    pub async fn hung_up(&self) {
        let mut byte = [0; 1];
        let peeked = match self {
            Self::Tcp(s) => {
                s.async_io(Interest::READABLE, || Ok(recv(s, &mut byte, RecvFlags::PEEK)?.1)).await
            }
            Self::Unix(s) => {
                s.async_io(Interest::READABLE, || Ok(recv(s, &mut byte, RecvFlags::PEEK)?.1)).await
            }
        };
        if peeked.is_ok_and(|n| n > 0) {
            std::future::pending::<()>().await;
        }
    }

    /// Reads some bytes behind what `into` holds. Cancel safe.
    pub async fn read_some(&mut self, into: &mut Vec<u8>, at_most: usize) -> io::Result<usize> {
        let at = into.len();
        into.resize(at + at_most, 0);
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut into[at..])).await;
        into.truncate(at + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// Writes all of `bytes`. Not cancel safe: dropped half way, some bytes are sent.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let n = std::future::poll_fn(|cx| self.poll_write(cx, &bytes[sent..])).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sent += n;
        }
        Ok(())
    }

    /// Says that nothing more will be sent. Errors don't matter: the socket is about to be dropped.
    pub async fn shutdown(&mut self) {
        let _ = std::future::poll_fn(|cx| match self {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
        })
        .await;
    }
}
