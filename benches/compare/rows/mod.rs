//! The rows there are: their names, their figures, and who measures them.

mod copy;
mod encrypted;
mod growth;
mod idle;
mod pgbench;
mod scrape;
mod syscalls;
mod timing;

use std::fmt::Write as _;

pub(crate) use copy::Data;
pub(crate) use pgbench::Real;

use super::Bench;
use super::poolers::Kind;

/// One line of the table at the end.
pub(crate) struct Figure {
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
}

/// Letters of what went wrong that are told.
const LONGEST_REASON: usize = 300;

/// Why there is no figure.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// It makes no sense there, or isn't possible here.
    Skipped(String),
    /// Something went wrong under the load.
    Failed(String),
}

impl Trouble {
    pub(crate) fn in_one_line(self) -> Self {
        let joined = |why: String| {
            let words = why.split_whitespace().collect::<Vec<_>>().join(" ");
            words.chars().take(LONGEST_REASON).collect()
        };
        match self {
            Self::Skipped(why) => Self::Skipped(joined(why)),
            Self::Failed(why) => Self::Failed(joined(why)),
        }
    }
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// One value for each figure of the row, and what else is worth a glance while it runs.
pub(crate) struct Measured {
    pub(crate) values: Vec<f64>,
    pub(crate) beside: String,
}

pub(crate) type Outcome = Result<Measured, Trouble>;

/// What is measured together.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Measured when nothing else is asked for.
    main: bool,
    /// Takes a real PostgreSQL, not the fake server.
    pub(crate) real: bool,
    pub(crate) figures: &'static [Figure],
    pub(crate) measure: fn(&Bench, &Kind) -> Outcome,
}

impl Row {
    pub(crate) fn groups(&self) -> Vec<&'static str> {
        let main = self.main.then_some("main");
        let server = if self.real { "real" } else { "fake" };
        main.into_iter().chain([server, "all"]).collect()
    }
}

const fn figure(label: &'static str, unit: &'static str) -> Figure {
    Figure { label, unit }
}

