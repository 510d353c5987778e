//! What a statement takes and gives, as PostgreSQL fixes it at its Parse: a plain connection's statement never changes either.

use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest description that is read, in bytes: whether more of it is here at once is chance.
const LONGEST: usize = 32 * 1024;

/// Types of parameters, names and types of columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The body of the ParameterDescription: their number, their types. The end of a Parse has the same form.
    parameters: Box<[u8]>,
    /// A number for the columns; 0 for none.
    columns: u64,
}

impl Shape {
    /// Of the bodies of the two messages that answer a Describe; no RowDescription: NoData. A column is what PostgreSQL compares:
    /// its name, type and modifier, wherever it comes from. A name that isn't ASCII reads otherwise in another encoding, and
    /// doesn't count. Of a description of `size` bytes that isn't here to its end only the size does.
    pub fn new(parameters: Box<[u8]>, columns: Option<(&[u8], usize)>) -> Self {
        let columns = columns.map_or(0, |(body, size)| {
            let mut hasher = DefaultHasher::new();
            if size > LONGEST || body.len() < size {
                size.hash(&mut hasher);
            } else if columns_of(body, &mut hasher).is_err() {
                body.hash(&mut hasher);
            }
            hasher.finish().max(1)
        });
        Self { parameters, columns }
    }

    /// The definition with the types its parameters were found to have: whatever comes to stand behind its names, they stay.
    pub fn fix(&self, definition: &[u8]) -> Vec<u8> {
        let text = definition.iter().position(|b| *b == 0).map_or(definition.len(), |at| at + 1);
        [&definition[..text], &self.parameters].concat()
    }
}

fn columns_of(body: &[u8], hasher: &mut impl Hasher) -> Result<(), WireError> {
    let mut c = Cursor::new(body);
    let count = c.u16()?;
    count.hash(hasher);
    for _ in 0..count {
        let name = c.cstr()?;
        let numbers = c.bytes(18)?;
        // Behind the table and the column's number in it; in front of the format.
        let name = Some(name).filter(|name| name.is_ascii());
        (name, &numbers[6..10], &numbers[12..16]).hash(hasher);
    }
    Ok(())
}

/// Where statements may share what a server has made of them: a pool.
#[derive(Debug, Default)]
pub struct Scope {
    id: u64,
    /// How often tables and what else statements depend on have changed in the database, as far as that was seen.
    changes: Arc<AtomicU64>,
}

impl Scope {
    /// A pool by a number that no other has, and the count of changes its database's pools have in common.
    pub fn new(id: u64, changes: Arc<AtomicU64>) -> Self {
        Self { id, changes }
    }

    /// The pool's number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Tables, or what else statements depend on, may have changed: whoever parses a statement from now on gets a new one, as
    /// from PostgreSQL, and not one that servers made before.
    pub fn reshaped(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes so far.
    #[inline]
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(columns: &[(&str, u32, u32, u16)]) -> Vec<u8> {
        let mut body = (columns.len() as u16).to_be_bytes().to_vec();
        for (name, table, kind, format) in columns {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(&table.to_be_bytes());
            body.extend_from_slice(&1u16.to_be_bytes());
            body.extend_from_slice(&kind.to_be_bytes());
            body.extend_from_slice(&8u16.to_be_bytes());
            body.extend_from_slice(&u32::MAX.to_be_bytes());
            body.extend_from_slice(&format.to_be_bytes());
        }
        body
    }

    fn shape(body: &[u8]) -> Shape {
        Shape::new(Box::from(&b"\0\0"[..]), Some((body, body.len())))
    }

    #[test]
    fn a_column_is_its_name_and_type() {
        let whole = columns(&[("v", 1, 20, 0)]);
        let is = shape(&whole);
        assert_eq!(is, shape(&columns(&[("v", 2, 20, 1)])), "of another table, in another format");
        let others = [columns(&[("v", 1, 701, 0)]), columns(&[("w", 1, 20, 0)]), columns(&[])];
        others.iter().for_each(|other| assert_ne!(is, shape(other)));
        assert_ne!(is, Shape::new(Box::from(&b"\0\0"[..]), None));
        let cut = |here: usize, size| Shape::new(Box::from(&b"\0\0"[..]), Some((&whole[..here], size)));
        assert_ne!(cut(7, whole.len()), cut(7, whole.len() + 1));
        assert_eq!(cut(7, whole.len()), cut(9, whole.len()), "however it came");
        assert_eq!(shape(&columns(&[("\u{e9}", 1, 20, 0)])), shape(&columns(&[("\u{e8}", 1, 20, 0)])));
    }

    #[test]
    fn parameters_keep_their_types() {
        let shape = Shape::new(Box::from(&b"\0\x01\0\0\0\x14"[..]), None);
        assert_eq!(shape.fix(b"UPDATE t SET v = $1\0\0\0"), b"UPDATE t SET v = $1\0\0\x01\0\0\0\x14");
    }
}
