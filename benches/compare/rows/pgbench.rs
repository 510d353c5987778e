//! Rows that PostgreSQL's own pgbench can make, on a real PostgreSQL.

use std::cell::OnceCell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Data, Measured, Outcome, Trouble};
use crate::poolers::{Kind, Pooler, Setup, Tls};
use crate::support::certificates::{self, Certificates, Files};
use crate::support::cluster::{self, Cluster, Version};
use crate::support::messages::Message;
use crate::support::raw::Client;
use crate::{Bench, SERVERS};

/// Branches of the data set: as many as there are server connections, so that few transactions queue for a row.
const SCALE: u32 = SERVERS;
/// Clients at a time that come, ask and leave.
pub(super) const COMERS: u32 = 8;
/// A thousand rows of a thousand bytes.
const MEGABYTE: &str = "SELECT lpad(i::text, 1000, 'x') FROM generate_series(1, 1000) i";

/// PostgreSQL and what is asked of it.
pub(crate) struct Real {
    pub(crate) cluster: Cluster,
    /// The SCRAM secret of user `app`.
    verifier: String,
    pgbench: PathBuf,
    certificates: Certificates,
    /// The certificate of PostgreSQL and of poolers that encrypt.
    localhost: Files,
    pub(crate) data: OnceCell<Data>,
}

impl Real {
    /// A throwaway PostgreSQL with pgbench's tables.
    pub(crate) fn start() -> Self {
        let certificates = Certificates::new();
        let localhost = certificates.issue("localhost", &certificates::Kind::of(&["localhost"]));
        let [on, certificate, key] = localhost.settings();
        let settings = ["shared_buffers=256MB", &on, &certificate, &key];
        let cluster = Cluster::with_settings(Version::V15, &settings);
        let beside = cluster.bin().join("pgbench");
        let pgbench = if beside.exists() { beside } else { Path::new("pgbench").to_owned() };
        let verifier = cluster.value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
        let real = Self { cluster, verifier, pgbench, certificates, localhost, data: OnceCell::new() };
        cluster::run(real.command(real.cluster.port).args(["-i", "-q", "-s", &SCALE.to_string(), "app"]));
        real
    }

    /// A fresh pooler in front of it.
    pub(crate) fn pooler(&self, kind: &Kind) -> Pooler {
        kind.start(&self.setup())
    }

    /// The same by PostgreSQL's Unix socket.
    fn near_pooler(&self, kind: &Kind) -> Pooler {
        kind.start(&Setup { socket: Some(self.cluster.socket_dir().to_owned()), ..self.setup() })
    }

    /// The same with TLS to both sides.
    pub(super) fn encrypting_pooler(&self, kind: &Kind) -> Pooler {
        kind.start(&Setup { tls: Tls::Everybody(self.localhost.clone()), clients: 1100, ..self.setup() })
    }

    /// The certificate of the CA.
    pub(super) fn ca(&self) -> PathBuf {
        self.certificates.ca()
    }

    fn setup(&self) -> Setup {
        Setup {
            server: self.cluster.port,
            socket: None,
            databases: 1,
            servers: SERVERS,
            workers: 1,
            clients: 100,
            verifier: self.verifier.clone(),
            metrics: None,
            tls: Tls::Nobody,
        }
    }

    fn command(&self, port: u16) -> Command {
        let mut command = Command::new(&self.pgbench);
        command.args(["-h", "127.0.0.1", "-U", "app", "-p", &port.to_string()]);
        command.env("PGPASSWORD", "secret-app").env("PGGSSENCMODE", "disable");
        command
    }

    /// Runs it through the pooler. What the pooler used from pgbench's first progress line, a second after the start, to
    /// its end goes through the transactions of that time.
    pub(super) fn run(
        &self,
        pooler: &Pooler,
        clients: u32,
        seconds: u32,
        arguments: &[&str],
    ) -> Result<Ran, String> {
        let mut command = self.command(pooler.port);
        command.env("PGSSLMODE", if pooler.encrypts { "require" } else { "disable" });
        command.args(["-n", "-P", "1", "-c", &clients.to_string(), "-T", &(seconds + 1).to_string()]);
        command.args(arguments).arg("app").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().map_err(|e| format!("pgbench: {e}"))?;
        let told = BufReader::new(child.stderr.take().expect("piped"));
        let (mut first, mut complaints) = (None, String::new());
        for line in told.lines().map_while(Result::ok) {
            match progress(&line) {
                Some(done) if first.is_none() => first = Some((done, pooler.cpu_time()?)),
                Some(_) => {}
                None => complaints.push_str(&line),
            }
        }
        let after = pooler.cpu_time();
        let out = std::io::read_to_string(child.stdout.take().expect("piped")).unwrap_or_default();
        let status = child.wait().map_err(|e| e.to_string())?;
        let number = |name: &str| {
            let rest = out.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split([' ', '/']).next()?.parse::<u64>().ok()
        };
        let all = number("number of transactions actually processed: ");
        let failed = number("number of failed transactions: ").unwrap_or(0);
        match (all, first) {
            (Some(all), Some((early, before))) if status.success() && failed == 0 && all as f64 > early => {
                let cost = after?.saturating_sub(before).as_secs_f64() * 1e6 / (all as f64 - early);
                Ok(Ran { all, cost, per_second: (all as f64 - early) / f64::from(seconds) })
            }
            _ => Err(format!("pgbench: {status}, {failed} transactions failed; {complaints}")),
        }
    }
}

