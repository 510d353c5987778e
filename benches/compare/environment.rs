//! Where and with what it was measured, in one line.

use std::fs;

use super::Bench;
use super::poolers::Kind;

pub(crate) fn line(bench: &Bench) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut parts = vec![format!("{}, {cores} cores", processor()), format!("Linux {}", kernel())];
    if let Some(real) = &bench.real {
        parts.push(format!("PostgreSQL {}", real.cluster.value("postgres", "SHOW server_version")));
    }
    parts.extend(bench.kinds.iter().map(Kind::full_name));
    format!(
        "{}; rounds: {}, {} s each, one worker, {} servers a pool unless a row says otherwise",
        parts.join("; "),
        bench.options.rounds,
        bench.options.seconds,
        super::SERVERS,
    )
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": ")).map_or(std::env::consts::ARCH, |(_, name)| name);
    let place = if text.contains("hypervisor") { " (virtual)" } else { "" };
    format!("{}{place}", name.trim())
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
