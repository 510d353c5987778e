//! User instructions, counted and laid out by valgrind's callgrind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::driver;
use super::fold::{self, Stacks};
use super::postgres::Postgres;
use super::support::pgweir::Pgweir;
use super::tool;
use super::workload::Workload;

/// Transactions of the short and of the long run; their difference is free of start and end.
const RUNS: [usize; 2] = [400, 4400];
/// The same for logins.
const LOGINS: [usize; 2] = [32, 800];

/// Seconds of the short and of the long rest, shorter than the scripted server waits for a message.
const RESTS: [u64; 2] = [2, 12];

fn runs(workload: Workload) -> [usize; 2] {
    if workload == Workload::Login { LOGINS } else { RUNS }
}

/// User instructions a transaction, of all threads.
pub(crate) fn instructions(binary: &Path, workload: Workload) -> f64 {
    let runs = runs(workload);
    let [short, long] = runs.map(|transactions| total(&run(binary, workload, transactions, &[])));
    (long - short) / (runs[1] - runs[0]) as f64
}

/// User instructions a second while clients and servers are there and nobody wants anything.
pub(crate) fn resting(binary: &Path) -> f64 {
    let file = |seconds| {
        let rest = |pgweir: &Pgweir, postgres: &Postgres| {
            driver::rest(pgweir, postgres, Duration::from_secs(seconds));
        };
        record(binary, Workload::Simple, &[], rest)
    };
    let [short, long] = RESTS.map(|seconds| total(&file(seconds)));
    (long - short) / (RESTS[1] - RESTS[0]) as f64
}

/// The same by stack.
pub(crate) fn stacks(binary: &Path, workload: Workload) -> Stacks {
    let runs = runs(workload);
    let file = |transactions| run(binary, workload, transactions, &["--separate-callers=60"]);
    let [short, long] = runs.map(|transactions| fold::fold(&file(transactions)));
    fold::difference(&short, long, runs[1] - runs[0])
}

/// callgrind's file on one run.
fn run(binary: &Path, workload: Workload, transactions: usize, options: &[&str]) -> String {
    record(binary, workload, options, |pgweir, postgres| {
        driver::play(workload, pgweir, postgres, transactions);
    })
}

fn record(
    binary: &Path,
    workload: Workload,
    options: &[&str],
    play: impl FnOnce(&Pgweir, &Postgres),
) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("callgrind.out");
    let file = format!("--callgrind-out-file={}", out.display());
    let tool = [&["valgrind", "-q", "--tool=callgrind", &file], options].concat();
    tool::watch(&tool, binary, workload, play);
    fs::read_to_string(&out).unwrap_or_else(|e| panic!("callgrind has written nothing: {e}"))
}

fn total(file: &str) -> f64 {
    let line = file.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    line.and_then(|number| number.trim().parse().ok()).expect("callgrind tells the total")
}
