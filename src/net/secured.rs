//! A socket with TLS around it. What rustls has decrypted is always looked for before the socket, so a reader that is not
//! told "pending" has not missed anything; what is encrypted is sent or in the caller's hands, never held here.

use super::aside::Aside;
use super::kept::Kept;
use super::socket::Socket;
use crate::tls::channel::Progress;
use crate::tls::{Channel, TlsError};
use rustix::fd::{AsFd, BorrowedFd};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use zeroize::Zeroize as _;

/// Most ciphertext read at once, in bytes; a record and what is held of one always fit.
const READ: usize = 160 * 1024;
/// Most plaintext encrypted at once, in bytes.
const WRITE: usize = 64 * 1024;
/// What records add to so much plaintext as is asked for, so that a read brings about as much.
const AROUND: usize = 512;
/// Most bytes read at once in a handshake.
const FLIGHT: usize = 16 * 1024;

thread_local! {
    /// Ciphertext in passing, of whichever connection is being polled.
    static CIPHER: RefCell<Cipher> = const { RefCell::new(Cipher { read: Vec::new(), write: Vec::new() }) };
}

/// Room, not contents: their lengths only grow.
struct Cipher {
    read: Vec<u8>,
    write: Vec<u8>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Secured {
    socket: Socket,
    channel: Box<Channel>,
}

impl Secured {
    /// The handshake of a client.
    pub(super) async fn connect(mut socket: Socket, mut channel: Box<Channel>) -> io::Result<Self> {
        let mut more = Vec::new();
        loop {
            let progress = channel.shake_hands(&more);
            match progress {
                // What is left to be said goes with the first plaintext.
                Ok(Progress::Done) => return Ok(Self { socket, channel }),
                Ok(Progress::Waits) => send(&mut socket, &channel.take_control()).await?,
                Err(error) => return Err(give_up(&mut socket, &mut channel, error).await),
            }
            receive(&mut socket, &mut more).await?;
        }
    }

    /// The handshake of a server; the client has sent `more` of it already. What makes the CPU hot is done aside.
    pub(super) async fn accept(
        mut socket: Socket,
        channel: Box<Channel>,
        mut more: Vec<u8>,
        (aside, verifies): (&Aside, bool),
    ) -> io::Result<Self> {
        let mut hello = Vec::new();
        while channel.is_begun_only(&more) {
            receive(&mut socket, &mut hello).await?;
            more.reserve_exact(hello.len());
            more.append(&mut hello);
        }
        let (mut channel, mut progress) = take_step(channel, more, aside).await?;
        loop {
            match progress {
                // TLS 1.3 has only a ticket left to be sent. It could wait for the first plaintext, but a client that leaves
                // Nagle's algorithm on would wait 40 ms for its acknowledgement before it sends its StartupMessage.
                Ok(Progress::Done) => {
                    send(&mut socket, &channel.take_control()).await?;
                    return Ok(Self { socket, channel });
                }
                Ok(Progress::Waits) => send(&mut socket, &channel.take_control()).await?,
                Err(error) => return Err(give_up(&mut socket, &mut channel, error).await),
            }
            receive(&mut socket, &mut hello).await?;
            if verifies || !channel.is_hard_at_first_only() {
                (channel, progress) = take_step(channel, std::mem::take(&mut hello), aside).await?;
            } else {
                progress = channel.shake_hands(&hello);
            }
        }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// As [`super::stream::Stream::poll_read`].
    #[inline(never)]
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(n) = self.take_held(into)? {
            return Poll::Ready(Ok(n));
        }
        CIPHER.with_borrow_mut(|cipher| {
            loop {
                let (held, room) = self.make_room(cipher, into.len());
                let polled = self.socket.poll_read(cx, &mut cipher.read[held..room]);
                let n = match polled {
                    Poll::Ready(Ok(n)) => n,
                    other => {
                        self.channel.hold_incoming(&cipher.read[..held]);
                        return other;
                    }
                };
                if let Some(read) = self.decrypt(&mut cipher.read[..held + n], n, into)? {
                    return Poll::Ready(Ok(read));
                }
            }
        })
    }

    /// As [`super::stream::Stream::probe`].
    pub(super) fn probe(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        match self.take_held(into) {
            Ok(None) => {}
            Ok(Some(n)) => return Some(Ok(n)),
            Err(e) => return Some(Err(e)),
        }
        CIPHER.with_borrow_mut(|cipher| {
            loop {
                let (held, room) = self.make_room(cipher, into.len());
                let n = match self.socket.probe(&mut cipher.read[held..room]) {
                    Some(Ok(n)) => n,
                    other => {
                        self.channel.hold_incoming(&cipher.read[..held]);
                        return other;
                    }
                };
                match self.decrypt(&mut cipher.read[..held + n], n, into) {
                    Ok(None) => {}
                    Ok(Some(read)) => return Some(Ok(read)),
                    Err(e) => return Some(Err(e)),
                }
            }
        })
    }

