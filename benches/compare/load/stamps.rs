//! What a request spends in the pooler, apart from what its client and the server take to notice that something has come: the load
//! shares a core, and may be woken milliseconds late by a busy or virtual machine. The kernel stamps each segment that arrives
//! (SO_TIMESTAMPNS), so the time between a client's send and the arrival at the server is the pooler's, and so is that of the reply.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;

/// The server's part of each request under way, by its key.
#[derive(Default)]
pub(crate) struct Visits(Mutex<HashMap<u32, Visit>>);

/// When a request came to the server, and when its answer was sent.
#[derive(Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) came: Duration,
    pub(crate) left: Duration,
}

impl Visits {
    pub(crate) fn note(&self, key: u32, visit: Visit) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, visit);
    }

    pub(crate) fn take(&self, key: u32) -> Option<Visit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }
}

/// By the clock of the stamps.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Has the kernel stamp what arrives at this socket from now on.
pub(crate) fn ask_for(socket: &TcpStream) -> io::Result<()> {
    Ok(setsockopt(socket, ReceiveTimestampns, &true)?)
}

/// As `Read::read`, and when the last of it came, if it was stamped.
pub(crate) fn read(socket: &TcpStream, chunk: &mut [u8]) -> io::Result<(usize, Option<Duration>)> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(chunk)];
    let got = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let came = got.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(at) => Some(at.into()),
        _ => None,
    });
    Ok((got.bytes, came))
}
