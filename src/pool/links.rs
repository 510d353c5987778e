//! Doubly linked lists threaded through the entries of a slab: push at the newest end, removal anywhere in O(1).
//! Pure; a list never owns, creates or frees an entry.
use slab::Slab;

const NIL: u32 = u32::MAX;

/// An entry's neighbours in the one list it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    newer: u32,
    older: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { newer: NIL, older: NIL }
    }
}

/// An entry that can be in one list at a time.
pub(super) trait Linked {
    fn links(&self) -> &Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// A list ordered by when its entries were pushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    newest: u32,
    oldest: u32,
    len: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { newest: NIL, oldest: NIL, len: 0 }
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NIL).then_some(index)
}

/// The entry pushed right after `index` into its list.
pub(super) fn newer<T: Linked>(slab: &Slab<T>, index: u32) -> Option<u32> {
    some(slab[index as usize].links().newer)
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn newest(&self) -> Option<u32> {
        some(self.newest)
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        some(self.oldest)
    }

    /// Puts an entry that is in no list at the newest end.
    pub(super) fn push<T: Linked>(&mut self, slab: &mut Slab<T>, index: u32) {
        *slab[index as usize].links_mut() = Links { newer: NIL, older: self.newest };
        match some(self.newest) {
            Some(previous) => slab[previous as usize].links_mut().newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
        self.len += 1;
    }

    /// Takes an entry of this list out of it.
    #[inline(always)]
    pub(super) fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, index: u32) {
        let Links { newer, older } = std::mem::take(slab[index as usize].links_mut());
        match some(newer) {
            Some(newer) => slab[newer as usize].links_mut().older = older,
            None => self.newest = older,
        }
        match some(older) {
            Some(older) => slab[older as usize].links_mut().newer = newer,
            None => self.oldest = newer,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Linked for Links {
        fn links(&self) -> &Links {
            self
        }
        fn links_mut(&mut self) -> &mut Links {
            self
        }
    }

    proptest! {
        /// Against a vector: same order whatever is pushed and removed.
        #[test]
        fn behaves_like_a_vector(steps in prop::collection::vec((any::<bool>(), any::<usize>()), 0..80)) {
            let mut slab: Slab<Links> = Slab::new();
            let (mut list, mut model) = (List::default(), Vec::new());
            for (push, pick) in steps {
                if push || model.is_empty() {
                    let index = slab.insert(Links::default()) as u32;
                    list.push(&mut slab, index);
                    model.push(index);
                } else {
                    let index = model.remove(pick % model.len());
                    list.remove(&mut slab, index);
                    slab.remove(index as usize);
                }
                let walked: Vec<u32> = std::iter::successors(list.oldest(), |&i| newer(&slab, i)).collect();
                prop_assert_eq!(&walked, &model);
                prop_assert_eq!(list.newest(), model.last().copied());
                prop_assert_eq!(list.len(), model.len());
                prop_assert_eq!(list.is_empty(), model.is_empty());
            }
        }
    }
}