pub(crate) static ROWS: [Row; 22] = [
    Row {
        name: "simple",
        main: true,
        real: true,
        figures: &[figure("CPU a transaction, `pgbench -S`, simple, 32 clients", "µs")],
        measure: |bench, kind| pgbench::select(bench, kind, "simple", 32),
    },
    Row {
        name: "extended",
        main: true,
        real: true,
        figures: &[figure("CPU a transaction, `pgbench -S`, extended, 32 clients", "µs")],
        measure: |bench, kind| pgbench::select(bench, kind, "extended", 32),
    },
    Row {
        name: "prepared",
        main: true,
        real: true,
        figures: &[figure("CPU a transaction, `pgbench -S`, prepared, 32 clients", "µs")],
        measure: |bench, kind| pgbench::select(bench, kind, "prepared", 32),
    },
    Row {
        name: "tpcb",
        main: true,
        real: true,
        figures: &[figure("CPU a transaction, pgbench's default of 7 statements, 32 clients", "µs")],
        measure: pgbench::tpcb,
    },
    Row {
        name: "simple4",
        main: false,
        real: true,
        figures: &[figure("CPU a transaction, `pgbench -S`, simple, 4 clients", "µs")],
        measure: |bench, kind| pgbench::select(bench, kind, "simple", 4),
    },
    Row {
        name: "unix",
        main: false,
        real: true,
        figures: &[figure("CPU a transaction, simple, 32 clients, PostgreSQL by its Unix socket", "µs")],
        measure: pgbench::near,
    },
    Row {
        name: "bigresult",
        main: false,
        real: true,
        figures: &[figure("CPU a MB, results of 1 MB, 8 clients", "µs")],
        measure: pgbench::big_result,
    },
    Row {
        name: "copy",
        main: false,
        real: true,
        figures: &[
            figure("CPU a MB, COPY of 200 MB to a client", "µs"),
            figure("CPU a MB, COPY of 200 MB from a client", "µs"),
        ],
        measure: copy::measure,
    },
    Row {
        name: "connect",
        main: true,
        real: true,
        figures: &[figure("CPU a connection: SCRAM login, one query, leave, 8 clients", "µs")],
        measure: pgbench::connect,
    },
    Row {
        name: "idle",
        main: true,
        real: false,
        figures: &[
            figure("memory of each of 5,000 idle clients with a prepared statement", "KiB"),
            figure("memory of each of 10,000", "KiB"),
            figure("CPU while these 10,000 do nothing, share of a core", "%"),
            figure("latency p99 of 8 active clients beside 5,000 idle, 2,000 requests/s", "µs"),
            figure("of it in the pooler", "µs"),
        ],
        measure: idle::measure,
    },
    Row {
        name: "tls",
        main: false,
        real: true,
        figures: &[figure("TLS 1.3 both ways: CPU a transaction, `pgbench -S`, simple, 32 clients", "µs")],
        measure: encrypted::select,
    },
    Row {
        name: "tls-connect",
        main: false,
        real: true,
        figures: &[figure("TLS 1.3: CPU a connection: handshake, SCRAM login, one query, leave", "µs")],
        measure: encrypted::connect,
    },
    Row {
        name: "tls-copy",
        main: false,
        real: true,
        figures: &[
            figure("TLS 1.3 both ways: CPU a MB, COPY of 200 MB to psql", "µs"),
            figure("TLS 1.3 both ways: CPU a MB, COPY of 200 MB from psql", "µs"),
            figure("TLS 1.3 both ways: CPU a MB, rows of 40 MB to psql", "µs"),
        ],
        measure: encrypted::bulk,
    },
    Row {
        name: "tls-idle",
        main: false,
        real: true,
        figures: &[figure("TLS 1.3: memory of each of 1,000 idle clients", "KiB")],
        measure: encrypted::idle,
    },
    Row {
        name: "tls-storm",
        main: false,
        real: false,
        figures: &[
            figure(
                "latency p99 in the pooler of 8 clients, 2,000 requests/s, while 2,000 more log in by TLS ÷ before",
                "×",
            ),
            figure("the same in the second in which these leave ÷ before", "×"),
            figure("while they log in, as their clients saw it ÷ before", "×"),
            figure("logins/s of these", ""),
        ],
        measure: timing::storm,
    },
    Row {
        name: "cores",
        main: false,
        real: false,
        figures: &[
            figure("two cores ÷ one: CPU a transaction", "×"),
            figure("two cores ÷ one: transactions/s", "×"),
        ],
        measure: growth::cores,
    },
    Row {
        name: "fair",
        main: false,
        real: false,
        figures: &[
            figure("200 clients on 5 servers of 2 ms: wait, p99 ÷ p50", "×"),
            figure("the same: slowest ÷ fastest client's share", "×"),
            figure("the same: use of the possible rate", "%"),
        ],
        measure: timing::fair,
    },
    Row {
        name: "latency",
        main: false,
        real: false,
        figures: &[
            figure("latency at 2,000 requests/s, p50", "µs"),
            figure("latency at 2,000 requests/s, p99", "µs"),
            figure("of it in the pooler", "µs"),
        ],
        measure: timing::latency,
    },
    Row {
        name: "syscalls",
        main: false,
        real: false,
        figures: &[
            figure("system calls a transaction, simple, saturated", ""),
            figure("of these refused with EAGAIN", ""),
            figure("of these epoll_ctl", ""),
            figure("system calls a transaction, prepared, saturated", ""),
        ],
        measure: syscalls::measure,
    },
    Row {
        name: "clients",
        main: false,
        real: false,
        figures: &[figure("CPU a transaction, 10,000 connected clients ÷ 100, 32 active", "×")],
        measure: growth::clients,
    },
    Row {
        name: "pools",
        main: false,
        real: false,
        figures: &[figure("CPU a transaction, 1,000 pools ÷ 1, 32 active clients", "×")],
        measure: growth::pools,
    },
    Row {
        name: "scrape",
        main: false,
        real: false,
        figures: &[
            figure("CPU of a scrape of /metrics, 10,000 clients and 1,000 pools", "ms"),
            figure("the same with metrics_compat", "ms"),
        ],
        measure: scrape::measure,
    },
];

/// The rows and groups, for `--help`.
pub(crate) fn help() -> String {
    let mut text = "Rows:\n".to_owned();
    for row in &ROWS {
        let main = if row.main { "*" } else { " " };
        for (n, figure) in row.figures.iter().enumerate() {
            let name = if n == 0 { row.name } else { "" };
            writeln!(text, "  {main} {name:<10} {} {}", figure.label, figure.unit)
                .expect("strings take everything");
        }
    }
    text.push_str(
        "
Groups: main (those with *), real (on PostgreSQL), fake (on a server that answers at once), all

Environment: PGBOUNCER, HAPROXY, PGWEIR_BINARY name other programs than those found.
CPU is the pooler's own, user and system, of all its threads, over the transactions of the same time.
An error of any kind (a wrong answer, a lost row, a failed client) fails the row and the exit status.",
    );
    text
}
