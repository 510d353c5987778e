//! All prepared statements of one client: the named ones and the unnamed one.

use super::client_names::ClientNames;

/// PostgreSQL looks statements up by the first 63 bytes of their names (`NAMEDATALEN`).
const NAME_BYTES: usize = 63;

/// Longest statement kept for a Bind that arrives at another server, in bytes.
pub const KEPT: usize = 1024 * 1024;

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
    /// Which of the client's unnamed statements this is.
    generation: u32,
    leaves_state: bool,
}

/// Names and the unnamed statement.
#[derive(Debug, Default)]
pub struct ClientStatements {
    /// The named ones.
    pub names: ClientNames,
    unnamed: Unnamed,
}

impl ClientStatements {
    /// The unnamed statement: definition, generation, whether executing it may leave session state.
    pub fn unnamed(&self) -> Option<(&[u8], u32, bool)> {
        let Unnamed { definition, generation, leaves_state } = &self.unnamed;
        (!definition.is_empty()).then_some((&**definition, *generation, *leaves_state))
    }

    /// Replaces the unnamed statement and returns its generation. One longer than [`KEPT`] isn't kept.
    pub fn set_unnamed(&mut self, definition: &[u8], leaves_state: bool) -> u32 {
        self.unnamed.definition.clear();
        if definition.len() <= KEPT {
            if self.unnamed.definition.capacity() < definition.len() {
                self.unnamed.definition = Vec::with_capacity(definition.len());
            }
            self.unnamed.definition.extend_from_slice(definition);
        }
        self.unnamed.leaves_state = leaves_state;
        self.unnamed.generation = self.unnamed.generation.wrapping_add(1);
        self.unnamed.generation
    }

    /// Drops the unnamed statement.
    #[inline]
    pub fn drop_unnamed(&mut self) {
        self.unnamed.definition.clear();
        self.unnamed.generation = self.unnamed.generation.wrapping_add(1);
    }

    /// Which of the client's unnamed statements is the current one, or the last if there is none.
    pub fn unnamed_generation(&self) -> u32 {
        self.unnamed.generation
    }

    /// Takes the unnamed statement out, to put it back if what replaces it never happens.
    pub fn take_unnamed(&mut self) -> Unnamed {
        let taken = std::mem::take(&mut self.unnamed);
        self.unnamed.generation = taken.generation;
        taken
    }

    /// Puts back what [`Self::take_unnamed`] took; it counts as a new one for servers.
    pub fn restore_unnamed(&mut self, unnamed: Unnamed) {
        let generation = self.unnamed.generation.wrapping_add(1);
        self.unnamed = Unnamed { generation, ..unnamed };
    }

    /// DISCARD ALL or DEALLOCATE ALL: all named statements are gone but those asked for since; the unnamed one stays.
    pub fn deallocate_all(&mut self, asked_since: impl Fn(&[u8]) -> bool) {
        self.names.retain(asked_since);
    }
}