pub(super) struct Ran {
    /// Transactions, those of the first second too.
    all: u64,
    /// CPU time for each, in µs.
    cost: f64,
    per_second: f64,
}

impl Ran {
    pub(super) fn measured(&self) -> Measured {
        let share = self.cost * self.per_second / 1e4;
        let beside = format!("{:.0} a second, {share:.0} % of a core", self.per_second);
        Measured { values: vec![self.cost], beside }
    }
}

/// Transactions since the line before: `progress: 1.0 s, 25000.1 tps, …`.
fn progress(line: &str) -> Option<f64> {
    let mut words = line.strip_prefix("progress: ")?.split(' ');
    let (seconds, _, rate) = (words.next()?, words.next()?, words.next()?);
    Some(seconds.parse::<f64>().ok()? * rate.parse::<f64>().ok()?)
}

/// SELECT of one row.
pub(super) fn select(bench: &Bench, kind: &Kind, mode: &str, clients: u32) -> Outcome {
    if mode == "prepared" && !kind.keeps_statements() {
        return Err(Trouble::Skipped("this version keeps no prepared statements".into()));
    }
    let real = bench.real();
    let ran = real.run(&real.pooler(kind), clients, bench.seconds(), &["-S", "-M", mode])?;
    Ok(ran.measured())
}

/// The same, PostgreSQL being reached by its Unix socket.
pub(super) fn near(bench: &Bench, kind: &Kind) -> Outcome {
    if matches!(kind, Kind::Floor(_)) {
        return Err(Trouble::Skipped("it goes by TCP".into()));
    }
    let real = bench.real();
    let ran = real.run(&real.near_pooler(kind), 32, bench.seconds(), &["-S"])?;
    Ok(ran.measured())
}

/// A login, SELECT of one row, and good-bye.
pub(super) fn connect(bench: &Bench, kind: &Kind) -> Outcome {
    let real = bench.real();
    let ran = real.run(&real.pooler(kind), COMERS, bench.seconds(), &["-S", "-C"])?;
    Ok(ran.measured())
}

/// pgbench's default script; all transactions are in the history, and the balances add up.
pub(super) fn tpcb(bench: &Bench, kind: &Kind) -> Outcome {
    let real = bench.real();
    real.cluster.sql("app", "TRUNCATE pgbench_history");
    real.cluster.sql("app", "VACUUM pgbench_branches, pgbench_tellers");
    let ran = real.run(&real.pooler(kind), 32, bench.seconds(), &[])?;
    let kept = real.cluster.value("app", "SELECT count(*) FROM pgbench_history");
    if kept != ran.all.to_string() {
        return Err(format!("{} transactions, but {kept} in the history", ran.all).into());
    }
    let sums =
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)
        AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches)";
    if real.cluster.value("app", sums) != "t" {
        return Err("the balances don't add up".to_owned().into());
    }
    Ok(ran.measured())
}

/// Results of a megabyte; one is compared.
pub(super) fn big_result(bench: &Bench, kind: &Kind) -> Outcome {
    let real = bench.real();
    let pooler = real.pooler(kind);
    let mut client = Client::try_connect(&pooler.target(0)).map_err(|e| e.to_string())?;
    let rows: Vec<Message> =
        client.query(MEGABYTE).into_iter().filter(|message| message.tag == b'D').collect();
    let right = |(n, row): (usize, &Message)| row.body[6..] == *format!("{:x>1000}", n + 1).as_bytes();
    if rows.len() != 1000 || !rows.iter().enumerate().all(right) {
        return Err("the result is not what PostgreSQL sends".to_owned().into());
    }
    client.terminate();
    let script = tempfile::Builder::new().suffix(".sql").tempfile().map_err(|e| e.to_string())?;
    std::fs::write(script.path(), format!("{MEGABYTE};\n")).map_err(|e| e.to_string())?;
    let path = script.path().display().to_string();
    let ran = real.run(&pooler, 8, bench.seconds(), &["-f", &path])?;
    Ok(ran.measured())
}
