//! Reads the configuration file: the only place in `config` that does I/O.
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::{Errors, Warning};
use super::{Config, parse};

/// Reads and checks a file. Blocks; meant for start and reload.
///
/// # Errors
/// Everything that is wrong with the file, or why it can't be read.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), Errors> {
    let name = path.display().to_string();
    let bytes =
        fs::read(path).map_err(|error| Errors::whole_file(&name, format!("can't be read: {error}")))?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Errors::whole_file(&name, format!("is not UTF-8: line {line} has a byte that can't stand there"))
    })?;
    parse(text, &name)
}

/// Largest file read, in bytes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// All of a regular file that a setting names. What isn't one could block for ever, or never end.
///
/// # Errors
/// As the system says; when it is no regular file, or larger than 64 MiB.
pub fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("larger than {} MiB", LIMIT >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files() {
        assert!(read_named(Path::new(file!())).is_ok_and(|text| text.starts_with(b"//!")));
        for path in ["/dev/zero", "/dev/stdin", "/"] {
            assert!(
                read_named(Path::new(path)).is_err_and(|e| e.to_string() == "not a regular file"),
                "{path}"
            );
        }
    }
}
