//! Reads the configuration file: the only place in `config` that does I/O.
use std::fs;
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
