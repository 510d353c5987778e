//! Long replies. PostgreSQL sends 8 KiB at a time, and to wake up for each of them costs several times what it costs to
//! move the bytes. So while much is coming the socket wakes its reader only for much ([`AT_LEAST`]):
//!
//! * inside a message of known length, for what is still to come of it: nothing waits longer than its own message;
//! * in a reply that has been long already, for as much as one read takes; a [`Watch`] looks every [`TICK`] whether
//!   anything was read, so that the end of the reply, or one that comes slowly, waits no longer than that.

use crate::net::buffers::READ_SIZE;
use crate::net::stream::Stream;
use crate::timer;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Smaller reads, in bytes, are of no long reply.
pub const LARGE_READ: usize = 4 * 1024;

/// A wait is worth its system calls from so many bytes.
const WORTH: usize = 32 * 1024;

/// What is waited for at most: somewhat less than a read takes, so that one read empties the socket.
const AT_LEAST: usize = READ_SIZE - 8 * 1024;

/// Bytes after which a reply is long: at half a gigabyte a second, 16 ms, beside which a [`TICK`] or two don't matter.
const LONG: usize = 8 * 1024 * 1024;

/// How long bytes of a long reply may wait for more, once or twice.
const TICK: Duration = Duration::from_millis(1);

/// How the socket of a server is waited for. By itself as ever: for any byte.
#[derive(Debug, Default)]
pub struct Bulk {
    /// Bytes of this reply by large reads.
    moved: usize,
    /// What the socket waits for; 0: anything.
    awaited: usize,
    /// There while it waits for more than the rest of a message.
    watch: Option<Arc<Watch>>,
}

impl Bulk {
    /// Whether there is anything to [end](Self::end).
    #[inline]
    pub fn is_begun(&self) -> bool {
        self.moved != 0
    }

    /// What of the reply to come is waited for, after a read of `read` bytes that ended `rest` bytes before the end of a
    /// message. Begins with one of [`LARGE_READ`]; then for every one. `waker`: the reader's.
    #[cold]
    pub fn go_on(&mut self, read: usize, rest: usize, stream: &Stream, waker: &Waker) {
        self.moved = self.moved.saturating_add(read);
        if let Some(watch) = &self.watch {
            watch.reads.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let wanted = wanted(self.moved, rest);
        if wanted != self.awaited && !stream.wait_for(wanted.max(1)) {
            return;
        }
        self.awaited = wanted;
        self.watch = (self.moved >= LONG).then(|| Watch::begin(waker));
    }

    /// Whether nothing was read for a while though there may be something.
    #[inline]
    pub fn is_stalled(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.state.load(Ordering::Relaxed) != RUNS)
    }

    /// Reads what is there though it is less than was waited for. If that is little, little is waited for from now on.
    #[cold]
    pub fn read_stalled(&mut self, stream: &mut Stream, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let was = self.watch.as_ref().map(|watch| watch.state.swap(RUNS, Ordering::Relaxed));
        let found = stream.read_unasked(into);
        let much = matches!(found, Some(Ok(n)) if n >= WORTH);
        if !much || was == Some(ENDED) {
            self.end(stream);
        }
        found.map_or(Poll::Pending, Poll::Ready)
    }

    /// The reply is over: the socket is waited for as ever.
    #[cold]
    pub fn end(&mut self, stream: &Stream) {
        if self.awaited != 0 {
            stream.wait_for(1);
        }
        *self = Self::default();
    }
}

fn wanted(moved: usize, rest: usize) -> usize {
    match (moved, rest) {
        (LONG.., _) => AT_LEAST,
        (_, WORTH..) => rest.min(AT_LEAST),
        _ => 0,
    }
}

/// The watch looks on.
const RUNS: u8 = 0;
/// It has found that nothing was read, and said so.
const STALLED: u8 = 1;
/// Nobody has listened: the client takes nothing. It looks no more.
const ENDED: u8 = 2;

/// Looks whether a long reply is being read. Runs until what it watches is dropped.
#[derive(Debug)]
struct Watch {
    reads: AtomicU32,
    state: AtomicU8,
    reader: Waker,
}

impl Watch {
    fn begin(reader: &Waker) -> Arc<Self> {
        let watch =
            Arc::new(Self { reads: AtomicU32::new(0), state: AtomicU8::new(RUNS), reader: reader.clone() });
        timer::spawn(keep_looking(Arc::downgrade(&watch)));
        watch
    }

    /// Looks once; returns whether to look again.
    fn look(&self, seen: &mut u32) -> bool {
        if self.state.compare_exchange(STALLED, ENDED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return false;
        }
        let reads = self.reads.load(Ordering::Relaxed);
        if reads == *seen {
            self.state.store(STALLED, Ordering::Relaxed);
            self.reader.wake_by_ref();
        }
        *seen = reads;
        true
    }
}

async fn keep_looking(watch: Weak<Watch>) {
    let mut seen = 0;
    loop {
        timer::sleep(TICK).await;
        let Some(watch) = watch.upgrade() else { return };
        if !watch.look(&mut seen) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for() {
        for (moved, rest, expected) in [
            (8_192, 0, 0),
            (8_192, 500, 0),
            (8_192, WORTH, WORTH),
            (8_192, 10_000_000, AT_LEAST),
            (LONG - 1, 0, 0),
            (LONG, 0, AT_LEAST),
            (LONG, 500, AT_LEAST),
        ] {
            assert_eq!(wanted(moved, rest), expected, "{moved} moved, {rest} to come");
        }
    }

    #[test]
    fn a_watch_speaks_once_and_gives_up() {
        let watch =
            Watch { reads: AtomicU32::new(0), state: AtomicU8::new(RUNS), reader: Waker::noop().clone() };
        let state = || watch.state.load(Ordering::Relaxed);
        let mut seen = 0;
        watch.reads.store(5, Ordering::Relaxed);
        assert!(watch.look(&mut seen) && state() == RUNS);
        assert!(watch.look(&mut seen) && state() == STALLED);
        watch.state.store(RUNS, Ordering::Relaxed);
        assert!(watch.look(&mut seen) && state() == STALLED);
        assert!(!watch.look(&mut seen) && state() == ENDED);
    }
}