    /// What can be had without the socket: nothing (`None`), or the outcome of a read.
    fn take_held(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        if self.channel.holds_plain() {
            return Ok(Some(self.channel.take_plain(into)));
        }
        if self.channel.has_record_with(&[]) {
            let read = CIPHER.with_borrow_mut(|cipher| {
                let held = self.channel.take_incoming(&mut cipher.read);
                self.channel.open(&mut cipher.read[..held], into)
            })?;
            if read > 0 {
                return Ok(Some(read));
            }
        }
        Ok(self.channel.has_ended().then_some(0))
    }

    /// Puts what is held to the front of the room for reading; returns its length, and how much to fill.
    fn make_room(&mut self, cipher: &mut Cipher, wanted: usize) -> (usize, usize) {
        grow(&mut cipher.read);
        let held = self.channel.take_incoming(&mut cipher.read);
        (held, cipher.read.len().min(held + wanted + AROUND))
    }

    /// The plaintext of `bytes`, of which the last `n` have just been read; `None`: more is needed for any.
    fn decrypt(&mut self, bytes: &mut [u8], n: usize, into: &mut [u8]) -> io::Result<Option<usize>> {
        if n == 0 {
            return Ok(Some(0));
        }
        let read = self.channel.open(bytes, into)?;
        Ok((read > 0 || self.channel.has_ended()).then_some(read))
    }

    /// As [`super::stream::Stream::is_quiet`].
    pub(super) fn is_quiet(&self) -> bool {
        !self.channel.holds() && !self.channel.has_ended() && self.socket.is_quiet()
    }

    /// As [`super::stream::Stream::write_or_keep`].
    #[inline(never)]
    pub(super) fn write_or_keep(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        pending: &mut Kept,
    ) -> io::Result<()> {
        CIPHER.with_borrow_mut(|Cipher { write, .. }| {
            for chunk in bytes.chunks(WRITE) {
                let n = self.channel.seal(chunk, write)?;
                self.socket.write_or_keep(cx, &write[..n], pending)?;
            }
            Ok(())
        })
    }

    /// As [`super::stream::Stream::keep`].
    pub(super) fn keep(&mut self, bytes: &[u8], pending: &mut Kept) -> io::Result<()> {
        CIPHER.with_borrow_mut(|Cipher { write, .. }| {
            for chunk in bytes.chunks(WRITE) {
                let n = self.channel.seal(chunk, write)?;
                pending.extend_from_slice(&write[..n]);
            }
            Ok(())
        })
    }

    /// As [`super::stream::Stream::hung_up`]. TLS says goodbye in bytes, so they have to be looked into.
    pub(super) async fn hung_up(&mut self) {
        poll_fn(|cx| {
            if self.channel.holds_plain() {
                return Poll::Pending;
            }
            let mut byte = [0];
            if let Ok(1) = ready!(self.poll_read(cx, &mut byte)) {
                self.channel.put_back(&byte);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// As [`super::stream::Stream::shutdown`], with TLS's own goodbye in front, if there is room for it.
    pub(super) fn shutdown(&mut self) {
        let mut goodbye = Vec::new();
        self.channel.say_goodbye(&mut goodbye);
        self.socket.try_write(&goodbye);
        self.socket.shutdown();
    }
}

impl AsFd for Secured {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A step of a server's handshake that is much work: a signature and a key exchange, up to a millisecond with RSA, or the
/// verification of a client's certificates.
async fn take_step(
    mut channel: Box<Channel>,
    more: Vec<u8>,
    aside: &Aside,
) -> io::Result<(Box<Channel>, Result<Progress, TlsError>)> {
    let step = aside.run(move || {
        let progress = channel.shake_hands(&more);
        (channel, progress)
    });
    step.await
}

async fn send(socket: &mut Socket, bytes: &[u8]) -> io::Result<()> {
    let mut pending = Kept::default();
    poll_fn(|cx| Poll::Ready(socket.write_or_keep(cx, bytes, &mut pending))).await?;
    poll_fn(|cx| socket.poll_drain(cx, &mut pending)).await
}

/// Reads what there is into `more`, in place of what it held. Nothing is held meanwhile.
async fn receive(socket: &mut Socket, more: &mut Vec<u8>) -> io::Result<()> {
    *more = Vec::new();
    poll_fn(|cx| {
        CIPHER.with_borrow_mut(|Cipher { read, .. }| {
            grow(read);
            let n = ready!(socket.poll_read(cx, &mut read[..FLIGHT]))?;
            *more = read[..n].to_vec();
            Poll::Ready(if n == 0 { Err(TlsError::Closed.into()) } else { Ok(()) })
        })
    })
    .await
}

/// Wipes what the thread has read last, which is in clear by now, however much of it there may have been while nobody is logged in.
/// To be called before anything else is waited for.
pub(super) fn wipe() {
    CIPHER.with_borrow_mut(|Cipher { read, .. }| {
        let some = read.len().min(FLIGHT + 2 * AROUND);
        read[..some].zeroize();
    });
}

/// Makes the room for reading, once for each thread.
fn grow(read: &mut Vec<u8>) {
    if read.is_empty() {
        read.resize(READ, 0);
    }
}

/// Tells the other side why there is no TLS, if it takes the message at once.
async fn give_up(socket: &mut Socket, channel: &mut Channel, error: TlsError) -> io::Error {
    socket.try_write(&channel.take_control());
    socket.shutdown();
    error.into()
}
