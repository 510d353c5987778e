//! Bytes that wait: for the rest of their message, for a server, for room in a socket.

use std::ops::Deref;

/// Bytes that wait. One pointer while there are none, so that an idle client pays no more for them.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "the point is to be one word")]
pub struct Kept(Option<Box<Vec<u8>>>);

impl Kept {
    /// Adds bytes behind.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().extend_from_slice(bytes);
        }
    }

    /// Removes bytes in front, all their room with the last. No more than there are.
    pub fn drop_front(&mut self, count: usize) {
        if count >= self.len() {
            self.0 = None;
        } else if let Some(bytes) = &mut self.0 {
            bytes.drain(..count);
        }
    }
}

impl From<&[u8]> for Kept {
    fn from(bytes: &[u8]) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes.to_vec())))
    }
}

impl From<Vec<u8>> for Kept {
    fn from(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes)))
    }
}

impl Deref for Kept {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |bytes| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        assert_eq!(size_of::<Kept>(), size_of::<usize>());
        let mut kept = Kept::from(&b"abc"[..]);
        kept.extend_from_slice(b"de");
        kept.drop_front(2);
        assert_eq!(&*kept, b"cde");
        kept.drop_front(3);
        assert!(kept.is_empty() && kept.0.is_none());
        kept.extend_from_slice(b"");
        assert!(kept.0.is_none() && Kept::from(Vec::new()).0.is_none());
    }
}
