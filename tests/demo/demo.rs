//! The demo: a throwaway PostgreSQL, pgweir in front of it, a real load through it, and what came of it. Leaves nothing
//! behind. `make demo` and `make demo-check` run it; see [`options`] for its arguments.

mod load;
mod options;
mod report;
#[path = "../support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use options::Options;
use support::cluster::{Cluster, Version};
use support::pgweir::{As, Config, Pgweir};

const PORT: u16 = 6432;
const METRICS_PORT: u16 = 9127;
/// Server connections of the one pool there is.
const SERVERS: usize = 20;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, String> {
    let options = Options::from_arguments()?;
    let binary = pgweir_binary()?;
    for (port, what) in [(PORT, "pgweir"), (METRICS_PORT, "its metrics")] {
        TcpListener::bind(("127.0.0.1", port)).map_err(|e| {
            format!("port {port} of 127.0.0.1, where {what} would be, is taken ({e}); stop what uses it and try again")
        })?;
    }
    install_postgresql()?;

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    println!("Starting a throwaway PostgreSQL …");
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start_at(&binary, &config(&cluster, &options), As::Ourselves, (PORT, METRICS_PORT));
    println!("pgweir is up: {} clients at most, {SERVERS} server connections.\n", options.clients + 50);
    println!("  connect  psql \"postgres://app:secret-app@127.0.0.1:{PORT}/app\"");
    println!("  metrics  http://127.0.0.1:{METRICS_PORT}/metrics\n");

    let outcome = runtime.block_on(load::drive(&cluster, &options))?;
    let good = report::print(&outcome, &pgweir.metrics(), SERVERS);
    if !options.check && !outcome.interrupted {
        println!("\nStill up; Ctrl-C ends it.");
        runtime.block_on(load::interrupted());
        println!();
    }
    pgweir.stop();
    drop(cluster);
    Ok(good)
}

fn config(cluster: &Cluster, options: &Options) -> Config {
    let clients = i64::try_from(options.clients).unwrap_or(i64::MAX - 50);
    Config::new(cluster)
        .set("max_client_conn", clients + 50)
        .set("default_pool_size", i64::try_from(SERVERS).expect("small"))
        .set("log_connections", false)
        .set("log_disconnections", false)
}

/// The binary beside the directory this program was built into.
fn pgweir_binary() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let directory = own.parent().and_then(Path::parent).unwrap_or(Path::new("target/release"));
    let binary = directory.join("pgweir");
    if binary.exists() {
        Ok(binary)
    } else {
        Err(format!("{} is not there; run make build", binary.display()))
    }
}

fn install_postgresql() -> Result<(), String> {
    if Version::V15.bin().is_ok() {
        return Ok(());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/install");
    let status =
        Command::new(&script).arg("postgres").status().map_err(|e| format!("{}: {e}", script.display()))?;
    match status.success() {
        true => Version::V15.bin().map(drop),
        false => {
            Err("PostgreSQL (15 or so: initdb, postgres) is needed and could not be installed; see above"
                .into())
        }
    }
}
