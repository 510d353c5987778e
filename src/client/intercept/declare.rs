//! SQL that may mean statements of the protocol in ways that renaming doesn't reach: PREPARE under a name that is taken, EXPLAIN
//! EXECUTE, several statements in one Query, DO. For as long as such a request runs, the server has them under the client's own
//! names; what has become of them PostgreSQL is asked behind it.

use super::{Feed, Names, Pause};
use crate::params::traces::{Traces, Words};
use crate::prepared::client_statements::{NAME_BYTES, significant};
use crate::prepared::registry::Statement;
use crate::server::conversation::{Prepared, Promise};
use crate::server::exchange::{Action, Reply, Status};
use crate::wire::frontend::{self, Parse, SYNC};
use memchr::memmem;
use std::sync::Arc;

/// A statement that the server gets for as long as it is of interest whether all are dropped.
pub const ALL: &str = "pgweir_all";

/// The name of a statement, and what it is; `None`: nothing.
type Meant = (Box<str>, Option<Arc<Statement>>);

/// A definition that PostgreSQL takes whatever there is: no text, no types.
const NOTHING: &[u8] = &[0; 3];

impl Feed<'_, '_> {
    /// Ahead of a Query. `Some`: it has to wait.
    #[cold]
    pub(super) fn declare_for_query(&mut self, text: &[u8]) -> Option<Pause> {
        if memmem::find(&text.to_ascii_lowercase(), b"prepare ").is_some() {
            self.server.prepared = Prepared::BySqlToo;
        }
        // Of what was asked since the last Sync nothing is answered before this Query is.
        if self.server.exchange.needs_sync() {
            return self.declare_in_batch(text).err();
        }
        self.note_executed(text);
        let meant = self.meant(text);
        if meant.is_empty() {
            return None;
        }
        let exchange = &self.server.exchange;
        if !exchange.is_drained() {
            return Some(Pause::Stall);
        }
        if exchange.status() != Status::Failed {
            self.declare(meant);
            self.out.inject(|v| v.extend_from_slice(SYNC));
            self.server.exchange.expect(Reply::Sync, Action::Behind);
        }
        None
    }

    /// Ahead of a Parse or Bind.
    #[cold]
    pub(super) fn declare_in_batch(&mut self, text: &[u8]) -> Result<(), Pause> {
        self.note_executed(text);
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

    fn declare(&mut self, meant: Vec<Meant>) {
        for (name, statement) in &meant {
            let definition = statement.as_deref().map_or(NOTHING, Statement::definition);
            self.out.inject(|v| Parse::encode(v, name.as_bytes(), definition));
            self.server.exchange.expect(Reply::Parse, Action::Behind);
            self.server.exchange.promise(Promise::Declared(name.clone()));
        }
        self.server.has_declared(meant.into_iter().map(|(name, _)| name));
    }

    /// What the client's statements leave behind that the text may execute.
    fn note_executed(&mut self, text: &[u8]) {
        if self.rules.names != Names::Kept {
            return;
        }
        let folded = text.to_ascii_lowercase();
        let named = self.client.names.iter().filter(|(name, _)| {
            str::from_utf8(name).is_ok_and(|name| is_named(&folded, &name.to_ascii_lowercase()))
        });
        let traces = named.fold(Traces::NONE, |all, (_, statement)| all.and(self.executes(statement, text)));
        self.server.note(traces);
    }

    /// The client's statements that the text may name, however it is quoted, and that the server hasn't got under those names; and
    /// [`ALL`] if it may drop them all untold.
    fn meant(&self, text: &[u8]) -> Vec<Meant> {
        if self.rules.names != Names::Kept {
            return Vec::new();
        }
        let text = text.to_ascii_lowercase();
        let named = self.client.names.iter().filter_map(|(name, statement)| {
            let name = str::from_utf8(name).ok()?;
            let stands = is_named(&text, &name.to_ascii_lowercase());
            (stands && !self.server.is_declared(name)).then(|| (Box::from(name), Some(Arc::clone(statement))))
        });
        let all =
            (may_drop_all_untold(&text) && !self.server.is_declared(ALL)).then(|| (Box::from(ALL), None));
        named.chain(all).collect()
    }
}

/// Whether the text may have a DEALLOCATE ALL run that no reply tells of: one for a function or DO.
fn may_drop_all_untold(text: &[u8]) -> bool {
    let quoted = memchr::memchr2(b'\'', b'$', text).map_or(&b""[..], |at| &text[at..]);
    let (mut words, mut before) = (Words::new(quoted), &b""[..]);
    while let Some((word, _)) = words.next_with_rest() {
        if word == b"all" && before == b"deallocate" {
            return true;
        }
        if word != b"prepare" || before != b"deallocate" {
            before = word;
        }
    }
    false
}

/// Whether one of the commands that name a statement names this one in the text. PostgreSQL cuts names to 63 bytes.
fn is_named(text: &[u8], name: &str) -> bool {
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(*b, b'_' | b'$') || *b >= 0x80;
    let quoted = name.replace('"', "\"\"");
    memmem::find_iter(text, quoted.as_bytes()).any(|at| {
        let before = text[..at].trim_ascii_end();
        let before = before.strip_suffix(b"\"").unwrap_or(before).trim_ascii_end();
        let behind = text.get(at + quoted.len());
        let commands = [&b"execute"[..], b"deallocate", b"prepare"];
        let apart = before.len() < at && commands.iter().any(|command| before.ends_with(command));
        apart && (name.len() == NAME_BYTES || !behind.is_some_and(in_name))
    })
}

#[cfg(test)]
mod tests {
    use super::{is_named, may_drop_all_untold};

    #[test]
    fn all_of_them_for_others_to_drop() {
        for (text, may) in [
            ("select run('deallocate all')", true),
            ("do $$begin deallocate /* so */ prepare all; end$$", true),
            ("select 'x'; deallocate all", true),
            ("deallocate all", false),
            ("deallocate all; select 'x'", false),
            ("select run('deallocate a; select all')", false),
            ("select run('prepare all')", false),
        ] {
            assert_eq!(may_drop_all_untold(text.as_bytes()), may, "{text}");
        }
    }

    #[test]
    fn whole_names() {
        for (text, stands) in [
            ("deallocate a", true),
            ("explain execute \"a\"(1)", true),
            ("do 'begin execute a; end'", true),
            ("deallocate all", false),
            ("execute ab; execute ba", false),
            ("execute $a", false),
            ("do 'begin execute f(a); end'", false),
            ("deallocate prepare\n a", true),
            ("create table a (); execute b", false),
        ] {
            assert_eq!(is_named(text.as_bytes(), "a"), stands, "{text}");
        }
    }
}
