//! The same with TLS 1.3 between clients and pooler and between pooler and PostgreSQL.

use std::process::Command;
use std::time::Duration;

use super::pgbench::Real;
use super::{Measured, Outcome, Trouble};
use crate::Bench;
use crate::poolers::{Kind, Pooler};
use crate::support::cluster::run;
use crate::support::process;
use crate::support::raw::{Client, Target};
use crate::support::tunnel::{Tunnel, V13};

/// Clients that do nothing.
const IDLE: usize = 1000;
/// Rows of 100 bytes.
const ROWS: u32 = 2_000_000;
/// Bytes of a long row, and how many come.
const LONG: (u64, u64) = (40_000_000, 5);

fn pooler<'a>(bench: &'a Bench, kind: &Kind) -> Result<(&'a Real, Pooler), Trouble> {
    if !kind.pools() {
        return Err(Trouble::Skipped("it would only pass TLS on".into()));
    }
    let real = bench.real();
    Ok((real, real.encrypting_pooler(kind)))
}

/// SELECT of one row.
pub(super) fn select(bench: &Bench, kind: &Kind) -> Outcome {
    let (real, pooler) = pooler(bench, kind)?;
    Ok(real.run(&pooler, 32, bench.seconds(), &["-S", "-M", "simple"])?.measured())
}

/// A handshake, a login, SELECT of one row, and good-bye.
pub(super) fn connect(bench: &Bench, kind: &Kind) -> Outcome {
    let (real, pooler) = pooler(bench, kind)?;
    Ok(real.run(&pooler, super::pgbench::COMERS, bench.seconds(), &["-S", "-C"])?.measured())
}

/// 200 MB to and from psql, and as much in rows of 40 MB.
pub(super) fn bulk(bench: &Bench, kind: &Kind) -> Outcome {
    let (real, pooler) = pooler(bench, kind)?;
    real.cluster.sql("app", "DROP TABLE IF EXISTS copied");
    for sql in [
        "CREATE UNLOGGED TABLE copied (id int, pad text)".to_owned(),
        "GRANT ALL ON copied TO app".to_owned(),
        format!(
            "INSERT INTO copied SELECT i, lpad(i::text, 91, 'x') FROM generate_series(1000001, 1000000 + {ROWS}) i"
        ),
    ] {
        real.cluster.sql("app", &sql);
    }
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    process::give_to_unprivileged(dir.path());
    let file = dir.path().join("copied");
    let spent = |texts: &[&str]| -> Result<Duration, String> {
        let before = pooler.cpu_time()?;
        run(&mut psql(real, &pooler, texts));
        Ok(pooler.cpu_time()?.saturating_sub(before))
    };
    let out = spent(&[&format!("\\copy copied TO '{}'", file.display())])?;
    real.cluster.sql("app", "TRUNCATE copied");
    let back = spent(&[&format!("\\copy copied FROM '{}'", file.display())])?;
    let right = "SELECT count(*) FILTER (WHERE pad = lpad(id::text, 91, 'x')) FROM copied";
    if real.cluster.value("app", right) != ROWS.to_string() {
        return Err("COPY: other data came back".to_owned().into());
    }
    real.cluster.sql("app", "DROP TABLE copied");
    let (length, count) = LONG;
    let long = format!("SELECT repeat('x', {length}) FROM generate_series(1, {count})");
    let long = spent(&[&format!("\\o '{}'", file.display()), &long])?;
    let came = std::fs::metadata(&file).map_err(|e| e.to_string())?.len();
    if came != count * (length + 1) {
        return Err(format!("rows of 40 MB: {came} bytes came").into());
    }
    let each = |time: Duration, bytes: f64| time.as_secs_f64() * 1e12 / bytes;
    let copied = f64::from(ROWS) * 100.0;
    let values = vec![each(out, copied), each(back, copied), each(long, (count * length) as f64)];
    Ok(Measured { values, beside: format!("{:.0} MB", copied / 1e6) })
}

fn psql(real: &Real, pooler: &Pooler, texts: &[&str]) -> Command {
    let mut command = Command::new(real.cluster.bin().join("psql"));
    command.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "app", "-d", "app"]);
    command.args(["-p", &pooler.port.to_string()]).args(texts.iter().flat_map(|text| ["-c", *text]));
    command.env("PGPASSWORD", "secret-app").env("PGSSLMODE", "require").env("PGGSSENCMODE", "disable");
    command
}

/// Memory of clients that have run a query.
pub(super) fn idle(bench: &Bench, kind: &Kind) -> Outcome {
    let (real, pooler) = pooler(bench, kind)?;
    let tunnel = Tunnel::start(([127, 0, 0, 1], pooler.port).into(), &real.ca(), V13);
    let come = |clients: usize| -> Result<Vec<Client>, String> {
        let target = Target::tcp(tunnel.address, "app", "app");
        let one = |_| {
            let mut client = Client::try_connect(&target).map_err(|e| e.to_string())?;
            client.rows("SELECT 1").map_err(|e| e.to_string())?;
            Ok(client)
        };
        (0..clients).map(one).collect()
    };
    let first = come(20)?;
    let before = pooler.resident()?;
    let more = come(IDLE)?;
    let each = (pooler.resident()? - before) / IDLE as f64;
    drop((first, more));
    Ok(Measured { values: vec![each], beside: format!("{IDLE} clients") })
}
