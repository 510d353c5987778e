//! The longest run of whole messages that needs no decision, and why it stopped.

use super::error::WireError;
use super::frame::{self, Header};
use super::tag::{backend as b, frontend as f};

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// At a message somebody has to look at; it starts where the run ends.
    Decision(Header),
    /// The bytes are used up; the last message of the run has this many bytes still to come (0: none begun).
    Through(usize),
    /// Fewer than five bytes of the next message are there.
    Split,
}

/// Scans what a server sent: rows and COPY data need no decision.
#[inline]
pub fn backend(bytes: &[u8], from: usize) -> Result<(usize, Stop), WireError> {
    run(bytes, from, |tag| matches!(tag, b::DATA_ROW | b::COPY_DATA))
}

/// Scans what a client sent: only COPY data needs no decision.
#[inline]
pub fn frontend(bytes: &[u8], from: usize) -> Result<(usize, Stop), WireError> {
    run(bytes, from, |tag| tag == f::COPY_DATA)
}

#[inline]
fn run(bytes: &[u8], mut at: usize, passes: impl Fn(u8) -> bool) -> Result<(usize, Stop), WireError> {
    loop {
        let Some(header) = frame::header(&bytes[at..])? else {
            let stop = if at == bytes.len() { Stop::Through(0) } else { Stop::Split };
            return Ok((at, stop));
        };
        if !passes(header.tag) {
            return Ok((at, Stop::Decision(header)));
        }
        let left = bytes.len() - at;
        if header.size >= left {
            return Ok((bytes.len(), Stop::Through(header.size - left)));
        }
        at += header.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: usize) -> Vec<u8> {
        let mut m = vec![tag];
        m.extend_from_slice(&(body as u32 + 4).to_be_bytes());
        m.resize(body + 5, b'x');
        m
    }

    #[test]
    fn stops_where_it_should() {
        let rows = [message(b'D', 3), message(b'D', 0)].concat();
        assert_eq!(backend(&rows, 0), Ok((13, Stop::Through(0))));
        let ready = [rows.clone(), message(b'Z', 1)].concat();
        assert_eq!(backend(&ready, 0), Ok((13, Stop::Decision(Header { tag: b'Z', size: 6 }))));
        assert_eq!(backend(&ready[..17], 0), Ok((13, Stop::Split)));
        assert_eq!(backend(&rows[..7], 0), Ok((7, Stop::Through(1))));
        assert_eq!(backend(b"", 0), Ok((0, Stop::Through(0))));
    }

    proptest! {
        #[test]
        fn a_split_anywhere_finds_the_same_boundaries(bodies in prop::collection::vec((any::<bool>(), 0usize..40), 1..8), cut in 0usize..200) {
            let all: Vec<u8> = bodies.iter().flat_map(|&(row, n)| message(if row { b'D' } else { b'C' }, n)).collect();
            let cut = cut.min(all.len());
            let (end, stop) = backend(&all[..cut], 0).unwrap();
            let first_other: usize = bodies.iter().take_while(|b| b.0).map(|b| b.1 + 5).sum();
            prop_assert!(end <= first_other || end == cut);
            match stop {
                Stop::Through(0) => prop_assert_eq!(end, cut),
                Stop::Through(more) => {
                    prop_assert_eq!(end, cut);
                    prop_assert!(cut + more <= all.len());
                }
                Stop::Split => prop_assert!(cut - end < 5),
                Stop::Decision(h) => { prop_assert_eq!(end, first_other); prop_assert_eq!(h.tag, b'C'); }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), from in 0usize..64) {
            let from = from.min(bytes.len());
            let _ = backend(&bytes, from);
            let _ = frontend(&bytes, from);
        }
    }
}
