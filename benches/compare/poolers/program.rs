//! A program of this machine, and a running one: started as somebody who is not root, in a directory of its own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::process::{self, Watchdog};

/// An installed program.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// The first line it says about itself.
    pub(crate) version: String,
}

impl Program {
    /// The one `variable` names, else the one in PATH, else what lies in one of `places`.
    ///
    /// # Errors
    /// When there is none: how to get one.
    pub(crate) fn find(name: &str, variable: &str, places: &[PathBuf], flag: &str) -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = std::env::split_paths(&path).map(|dir| dir.join(name));
        let mut places: Vec<PathBuf> = usual.chain(places.iter().cloned()).collect();
        if let Some(named) = std::env::var_os(variable) {
            places = vec![named.into()];
        }
        let found = places.iter().find(|place| place.is_file()).ok_or_else(|| {
            format!("{name} is not here: apt-get install {name}, or name another one's path in ${variable}")
        })?;
        let told = Command::new(found).arg(flag).output();
        let told = told.map_err(|e| format!("{}: {e}", found.display()))?;
        let version = String::from_utf8_lossy(&told.stdout).lines().next().unwrap_or_default().to_owned();
        Ok(Self { path: found.clone(), version })
    }

    /// The word of its version that starts with a digit.
    pub(crate) fn number(&self) -> &str {
        let digit = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
        self.version.split(' ').find(digit).unwrap_or("of unknown version")
    }
}

/// A running program; dropping it stops it at once.
pub(crate) struct Running {
    child: Child,
    dir: PathBuf,
    watchdog: Option<Watchdog>,
}

/// A directory for a program's files, which it owns.
pub(crate) fn directory(name: &str) -> PathBuf {
    let prefix = format!("{name}-");
    let dir = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary directory").keep();
    process::give_to_unprivileged(&dir);
    dir
}

/// A file in such a directory.
pub(crate) fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("our directory");
    process::give_to_unprivileged(&path);
    path
}

impl Running {
    /// Starts it; its words go to a log in `dir`.
    pub(crate) fn start(program: &Program, arguments: &[&str], dir: PathBuf) -> Self {
        let log = File::create(dir.join("log")).expect("our directory");
        let child = process::unprivileged_command(&program.path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.path.display()));
        fs::write(dir.join("pid"), child.id().to_string()).expect("our directory");
        let watchdog = Some(Watchdog::over(&dir.join("pid"), &dir));
        Self { child, dir, watchdog }
    }

    /// Waits until `ready`; panics with the log if the program ends or takes too long.
    pub(crate) fn wait_until(&mut self, ready: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !ready(self) {
            let ended = self.child.try_wait().expect("our child").is_some();
            assert!(!ended && Instant::now() < deadline, "it does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        self.watchdog = None;
        fs::remove_dir_all(&self.dir).ok();
    }
}
