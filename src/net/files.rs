//! How near the process is to its limit on open files. A new descriptor has the lowest number that is free, so its number tells that
//! at least so many are in use: nothing is counted, and the system is asked for the limit only where it seems to be reached.

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Most descriptors that clients leave to others: servers, and what an operator and pgweir itself need (HTTP, logs, files, commands).
const KEPT: u64 = 64;
/// Where the limit is low, that is so small a part of it.
const PART: u64 = 8;

/// The limit when it was asked for last; 0: not yet.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Whether a client may have this socket that has just been accepted, or too few descriptors would be left for all else.
pub fn has_room_for_client(socket: &impl AsFd) -> bool {
    has_room(socket, kept)
}

/// An error if a server may not have this socket that has just been made: half of what clients leave is left by servers.
///
/// # Errors
/// As if there were no descriptor left at all.
pub fn check_room_for_server(socket: &impl AsFd) -> io::Result<()> {
    if has_room(socket, |limit| kept(limit) / 2) { Ok(()) } else { Err(Errno::MFILE.into()) }
}

/// The limit, asked for anew. `u64::MAX` is none.
pub fn limit() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    LIMIT.store(limit, Relaxed);
    limit
}

/// Descriptors whose table is made beforehand at most: 8 MiB of the kernel's.
const FORESEEN: u64 = 1 << 20;

/// Has the kernel make its table of our descriptors large enough for so many, as far as the limit allows. It grows by itself, to
/// the next power of two; but where several threads share it, the one that needs a larger one is held up until all processors
/// have gone through a grace period: an accept of a crowd's by 10 to 30 ms, and with it every transaction of that worker. Blocks
/// as long itself if it is late.
pub fn make_room(wanted: u64) {
    let highest = wanted.min(limit()).min(FORESEEN).saturating_sub(1);
    if let Ok(highest) = i32::try_from(highest) {
        // The copy is closed at once; the table never shrinks. Where it can't be made, accepts pay as they come.
        let _ = fcntl_dupfd_cloexec(io::stderr(), highest);
    }
}

fn kept(limit: u64) -> u64 {
    KEPT.min(limit / PART)
}

fn has_room(socket: &impl AsFd, kept: impl Fn(u64) -> u64) -> bool {
    let number = u64::try_from(socket.as_fd().as_raw_fd()).unwrap_or(0);
    let leaves = |limit: u64| number < limit.saturating_sub(kept(limit));
    leaves(LIMIT.load(Relaxed)) || leaves(limit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept() {
        assert_eq!([kept(16), kept(100), kept(512), kept(1024), kept(u64::MAX)], [2, 12, 64, 64, 64]);
    }

    #[test]
    fn a_number_below_what_is_kept_has_room() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = u64::try_from(file.as_fd().as_raw_fd()).unwrap();
        let limit = limit();
        assert!(has_room(&file, |_| limit - number - 1));
        assert!(!has_room(&file, |_| limit - number));
    }
}
