//! What requests under way will have changed, and what is put back when they fail.

use super::super::exchange::Broken;
use super::Conversation;
use crate::params::traces::Traces;
use crate::prepared::client_statements::{ClientStatements, Unnamed};
use crate::prepared::registry::{Statement, StatementId};
use crate::prepared::rewrite::Gone;
use memchr::memmem;
use std::collections::HashSet;
use std::sync::Arc;

/// Whose unnamed statement a server holds: client and generation.
pub type UnnamedOwner = (u64, u32);

/// The owner of an unnamed statement that may be anybody's, or not be there.
pub const SOMEBODY: UnnamedOwner = (0, 0);

/// The constraint that errors name which pgweir has raised in place of a statement it refuses.
pub const REFUSED: &str = "pgweir_refuses";

/// What a request will have changed once it is answered well.
#[derive(Debug)]
pub enum Promise {
    /// The server has a statement.
    ServerHas(StatementId),
    /// The server says what it has made of a statement.
    Described(Arc<Statement>),
    /// The server no longer has a statement.
    ServerLacks(Arc<Statement>),
    /// The client has a name.
    ClientNamed(Box<[u8]>),
    /// The client no longer has a name.
    ClientClosed(Box<[u8]>, Arc<Statement>),
    /// The client has a new unnamed statement, or none, in place of this one.
    ClientUnnamed(Option<Unnamed>),
    /// The server has the client's unnamed statement, or none.
    ServerUnnamed,
    /// Parameters, by SETs of which the text tells this.
    Set(Traces),
    /// The client has dropped a name by DEALLOCATE, in place of which the server was sent [`by_name::IN_PLACE`].
    Deallocates(Box<[u8]>),
    /// The client may have dropped names, or all.
    Drops,
    /// The server has a statement under the client's own name for it.
    Declared(Box<str>),
    /// Nothing; should the request fail, this is what the client called the statement.
    Called(Box<[u8]>),
    /// Nothing: the request is made to fail, since its statement's result type has changed.
    Outdated,
}

impl Promise {
    /// Whether it is nothing but what the client is to be told should the request fail.
    pub(super) fn is_of_words(&self) -> bool {
        matches!(self, Self::Called(_) | Self::Outdated)
    }
}

/// Most names remembered.
const GONE_KEPT: usize = 1024;

impl Conversation {
    /// Whether the books are right and the prelude, if there was one, succeeded.
    #[inline]
    pub fn is_sound(&self) -> bool {
        self.exchange.doubt().is_none() && self.heard.prelude_error.is_none()
    }

    /// The client's name stands for this statement no more; what was sent before may still fail by it.
    #[cold]
    pub fn note_gone(&mut self, name: &[u8], statement: Arc<Statement>) {
        if self.gone.len() >= GONE_KEPT {
            self.gone.clear();
        }
        self.gone.push((name.into(), statement));
    }

    /// All statements are gone but those that were asked for behind the command that did it.
    #[cold]
    pub fn deallocate_all(&mut self, client: &mut ClientStatements) {
        client.names.iter().for_each(|(name, statement)| self.note_gone(name, Arc::clone(statement)));
        let promises: Vec<_> = self.exchange.promises().collect();
        self.names.retain(|id| promises.iter().any(|p| matches!(p, Promise::ServerHas(i) if *i == id)));
        client.deallocate_all(|name| {
            promises.iter().any(|p| matches!(p, Promise::ClientNamed(n) if **n == *name))
        });
    }

    /// The server has `left` of its statements, by their names, and nothing is under way. A function may have dropped others, which no
    /// reply tells: for the client, too.
    #[cold]
    pub fn has_statements(&mut self, left: &[Box<str>], client: &mut ClientStatements) {
        if left.is_empty() && !self.names.is_empty() {
            return self.deallocate_all(client);
        }
        let left: HashSet<&[u8]> = left.iter().map(|name| name.as_bytes()).collect();
        for lost in self.names.lost(|statement| left.contains(statement.server_name())) {
            let names = client.names.iter().filter(|(_, statement)| statement.id() == lost.id());
            let names: Vec<Box<[u8]>> = names.map(|(name, _)| name.into()).collect();
            names.iter().for_each(|name| drop(client.names.remove(name)));
        }
    }

    /// DEALLOCATE ALL or DISCARD ALL is being executed: for what follows in its batch all statements are gone already.
    #[cold]
    pub fn drop_all(&mut self, client: &mut ClientStatements) {
        let dropped: Gone = client.names.iter().map(|(name, s)| (Box::from(name), Arc::clone(s))).collect();
        dropped.iter().for_each(|(name, statement)| self.note_gone(name, Arc::clone(statement)));
        client.names.retain(|_| false);
        for (name, statement) in dropped {
            self.exchange.promise(Promise::ClientClosed(name, statement));
        }
        for statement in self.names.take_all() {
            self.exchange.promise(Promise::ServerLacks(statement));
        }
    }

