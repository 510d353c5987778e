//! What the kernel says about processes: the CPU time of all their threads, and their resident memory.

use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`, the same on every machine Rust's Linux targets run on.
const TICKS: u64 = 100;

/// CPU time since the processes began, user and system: to the nanosecond where the kernel keeps `schedstat`, else to
/// the clock tick. Threads that have ended count in the second case only.
///
/// # Errors
/// When one of them has ended.
pub(crate) fn cpu_time(pids: &[u32]) -> Result<Duration, String> {
    pids.iter().map(|pid| scheduled(*pid).map_or_else(|| ticked(*pid), Ok)).sum()
}

/// For how long the busiest thread of these processes was ready to run and had to wait for a core, since it began: the machine's own
/// doing where the pooler has a core to itself. Zero where the kernel doesn't keep `schedstat`.
pub(crate) fn waited(pids: &[u32]) -> Duration {
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten();
    let stats = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let mut nanos = text.split_whitespace().map_while(|field| field.parse::<u64>().ok());
        Some((nanos.next()?, nanos.next()?))
    });
    Duration::from_nanos(stats.max().map_or(0, |(_, waited)| waited))
}

fn scheduled(pid: u32) -> Option<Duration> {
    let mut total = 0_u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    (total > 0).then(|| Duration::from_nanos(total))
}

fn ticked(pid: u32) -> Result<Duration, String> {
    let text = read(pid, "stat")?;
    let fields = text.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Ok(Duration::from_micros(ticks * 1_000_000 / TICKS))
}

/// Resident memory in KiB.
///
/// # Errors
/// When one of the processes has ended.
pub(crate) fn resident(pids: &[u32]) -> Result<u64, String> {
    pids.iter().map(|pid| resident_of(*pid)).sum()
}

fn resident_of(pid: u32) -> Result<u64, String> {
    let text = read(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("process {pid} has ended"))
}

fn read(pid: u32, file: &str) -> Result<String, String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|e| format!("process {pid} has ended: {e}"))
}
