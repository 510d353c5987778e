//! Giving a client its own statement names back in error messages.

use super::client_names::ClientNames;
use super::registry::{NOBODYS, PREFIX, Statement};
use memchr::memmem;
use std::sync::Arc;

/// Names a client had for statements that what it has asked before may still fail by.
pub type Gone = Vec<(Box<[u8]>, Arc<Statement>)>;

/// The digits of a name that [`super::by_name::disown`] has changed, at the front of what follows [`NOBODYS`].
fn disowned(behind: &[u8]) -> &[u8] {
    let Some(rest) = behind.strip_prefix(b"_") else { return b"" };
    &rest[..rest.iter().take_while(|b| b.is_ascii_digit()).count()]
}

/// The body of an ErrorResponse with every `"pgweir_<id>"` replaced by the name the client `called` the statement, else
/// by the one it has or had for it; `None` when there is nothing to replace, the usual case.
pub fn restore_names(
    body: &[u8],
    called: Option<&[u8]>,
    names: &ClientNames,
    gone: &Gone,
) -> Option<Vec<u8>> {
    let had = |server_name: &[u8]| {
        gone.iter().find(|(_, statement)| statement.server_name() == server_name).map(|(name, _)| &**name)
    };
    let mut restored = Vec::new();
    let mut rest = body;
    while let Some(at) = memmem::find(rest, PREFIX.as_bytes()) {
        let digits = rest[at + PREFIX.len()..].iter().take_while(|b| b.is_ascii_digit()).count();
        let end = at + PREFIX.len() + digits;
        let name = &rest[at..end];
        restored.extend_from_slice(&rest[..at]);
        let id = if name == NOBODYS { disowned(&rest[end..]) } else { b"" };
        if !id.is_empty() {
            restored.extend_from_slice(PREFIX.as_bytes());
            rest = &rest[end + 1..];
            continue;
        }
        restored.extend_from_slice(
            called.or_else(|| names.by_server_name(name)).or_else(|| had(name)).unwrap_or(name),
        );
        rest = &rest[end..];
    }
    if rest.len() == body.len() {
        return None;
    }
    restored.extend_from_slice(rest);
    Some(restored)
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registry;
    use super::*;

    #[test]
    fn only_known_names_change() {
        let registry = Registry::default();
        let (mut names, none) = (ClientNames::default(), ClientNames::default());
        let statement = |text: &[u8]| {
            registry.intern(&Default::default(), b"", text, || crate::params::traces::Traces::NONE)
        };
        let (s, t) = (statement(b"x"), statement(b"y"));
        let server = |s: &Statement| String::from_utf8(s.server_name().to_vec()).unwrap();
        let body = format!("M\"{}\", {} and pgweir_99 and pgweir_\0", server(&s), server(&t));
        names.insert(b"mine", s);
        let gone = vec![(Box::from(&b"mine"[..]), statement(b"z")), (Box::from(&b"once"[..]), t)];
        let want = b"M\"mine\", once and pgweir_99 and pgweir_\0".to_vec();
        assert_eq!(restore_names(body.as_bytes(), None, &names, &gone), Some(want));
        let nothing = Gone::new();
        assert_eq!(restore_names(b"M\"pgweir_7\"", Some(b"so"), &none, &nothing), Some(b"M\"so\"".to_vec()));
        let changed = restore_names(b"M\"pgweir_0_12\" pgweir_0", Some(b"so"), &none, &nothing);
        assert_eq!(changed.as_deref(), Some(&b"M\"pgweir_12\" so"[..]));
        assert_eq!(restore_names(b"nothing here", None, &names, &nothing), None);
    }
}
