//! A password from standard input: a line of it, or what is typed at a terminal, unseen.

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use zeroize::Zeroizing;

/// What was typed at the terminal isn't shown while this lives.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        eprintln!();
    }
}

/// The password without the end of its line.
///
/// # Errors
/// When it can't be read, is empty, or no text that PostgreSQL could take.
pub(super) fn password(what: &str) -> io::Result<Zeroizing<String>> {
    let unseen = if io::stdin().is_terminal() && isatty(io::stdin()) {
        eprint!("{what}: ");
        io::stderr().flush()?;
        Some(Unseen::begin()?)
    } else {
        None
    };
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line)?;
    drop(unseen);
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    match () {
        () if line.is_empty() => Err(io::Error::other("no password: an empty one never lets anybody in")),
        () if line.contains('\0') => Err(io::Error::other("a password can't hold a zero byte")),
        () => Ok(line),
    }
}
