//! Giving a client its own statement names back in error messages.

use super::client_names::ClientNames;
use super::registry::PREFIX;
use memchr::memmem;

/// The body of an ErrorResponse with every `"pgweir_<id>"` replaced by the name the client `called` the statement, else
/// by the one it has or had for it; `None` when there is nothing to replace, the usual case.
pub fn restore_names(body: &[u8], called: Option<&[u8]>, names: [&ClientNames; 2]) -> Option<Vec<u8>> {
    let mut restored = Vec::new();
    let mut rest = body;
    while let Some(at) = memmem::find(rest, PREFIX.as_bytes()) {
        let digits = rest[at + PREFIX.len()..].iter().take_while(|b| b.is_ascii_digit()).count();
        let end = at + PREFIX.len() + digits;
        let name = &rest[at..end];
        restored.extend_from_slice(&rest[..at]);
        restored.extend_from_slice(
            called.or_else(|| names.iter().find_map(|n| n.by_server_name(name))).unwrap_or(name),
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
        let s = registry.intern(b"", b"x", || crate::params::traces::Traces::NONE);
        let server = String::from_utf8(s.server_name().to_vec()).unwrap();
        names.insert(b"mine", s);
        let body = format!("M\"{server}\" and pgweir_99 and pgweir_\0");
        let want = b"M\"mine\" and pgweir_99 and pgweir_\0".to_vec();
        assert_eq!(restore_names(body.as_bytes(), None, [&names, &none]), Some(want));
        assert_eq!(restore_names(b"M\"pgweir_7\"", Some(b"so"), [&none, &none]), Some(b"M\"so\"".to_vec()));
        assert_eq!(restore_names(b"nothing here", None, [&names, &none]), None);
    }
}
