//! Open files: every client is one here, one in the pooler and, where nothing is pooled, one more in both.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::poolers::Kind;

/// Files that are no clients': libraries, logs, epoll, servers; haproxy wants two for each client it may ever have.
const OTHERS: u32 = 300;

/// The soft limit is brought up to the hard one, for us and for the processes we start; returns it.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn raise() -> Result<u32, String> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|e| format!("the limit of open files can't be raised: {e}"))?;
    Ok(limit.maximum.map_or(u32::MAX, |files| u32::try_from(files).unwrap_or(u32::MAX)))
}

/// As many of the `wanted` clients as `files` open files allow.
pub(crate) fn fitting(kind: &Kind, wanted: u32, files: u32) -> u32 {
    let each = if kind.pools() { 1 } else { 2 };
    wanted.min(files.saturating_sub(OTHERS) / each)
}

/// A word about it if `wanted` clients are too many.
pub(crate) fn too_low(kind: &Kind, wanted: u32, files: u32) -> Option<String> {
    let fitting = fitting(kind, wanted, files);
    let name = kind.name();
    (fitting < wanted).then(|| {
        format!("Open files are limited to {files} (ulimit -Hn): {name} gets {fitting} clients instead of {wanted}.")
    })
}
