//! What the kernel says about a process: the CPU time of all its threads, and its resident memory.

use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`, the same on every machine Rust's Linux targets run on.
const TICKS: u64 = 100;

/// CPU time since the process began, user and system: to the nanosecond where the kernel keeps `schedstat`, else to the
/// clock tick. Threads that have ended count in the second case only.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    scheduled(pid).unwrap_or_else(|| ticked(pid))
}

fn scheduled(pid: u32) -> Option<Duration> {
    let mut total = 0_u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    (total > 0).then(|| Duration::from_nanos(total))
}

fn ticked(pid: u32) -> Duration {
    let text = read(pid, "stat");
    let (_, fields) = text.rsplit_once(") ").expect("the name of a process is in parentheses");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|f| f.parse::<u64>().expect("a number")).sum();
    Duration::from_micros(ticks * 1_000_000 / TICKS)
}

/// Resident memory in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = read(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a live process has a VmRSS")
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .unwrap_or_else(|e| panic!("process {pid} has ended? /proc/{pid}/{file}: {e}"))
}
