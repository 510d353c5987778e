//! A connected socket of either kind, read and written by polling, without encryption.

use super::kept::Kept;
use super::worker;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::{self, coop};

/// A TCP or Unix-domain connection, registered with the reactor of the runtime that it was made in.
///
/// A read or write first tries the socket and registers a waker only if it isn't ready. Nothing here consumes the
/// runtime's cooperative budget but an empty-handed read: who loops over a busy socket has to bound its rounds.
#[derive(Debug)]
pub(super) struct Socket {
    /// Of either kind: Tokio is only asked for readiness, which is the same for both.
    socket: TcpStream,
    /// Whose waker the reactor was given for the next bytes: the waker's data pointer, 0 for nobody's. The reactor's clone of
    /// the waker keeps the pointer from being reused.
    awaited_by: usize,
}

impl Socket {
    /// Registers a connected, non-blocking socket with the reactor of the runtime this is called in. It is to be polled in
    /// that runtime only.
    pub(super) fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = std::net::TcpStream::from(socket.into());
        Ok(Self { socket: TcpStream::from_std(socket)?, awaited_by: 0 })
    }

    /// Reads at most `into.len()` bytes; 0 is the end of the stream.
    #[inline(always)]
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.awaited_by == cx.waker().data() as usize {
            match self.probe(into) {
                Some(read) => return Poll::Ready(read),
                // The only worker makes a socket readable and takes its waker with nothing in between, so while the socket
                // isn't readable the waker is in place; of several, another may just have taken it. A probe that found the
                // socket empty against the reactor's word has cleared it: then nobody is awaited.
                None if worker::is_alone() && self.awaited_by != 0 => return Poll::Pending,
                None => {}
            }
        }
        loop {
            if !self.is_readable(cx)? {
                return Poll::Pending;
            }
            if let Some(read) = self.probe(into) {
                return Poll::Ready(read);
            }
        }
    }

    /// Whether it is readable; if not, it wakes when it is.
    fn is_readable(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        // Without budget left, `Pending` means "later", and nothing is registered.
        let registers = coop::has_budget_remaining();
        match self.socket.poll_read_ready(cx) {
            Poll::Ready(ready) => ready.map(|()| true),
            Poll::Pending => {
                self.awaited_by = if registers { cx.waker().data() as usize } else { 0 };
                Ok(false)
            }
        }
    }

    /// What the peer has sent: nothing (`None`), or the outcome of a read. Without a system call while the reactor has seen
    /// no event, and without a waker.
    #[inline(always)]
    pub(super) fn probe(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        let mut read = None;
        let (fd, awaited_by) = (&self.socket, &mut self.awaited_by);
        let tried = fd.try_io(Interest::READABLE, || {
            *awaited_by = 0;
            let n = retry(|| recv(fd, &mut *into, RecvFlags::empty()).map(|(n, _)| n))?;
            read = Some(n);
            drained(n, into.len())
        });
        outcome(tried, read)
    }

    /// What the peer has sent, whatever the reactor has seen. A system call, no waker.
    pub(super) fn read_unasked(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        match retry(|| recv(&self.socket, &mut *into, RecvFlags::empty()).map(|(n, _)| n)) {
            Err(Errno::AGAIN) => None,
            read => Some(read.map_err(io::Error::from)),
        }
    }

    /// Whether the reactor has seen nothing to read. No system call.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.socket.try_io(Interest::READABLE, || Ok(())).is_err()
    }

    /// Writes some of `from`.
    #[inline(always)]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut sent = None;
            let tried = self.socket.try_io(Interest::WRITABLE, || {
                let n = retry(|| send(&self.socket, from, SendFlags::NOSIGNAL))?;
                sent = Some(n);
                drained(n, from.len())
            });
            if let Some(sent) = outcome(tried, sent) {
                return Poll::Ready(sent);
            }
            ready!(self.socket.poll_write_ready(cx))?;
        }
    }

    /// Writes what `pending` holds and removes it; `Ready` when all is gone.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, pending: &mut Kept) -> Poll<io::Result<()>> {
        while !pending.is_empty() {
            let n = ready!(self.poll_write(cx, pending))?;
            pending.drop_front(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes `bytes` at once as far as the socket takes them; the rest goes behind `pending`, which is sent first.
    #[inline(always)]
    pub(super) fn write_or_keep(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        pending: &mut Kept,
    ) -> io::Result<()> {
        let mut sent = 0;
        if pending.is_empty() {
            while sent < bytes.len() {
                match self.poll_write(cx, &bytes[sent..]) {
                    Poll::Ready(n) => sent += n?,
                    Poll::Pending => break,
                }
            }
        }
        if sent < bytes.len() {
            pending.extend_from_slice(&bytes[sent..]);
        }
        Ok(())
    }

    /// Waits until the peer has closed the connection. Takes nothing from it; bytes that are there to be read hide the
    /// end behind them, and then this waits for ever. Cancel safe.
    pub(super) async fn hung_up(&mut self) {
        self.awaited_by = 0;
        let mut byte = [0; 1];
        let peek = || Ok(recv(&self.socket, &mut byte, RecvFlags::PEEK)?.1);
        if self.socket.async_io(Interest::READABLE, peek).await.is_ok_and(|n| n > 0) {
            std::future::pending::<()>().await;
        }
    }

    /// Sends what the socket takes at once; the rest, and errors, don't matter.
    pub(super) fn try_write(&self, bytes: &[u8]) {
        let _ = send(&self.socket, bytes, SendFlags::NOSIGNAL);
    }

    /// Says that nothing more will be sent. Errors don't matter: the socket is about to be dropped.
    pub(super) fn shutdown(&mut self) {
        let _ = shutdown(&self.socket, Shutdown::Write);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Has the task polled again after all others that are ready, and after the reactor has looked for new ones. A plain wake
/// would let a task that always finds work keep the reactor from looking for dozens of turns.
#[cold]
#[inline(never)]
pub fn yield_to_others(cx: &mut Context<'_>) {
    let _ = pin!(task::yield_now()).poll(cx);
}

/// The outcome of an attempt at a socket that may not be ready; a short read or write has one though it ends readiness.
#[inline]
fn outcome(tried: io::Result<()>, moved: Option<usize>) -> Option<io::Result<usize>> {
    match (moved, tried) {
        (Some(n), tried) => {
            // At most a bare error kind, and the check whether it is one costs more than all the rest here.
            std::mem::forget(tried);
            Some(Ok(n))
        }
        (None, Err(e)) if e.kind() == io::ErrorKind::WouldBlock => {
            std::mem::forget(e);
            None
        }
        (None, Err(e)) => Some(Err(e)),
        (None, Ok(())) => None,
    }
}

/// Fewer bytes than asked for mean that the socket isn't ready any more; said so, the next attempt saves a system call.
#[inline]
fn drained(moved: usize, asked: usize) -> io::Result<()> {
    if 0 < moved && moved < asked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

#[inline]
fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn a_busy_task_does_not_keep_the_reactor_from_looking() {
        let (mut far, near) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        near.set_nonblocking(true).expect("a non-blocking socket");
        let mut near = Socket::new(near).expect("a registered socket");
        let heard = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&heard);
        let listener = tokio::spawn(async move {
            let n = poll_fn(|cx| near.poll_read(cx, &mut [0])).await.expect("a byte");
            told.store(n == 1, Ordering::Relaxed);
        });
        task::yield_now().await;
        far.write_all(b"x").expect("room for a byte");
        let mut turns = 0;
        let busy = poll_fn(move |cx| {
            if heard.load(Ordering::Relaxed) {
                return Poll::Ready(turns);
            }
            turns += 1;
            yield_to_others(cx);
            Poll::Pending
        });
        assert!(tokio::spawn(busy).await.expect("no panic") <= 4);
        listener.await.expect("no panic");
    }
}