    /// Whether the reply that comes next is one to a DEALLOCATE by name: it is done.
    pub(super) fn deallocated(&mut self, client: &mut ClientStatements) -> bool {
        if self.exchange.front_promises().any(|p| matches!(p, Promise::ClientClosed(..))) {
            return true;
        }
        let name = self.exchange.front_promises().find_map(|p| match p {
            Promise::Deallocates(name) => Some(name),
            _ => None,
        });
        name.map(|name| client.names.remove(name)).is_some()
    }

    /// The client's name of the statement an error names, if it has closed it since.
    pub(super) fn called_until_closed(&mut self, body: &[u8]) -> Option<Box<[u8]>> {
        self.exchange.promises().find_map(|p| match p {
            Promise::ClientClosed(name, statement) => {
                memmem::find(body, &[b"\"", statement.server_name(), b"\""].concat()).map(|_| name.clone())
            }
            _ => None,
        })
    }

    /// Nothing of what was asked was done: what the client was promised is put back.
    #[cold]
    pub fn abandon(&mut self, client: &mut ClientStatements) {
        for broken in self.exchange.break_all() {
            self.break_promise(broken, client);
        }
    }

    pub(super) fn break_promise(&mut self, broken: Broken<Promise>, client: &mut ClientStatements) {
        let unnamed = (!broken.ran).then_some(SOMEBODY);
        match broken.promise {
            Promise::ServerHas(id) => {
                self.names.remove(id);
                self.forget(|later| matches!(later, Promise::ServerLacks(s) if s.id() == id));
            }
            Promise::Declared(name) => self.is_not_declared(&name),
            Promise::ServerLacks(statement) => self.names.insert(statement),
            Promise::ClientNamed(name) => {
                client.names.remove(&name);
                self.forget(|later| matches!(later, Promise::ClientClosed(n, _) if *n == name));
            }
            Promise::ClientClosed(name, statement) => drop(client.names.insert(&name, statement)),
            Promise::ServerUnnamed if self.replaces_unnamed().is_some() => {}
            Promise::ServerUnnamed => self.unnamed = unnamed,
            Promise::Called(_) | Promise::Outdated | Promise::Described(_) => {}
            Promise::Set(_) | Promise::Deallocates(_) | Promise::Drops => {}
            Promise::ClientUnnamed(previous) => {
                let left = previous.filter(|_| !broken.ran);
                match (self.replaces_unnamed(), left) {
                    (Some(replaced), left) => *replaced = left,
                    (None, Some(left)) => client.restore_unnamed(left),
                    (None, None) => client.drop_unnamed(),
                }
                if self.replaces_unnamed().is_none() {
                    self.unnamed = unnamed;
                }
            }
        }
    }

    /// A later batch has dropped all there was, these among it, which never came to be: there is nothing to put back if it fails.
    fn forget(&mut self, never_was: impl Fn(&Promise) -> bool) {
        self.exchange.promises().filter(|p| never_was(p)).for_each(|p| *p = Promise::Drops);
    }

    /// What the next request that replaces the client's unnamed statement will have replaced, if there is one.
    fn replaces_unnamed(&mut self) -> Option<&mut Option<Unnamed>> {
        self.exchange.promises().find_map(|p| match p {
            Promise::ClientUnnamed(replaced) => Some(replaced),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepared::registry::Registry;
    use crate::prepared::shape::Scope;
    use crate::server::exchange::{Action, Reply};
    use crate::wire::encode;
    use crate::wire::outgoing::Outgoing;
    use std::num::NonZeroUsize;

    /// A batch would have made a statement and its name, a later one drops all there is; both fail.
    #[test]
    fn what_never_was_is_not_put_back() {
        let (registry, scope) = (Registry::default(), Arc::new(Scope::new(1, Arc::default())));
        let statement = registry.intern(&scope, b"", b"SELECT 1\0\0\0", || Traces::NONE);
        let mut talk = Conversation::new(NonZeroUsize::MAX, Arc::default());
        let mut client = ClientStatements::default();
        talk.exchange.expect(Reply::Parse, Action::Forward);
        talk.exchange.promise(Promise::ServerHas(statement.id()));
        talk.exchange.promise(Promise::ClientNamed(Box::from(&b"s"[..])));
        talk.names.insert(Arc::clone(&statement));
        client.names.insert(b"s", Arc::clone(&statement));
        talk.exchange.expect(Reply::Sync, Action::Forward);
        talk.exchange.expect(Reply::Execute, Action::Forward);
        talk.drop_all(&mut client);
        talk.exchange.expect(Reply::Sync, Action::Forward);
        let mut said = Vec::new();
        for (tag, body) in [(b'E', &b"SERROR\0VERROR\0C42601\0Mno\0\0"[..]), (b'Z', b"I")].repeat(2) {
            encode::message(&mut said, tag, |v| v.extend_from_slice(body));
        }
        let mut scratch = Vec::new();
        let mut out = Outgoing::new(&said, &mut scratch);
        assert_eq!(talk.receive(&said, &mut client, &mut out), Ok(said.len()));
        assert!(talk.is_free() && client.names.find(b"s").is_none());
        assert!(!talk.names.touch(statement.id()), "the server doesn't have it");
    }
}
