//! What pgweir costs and how fast it is beside PgBouncer and haproxy, on this machine: every figure the README claims.
//! All are started with the same settings, in turns, in one run. `make bench` runs it; `--help` tells the rows.

mod cores;
mod counters;
mod environment;
mod limits;
mod load;
mod options;
mod poolers;
mod report;
mod rounds;
mod rows;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;
use options::Options;
use poolers::Kind;
use rows::Real;

/// Server connections of a pool, unless a row says otherwise.
const SERVERS: u32 = 20;
/// Clients the largest rows want.
const MOST_CLIENTS: u32 = 10_000;

/// What all rows are measured with.
pub(crate) struct Bench {
    options: Options,
    kinds: Vec<Kind>,
    /// Open files we and the poolers may have.
    files: u32,
    real: Option<Real>,
}

impl Bench {
    /// PostgreSQL; rows that are marked so may ask for it.
    fn real(&self) -> &Real {
        self.real.as_ref().expect("started for these rows")
    }

    /// Length of one measurement.
    fn seconds(&self) -> u32 {
        self.options.seconds
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("compare: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing failed.
fn run() -> Result<bool, String> {
    let options = Options::parse();
    let rows = options.rows()?;
    let files = limits::raise()?;
    let (mut kinds, missing) = Kind::all(options.floor)?;
    if let Some(only) = &options.only {
        kinds.retain(|kind| kind.name().eq_ignore_ascii_case(only));
    }
    let notes: Vec<String> = missing
        .into_iter()
        .map(|why| format!("{why}. Measuring without it."))
        .chain(kinds.iter().filter_map(|kind| limits::too_low(kind, MOST_CLIENTS, files)))
        .collect();
    notes.iter().for_each(|note| println!("{note}"));
    let real = rows.iter().any(|row| row.real).then(|| {
        println!("Starting a throwaway PostgreSQL …");
        Real::start()
    });
    let bench = Bench { options, kinds, files, real };
    let environment = environment::line(&bench);
    println!("{environment}\n");
    let results = rounds::all(&bench, &rows);
    println!();
    report::table(&bench.kinds, &results);
    notes.iter().for_each(|note| println!("{note}"));
    println!("\n{environment}");
    Ok(results.iter().all(|result| !result.failed()))
}
