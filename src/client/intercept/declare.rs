//! SQL that may mean statements of the protocol in ways that renaming doesn't reach: PREPARE under a name that is taken, EXPLAIN
//! EXECUTE, several statements in one Query, DO. For as long as such a request runs, the server has them under the client's own
//! names; what has become of them PostgreSQL is asked behind it.

use super::{Feed, Names, Pause};
use crate::prepared::client_statements::significant;
use crate::prepared::registry::Statement;
use crate::server::conversation::{Prepared, Promise};
use crate::server::exchange::{Action, Reply, Status};
use crate::wire::frontend::{self, Parse, SYNC};
use memchr::memmem;
use std::sync::Arc;

impl Feed<'_, '_> {
    /// Ahead of a Query. `Some`: it has to wait.
    #[cold]
    pub(super) fn declare_for_query(&mut self, text: &[u8]) -> Option<Pause> {
        if memmem::find(&text.to_ascii_lowercase(), b"prepare ").is_some() {
            self.server.prepared = Prepared::BySqlToo;
        }
        let meant = self.meant(text);
        if meant.is_empty() {
            return None;
        }
        let exchange = &self.server.exchange;
        if !exchange.is_drained() {
            return Some(Pause::Stall);
        }
        if !exchange.needs_sync() && exchange.status() != Status::Failed {
            self.declare(meant);
            self.out.inject(|v| v.extend_from_slice(SYNC));
            self.server.exchange.expect(Reply::Sync, Action::Behind);
        }
        None
    }

    /// Ahead of a Parse or Bind.
    #[cold]
    pub(super) fn declare_in_batch(&mut self, text: &[u8]) -> Result<(), Pause> {
        let meant = self.meant(text);
        if meant.is_empty() {
            return Ok(());
        }
        if !self.server.exchange.is_status_known() {
            return Err(Pause::Stall);
        }
        if self.server.exchange.status() != Status::Failed {
            self.declare(meant);
        }
        Ok(())
    }

    /// A statement that SQL has prepared under this name makes a Parse of it fail: ahead of that, PostgreSQL is asked whether the
    /// name is free.
    #[cold]
    pub(super) fn try_name(&mut self, parse: &Parse<'_>) {
        let name = significant(parse.name);
        self.out.inject(|v| {
            Parse::encode(v, name, parse.definition);
            frontend::close_statement(v, name);
        });
        self.server.exchange.expect(Reply::Parse, Action::Swallow);
        self.server.exchange.expect(Reply::Close, Action::Swallow);
    }

    fn declare(&mut self, meant: Vec<(Box<str>, Arc<Statement>)>) {
        for (name, statement) in &meant {
            self.out.inject(|v| Parse::encode(v, name.as_bytes(), statement.definition()));
            self.server.exchange.expect(Reply::Parse, Action::Behind);
            self.server.exchange.promise(Promise::Declared(name.clone()));
        }
        self.server.has_declared(meant.into_iter().map(|(name, _)| name));
    }

    /// The client's statements whose names stand in the text, however they are quoted, and that the server hasn't got under them.
    fn meant(&self, text: &[u8]) -> Vec<(Box<str>, Arc<Statement>)> {
        if self.rules.names != Names::Kept || self.client.names.is_empty() {
            return Vec::new();
        }
        let text = text.to_ascii_lowercase();
        let named = self.client.names.iter().filter_map(|(name, statement)| {
            let name = str::from_utf8(name).ok()?;
            let stands = stands_in(&text, name.to_ascii_lowercase().as_bytes());
            (stands && !self.server.is_declared(name)).then(|| (Box::from(name), Arc::clone(statement)))
        });
        named.collect()
    }
}

/// Whether a name is in a text and not part of a longer one.
fn stands_in(text: &[u8], name: &[u8]) -> bool {
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(*b, b'_' | b'$') || *b >= 0x80;
    memmem::find_iter(text, name).any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        !before.is_some_and(in_name) && !text.get(at + name.len()).is_some_and(in_name)
    })
}

#[cfg(test)]
mod tests {
    use super::stands_in;

    #[test]
    fn whole_names() {
        for (text, stands) in [
            ("deallocate a", true),
            ("explain execute \"a\"(1)", true),
            ("do 'begin execute a; end'", true),
            ("deallocate all", false),
            ("execute ab; execute ba", false),
            ("execute $a", false),
        ] {
            assert_eq!(stands_in(text.as_bytes(), b"a"), stands, "{text}");
        }
    }
}
