//! All prepared statements of one client: the named ones and the unnamed one.

use super::client_names::ClientNames;
use crate::params::traces::Traces;

/// PostgreSQL looks statements up by the first 63 bytes of their names (`NAMEDATALEN`).
pub const NAME_BYTES: usize = 63;

/// Longest statement kept for a Bind that arrives at another server, in bytes.
pub const KEPT: usize = 1024 * 1024;

/// Room kept for the next unnamed statement while there is none or a shorter one, in bytes.
const ROOM_KEPT: usize = 512;

/// Whether PostgreSQL ignores the end of this name but in error messages.
pub fn is_cut(name: &[u8]) -> bool {
    name.len() > NAME_BYTES
}

/// A statement name as PostgreSQL compares it.
pub fn significant(name: &[u8]) -> &[u8] {
    &name[..name.len().min(NAME_BYTES)]
}

/// The unnamed statement as a client left it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// Body of its Parse behind the name; empty: there is none.
    definition: Vec<u8>,
    traces: Traces,
}

/// Names and the unnamed statement.
#[derive(Debug, Default)]
pub struct ClientStatements {
    /// The named ones.
    pub names: ClientNames,
    /// Made by the first; many clients never have one.
    unnamed: Option<Box<Unnamed>>,
    /// Which of the client's unnamed statements this is.
    generation: u32,
}

impl ClientStatements {
    /// The unnamed statement: definition, generation, what executing it may leave behind.
    pub fn unnamed(&self) -> Option<(&[u8], u32, Traces)> {
        let Unnamed { definition, traces } = self.unnamed.as_deref()?;
        (!definition.is_empty()).then_some((&**definition, self.generation, *traces))
    }

    /// The text of a statement, if there is one of this name.
    pub fn text(&self, name: &[u8]) -> Option<&[u8]> {
        let definition = match self.names.find(significant(name)) {
            Some(statement) => statement.definition(),
            None if name.is_empty() => self.unnamed()?.0,
            None => return None,
        };
        definition.split(|b| *b == 0).next()
    }

    /// Replaces the unnamed statement and returns its generation. One longer than [`KEPT`] isn't kept.
    pub fn set_unnamed(&mut self, definition: &[u8], traces: Traces) -> u32 {
        let unnamed = self.unnamed.get_or_insert_default();
        unnamed.definition.clear();
        if definition.len() <= KEPT {
            let room = unnamed.definition.capacity();
            if room < definition.len() || room > ROOM_KEPT.max(definition.len()) {
                unnamed.definition = Vec::with_capacity(definition.len());
            }
            unnamed.definition.extend_from_slice(definition);
        }
        unnamed.traces = traces;
        self.next_generation()
    }

    /// Drops the unnamed statement.
    #[inline]
    pub fn drop_unnamed(&mut self) {
        if let Some(unnamed) = self.unnamed.as_deref_mut() {
            unnamed.definition.clear();
            if unnamed.definition.capacity() > ROOM_KEPT {
                self.unnamed = None;
            }
        }
        self.next_generation();
    }

    /// Which of the client's unnamed statements is the current one, or the last if there is none.
    pub fn unnamed_generation(&self) -> u32 {
        self.generation
    }

    /// Takes the unnamed statement out, to put it back if what replaces it never happens. Servers that have it have somebody else's.
    pub fn take_unnamed(&mut self) -> Unnamed {
        self.next_generation();
        self.unnamed.take().map(|unnamed| *unnamed).unwrap_or_default()
    }

    /// Puts back what [`Self::take_unnamed`] took; it counts as a new one for servers.
    pub fn restore_unnamed(&mut self, unnamed: Unnamed) {
        self.unnamed = Some(Box::new(unnamed));
        self.next_generation();
    }

    #[inline]
    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// DISCARD ALL or DEALLOCATE ALL: all named statements are gone but those asked for since; the unnamed one stays.
    pub fn deallocate_all(&mut self, asked_since: impl Fn(&[u8]) -> bool) {
        self.names.retain(asked_since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_little_room_is_kept_for_the_next_unnamed_statement() {
        let mut statements = ClientStatements::default();
        let room = |s: &ClientStatements| s.unnamed.as_ref().map_or(0, |u| u.definition.capacity());
        statements.set_unnamed(&[b'x'; 100], Traces::NONE);
        let small = room(&statements);
        statements.drop_unnamed();
        assert!(statements.unnamed().is_none() && room(&statements) == small && small >= 100);
        statements.set_unnamed(&[b'x'; KEPT], Traces::NONE);
        assert!(room(&statements) >= KEPT);
        statements.set_unnamed(b"x", Traces::NONE);
        assert!(room(&statements) <= ROOM_KEPT);
        statements.set_unnamed(&[b'x'; KEPT], Traces::NONE);
        statements.drop_unnamed();
        assert_eq!((room(&statements), statements.unnamed_generation()), (0, 6));
    }
}
