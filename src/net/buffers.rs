//! One read buffer and one scratch buffer per thread, borrowed only while a socket is being polled, so that an idle
//! client owns none.

use std::cell::RefCell;

/// Bytes read from a socket at once.
pub const READ_SIZE: usize = 16 * 1024;

/// Scratch space kept between uses, in bytes; what a rare large message needed is given back.
const SCRATCH_KEPT: usize = 256 * 1024;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers { read: vec![0; READ_SIZE].into(), scratch: Vec::new() });
}

/// This thread's buffers.
#[derive(Debug)]
pub struct Buffers {
    /// For reading.
    pub read: Box<[u8]>,
    /// For putting together what is to be written.
    pub scratch: Vec<u8>,
}

/// Lends this thread's buffers to `work`.
///
/// # Panics
/// When called within itself: a bug, since nothing that runs inside may poll another session.
#[inline]
pub fn with<R>(work: impl FnOnce(&mut Buffers) -> R) -> R {
    BUFFERS.with_borrow_mut(|buffers| {
        let result = work(buffers);
        if buffers.scratch.capacity() > SCRATCH_KEPT {
            buffers.scratch = Vec::new();
        }
        result
    })
}
