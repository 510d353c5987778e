//! The load: PostgreSQL's own pgbench, always the same clients, against whatever listens on a port.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::cluster::{self, Cluster};

/// Clients of every measurement.
pub(crate) const CLIENTS: u32 = 32;

/// Branches of the data set: as many as there are server connections, so that few transactions queue for a row.
const SCALE: u32 = super::SERVERS;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// SELECT of one row as a simple query.
    Simple,
    /// The same with the unnamed statement.
    Extended,
    /// The same with a named prepared statement.
    Prepared,
    /// pgbench's default script, seven simple queries in a transaction.
    Tpcb,
    /// A login with SCRAM, one SELECT, and good-bye.
    Connect,
}

impl Workload {
    pub(crate) const ALL: [Self; 5] =
        [Self::Simple, Self::Extended, Self::Prepared, Self::Tpcb, Self::Connect];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
            Self::Tpcb => "tpcb",
            Self::Connect => "connect",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Simple => &["-S", "-M", "simple"],
            Self::Extended => &["-S", "-M", "extended"],
            Self::Prepared => &["-S", "-M", "prepared"],
            Self::Tpcb => &["-M", "simple"],
            Self::Connect => &["-S", "-M", "simple", "-C"],
        }
    }
}

/// Where the program is.
pub(crate) struct Pgbench(PathBuf);

impl Pgbench {
    /// Beside the cluster's own programs, else wherever PATH has it.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let own = cluster.bin().join("pgbench");
        Self(if own.exists() { own } else { Path::new("pgbench").to_owned() })
    }

    /// Fills the tables, straight on PostgreSQL.
    pub(crate) fn fill(&self, cluster: &Cluster) {
        let mut command = self.command(cluster.port);
        cluster::run(command.args(["-i", "-q", "-s", &SCALE.to_string(), "app"]));
    }

    /// Runs a workload through the pooler on `port`; returns the number of transactions.
    pub(crate) fn run(&self, workload: Workload, port: u16, seconds: u32) -> u64 {
        let mut command = self.command(port);
        command.args(["-n", "-c", &CLIENTS.to_string(), "-T", &seconds.to_string()]);
        let told = cluster::run(command.args(workload.arguments()).arg("app"));
        let line =
            told.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let number = line.and_then(|rest| rest.split('/').next()?.trim().parse().ok());
        number.unwrap_or_else(|| panic!("pgbench tells no number of transactions:\n{told}"))
    }

    fn command(&self, port: u16) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["-h", "127.0.0.1", "-U", "app", "-p", &port.to_string()]);
        command.env("PGPASSWORD", "secret-app").env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
        command
    }
}
