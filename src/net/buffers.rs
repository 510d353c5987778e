//! One read buffer and one scratch buffer per thread, borrowed only while a socket is being polled, so that an idle
//! client owns none.

use std::cell::Cell;

/// Most bytes read from a socket at once.
pub const READ_SIZE: usize = 128 * 1024;

/// Most bytes read from a client that has no server yet or whose bytes have to wait: they are copied then.
pub const HELD_SIZE: usize = 16 * 1024;

/// Scratch space kept between uses, in bytes; what a rare large message needed is given back.
const SCRATCH_KEPT: usize = 256 * 1024;

thread_local! {
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// This thread's buffers.
#[derive(Debug)]
pub struct Buffers {
    /// For reading.
    pub read: Box<[u8]>,
    /// For putting together what is to be written.
    pub scratch: Vec<u8>,
}

/// Lends this thread's buffers; [`Lent`] gives them back. Who asks while they are lent gets new ones, at a price.
#[inline]
pub fn lend() -> Lent {
    Lent(BUFFERS.take().or_else(|| Some(make())))
}

#[cold]
fn make() -> Box<Buffers> {
    Box::new(Buffers { read: vec![0; READ_SIZE].into(), scratch: Vec::new() })
}

/// The thread's buffers, given back when dropped.
#[derive(Debug)]
pub struct Lent(Option<Box<Buffers>>);

impl Lent {
    /// The buffers.
    #[inline]
    pub fn get(&mut self) -> &mut Buffers {
        self.0.get_or_insert_with(make)
    }
}

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        if let Some(buffers) = &mut self.0
            && buffers.scratch.capacity() > SCRATCH_KEPT
        {
            buffers.scratch = Vec::new();
        }
        BUFFERS.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_but_for_a_large_scratch() {
        let mut lent = lend();
        let read = lent.get().read.as_ptr();
        lent.get().scratch.reserve(SCRATCH_KEPT + 1);
        assert_ne!(lend().get().read.as_ptr(), read);
        drop(lent);
        assert_eq!((lend().get().read.as_ptr(), lend().get().scratch.capacity()), (read, 0));
    }
}
