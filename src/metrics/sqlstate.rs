//! Errors by SQLSTATE class: a fixed table of the classes PostgreSQL defines, everything else under one name, so that
//! a hostile server cannot invent labels.

use super::cell::{Cell, Count};

/// Appendix A of PostgreSQL's manual; successes (00) and warnings (01, 02) are not errors.
const CLASSES: [&str; CLASS_COUNT - 1] = [
    "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26",
    "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55",
    "57", "58", "F0", "HV", "P0", "XX",
];
/// Number of classes told apart, "other" included.
pub(super) const CLASS_COUNT: usize = 41;

/// The label of class number `index`.
pub(super) fn class_label(index: usize) -> &'static str {
    CLASSES.get(index).copied().unwrap_or("other")
}

fn class_index(class: [u8; 2]) -> usize {
    CLASSES.binary_search_by(|known| known.as_bytes().cmp(&class)).unwrap_or(CLASS_COUNT - 1)
}

/// Errors of one worker in one pool, by who raised them.
#[derive(Debug)]
pub(super) struct ErrorCells {
    by_pgweir: [Cell; CLASS_COUNT],
    by_postgresql: [Cell; CLASS_COUNT],
}

impl Default for ErrorCells {
    fn default() -> Self {
        Self {
            by_pgweir: std::array::from_fn(|_| Cell::default()),
            by_postgresql: std::array::from_fn(|_| Cell::default()),
        }
    }
}

impl ErrorCells {
    pub(super) fn by_pgweir(&self, class: [u8; 2]) {
        self.by_pgweir[class_index(class)].add(1);
    }

    pub(super) fn by_postgresql(&self, class: [u8; 2]) {
        self.by_postgresql[class_index(class)].add(1);
    }

    pub(super) fn add_to(&self, totals: &mut ErrorTotals) {
        for i in 0..CLASS_COUNT {
            totals.by_pgweir[i] = totals.by_pgweir[i].wrapping_add(self.by_pgweir[i].value());
            totals.by_postgresql[i] = totals.by_postgresql[i].wrapping_add(self.by_postgresql[i].value());
        }
    }
}

/// Errors of one pool, by who raised them and SQLSTATE class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorTotals {
    pub(super) by_pgweir: [u64; CLASS_COUNT],
    pub(super) by_postgresql: [u64; CLASS_COUNT],
}

impl Default for ErrorTotals {
    fn default() -> Self {
        Self { by_pgweir: [0; CLASS_COUNT], by_postgresql: [0; CLASS_COUNT] }
    }
}

impl ErrorTotals {
    /// Errors pgweir itself told clients, as (class, count), those that occurred only.
    pub fn by_pgweir(&self) -> impl Iterator<Item = (&'static str, u64)> {
        occurred(&self.by_pgweir)
    }

    /// Errors that came from PostgreSQL, as (class, count), those that occurred only.
    pub fn by_postgresql(&self) -> impl Iterator<Item = (&'static str, u64)> {
        occurred(&self.by_postgresql)
    }
}

fn occurred(totals: &[u64; CLASS_COUNT]) -> impl Iterator<Item = (&'static str, u64)> {
    totals.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| (class_label(i), *n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sorted_and_told_apart() {
        assert!(CLASSES.windows(2).all(|pair| pair[0] < pair[1]));
        for class in CLASSES {
            let bytes = [class.as_bytes()[0], class.as_bytes()[1]];
            assert_eq!(class_label(class_index(bytes)), class);
        }
    }

    #[test]
    fn unknown_classes_share_one_label() {
        for class in [*b"00", *b"ZZ", *b"\xff\xff", *b"\0\0", *b"xx", *b"\"\n"] {
            assert_eq!(class_label(class_index(class)), "other", "{class:?}");
        }
    }

    #[test]
    fn only_what_occurred_is_told() {
        let (cells, mut totals) = (ErrorCells::default(), ErrorTotals::default());
        cells.by_postgresql(*b"23");
        cells.by_postgresql(*b"23");
        cells.by_postgresql(*b"??");
        cells.by_pgweir(*b"57");
        cells.add_to(&mut totals);
        assert_eq!(totals.by_postgresql().collect::<Vec<_>>(), [("23", 2), ("other", 1)]);
        assert_eq!(totals.by_pgweir().collect::<Vec<_>>(), [("57", 1)]);
    }
}
