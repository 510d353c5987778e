//! Child processes that never outlive the test process, free ports, and the unprivileged user to run servers as.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};

/// Ends a process and removes a directory when the test process is gone, however it went.
///
/// A shell in its own process group reads from a pipe only this process holds: end of file means we died.
pub struct Watchdog(Child);

impl Watchdog {
    /// `pid_file` holds the pid in its first line at the time it is needed.
    pub fn over(pid_file: &Path, dir: &Path) -> Self {
        const SCRIPT: &str = r#"
            if read -r _; then exit 0; fi
            pid=$(head -n 1 "$1" 2>/dev/null)
            if [ -n "$pid" ]; then
                kill -CONT "$pid"; kill -QUIT "$pid"
                n=0; while [ $n -lt 30 ] && grep -q '^State:.[^Z]' "/proc/$pid/status"; do sleep 0.1; n=$((n + 1)); done
                kill -KILL "$pid"
            fi 2>/dev/null
            rm -rf "$2""#;
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .args([pid_file, dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Self(child)
    }
}

impl Drop for Watchdog {
    /// An orderly end: whoever owns the watchdog has cleaned up.
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            pipe.write_all(b"done\n").ok();
        }
        self.0.wait().ok();
    }
}

/// A port nobody listens on, below the range the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id().wrapping_mul(37) % 11_000) as u16;
    for _ in 0..11_000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 11_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 31000");
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Someone who is not root, for servers that refuse to run as root: `(name, uid, gid)`.
pub fn unprivileged() -> (String, u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
    let entry = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let number = |at: usize| line.split(':').nth(at)?.parse::<u32>().ok();
        Some((name.to_owned(), number(2)?, number(3)?))
    };
    entry("postgres").or_else(|| entry("nobody")).expect("a user postgres or nobody")
}

/// A command that runs as that user when we are root, else as ourselves.
pub fn unprivileged_command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let (_, uid, gid) = unprivileged();
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups").arg(program);
    command
}

pub fn give_to_unprivileged(path: &Path) {
    if is_root() {
        let (_, uid, gid) = unprivileged();
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("root may chown");
    }
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).ok();
}
