//! Building messages: type, back-patched length, body.

/// Appends one message to `out`; `body` writes what follows the length.
///
/// Bodies stay far below 4 GiB: everything pgweir builds itself is bounded by a message it received.
#[inline]
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let len = u32::try_from(out.len() - at).expect("a message built here is bounded by one received");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a string and its zero byte.
#[inline]
pub fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}
