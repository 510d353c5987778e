//! What goes out for one chunk that came in: the chunk itself where nothing changed, a copy where something did.

use std::ops::Range;

/// Collects the bytes to send. As long as they are one contiguous part of the input nothing is copied.
#[derive(Debug)]
pub struct Outgoing<'a> {
    input: &'a [u8],
    scratch: &'a mut Vec<u8>,
    /// Behind what `scratch` has: a part of the input that was not copied yet.
    run: Range<usize>,
}

impl<'a> Outgoing<'a> {
    /// Starts with nothing to send; `scratch` is emptied and used only if something is changed or injected.
    #[inline]
    pub fn new(input: &'a [u8], scratch: &'a mut Vec<u8>) -> Self {
        scratch.clear();
        Self { input, scratch, run: 0..0 }
    }

    /// Sends a part of the input as it is.
    ///
    /// # Panics
    /// When `range` isn't within the input: a bug of the caller, never of a peer.
    #[inline]
    pub fn forward(&mut self, range: Range<usize>) {
        if range.start == self.run.end {
            self.run.end = range.end;
        } else if !range.is_empty() {
            self.copy_run();
            self.run = range;
        }
    }

    /// Sends bytes of our own, written by `write` behind what is there already.
    #[inline]
    pub fn inject(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.copy_run();
        write(self.scratch);
    }

    /// All bytes to send, in order.
    #[inline]
    pub fn bytes(&mut self) -> &[u8] {
        if self.scratch.is_empty() {
            return &self.input[self.run.clone()];
        }
        self.copy_run();
        self.scratch
    }

    #[inline]
    fn copy_run(&mut self) {
        if !self.run.is_empty() {
            self.scratch.extend_from_slice(&self.input[self.run.clone()]);
            self.run.start = self.run.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_is_kept(parts in prop::collection::vec((any::<bool>(), 0usize..5, 0usize..5), 0..12)) {
            let input: Vec<u8> = (0..64).collect();
            let (mut scratch, mut want, mut at) = (vec![9], Vec::new(), 0);
            let mut out = Outgoing::new(&input, &mut scratch);
            for (inject, skip, n) in parts {
                if inject {
                    out.inject(|v| v.extend_from_slice(&[200; 3][..n.min(3)]));
                    want.extend_from_slice(&[200; 3][..n.min(3)]);
                } else {
                    let from = (at + skip).min(64);
                    at = (from + n).min(64);
                    out.forward(from..at);
                    want.extend_from_slice(&input[from..at]);
                }
            }
            prop_assert_eq!(out.bytes(), &want[..]);
        }
    }
}
