//! System calls, counted by strace.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::driver;
use super::postgres::Postgres;
use super::support;
use super::support::pgweir::Pgweir;
use super::tool;
use super::workload::Workload;

/// Transactions of the short and of the long run; their difference is free of start and end.
const RUNS: [usize; 2] = [80, 880];

/// Name → calls.
pub(crate) type Calls = BTreeMap<String, f64>;

/// System calls a transaction, of all threads, down to one in a hundred transactions.
pub(crate) fn calls(binary: &Path, workload: Workload) -> Calls {
    let [short, mut long] = RUNS.map(|transactions| parse(&run(binary, workload, transactions)));
    for (name, calls) in short {
        *long.entry(name).or_default() -= calls;
    }
    long.values_mut().for_each(|calls| *calls /= (RUNS[1] - RUNS[0]) as f64);
    long.retain(|_, calls| *calls >= 0.01);
    long
}

/// strace's summary of one run.
fn run(binary: &Path, workload: Workload, transactions: usize) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("strace.out");
    // -D makes strace the descendant, so that the process we start and stop is pgweir.
    let tool = ["strace", "-D", "-f", "-c", "-U", "calls,name", "-o", &out.display().to_string()];
    let play = |pgweir: &Pgweir, postgres: &Postgres| driver::play(workload, pgweir, postgres, transactions);
    tool::watch(&tool, binary, workload, play);
    let summary = || fs::read_to_string(&out).unwrap_or_default();
    support::eventually("strace writes its summary", || summary().contains(" total\n"));
    summary()
}

fn parse(summary: &str) -> Calls {
    let lines = summary.lines().filter_map(|line| line.trim().split_once(' '));
    let calls = lines.filter_map(|(calls, name)| Some((name.trim().to_owned(), calls.parse().ok()?)));
    calls.filter(|(name, _)| name != "total").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let summary = "    calls syscall\n--------- ----------------\n       20 sendto\n        3 epoll_wait\n\
                       --------- ----------------\n       23 total\n";
        let expected = [("sendto".to_owned(), 20.0), ("epoll_wait".to_owned(), 3.0)];
        assert_eq!(parse(summary), expected.into());
    }
}
