//! pgweir as the child of a tool that watches it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::driver;
use super::postgres::Postgres;
use super::support::pgweir::{As, Pgweir};
use super::workload::Workload;

/// Plays a workload, start and end of pgweir included, under a command line that is given pgweir's behind it.
pub(crate) fn watch(tool: &[&str], binary: &Path, workload: Workload, play: impl FnOnce(&Pgweir, &Postgres)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = dir.path().join("pgweir");
    let quoted: Vec<String> = tool.iter().map(|word| format!("'{word}'")).collect();
    let text = format!("#!/bin/sh\nexec {} '{}' \"$@\"\n", quoted.join(" "), binary.display());
    fs::write(&script, text).expect("our directory");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our file");
    let postgres = Postgres::start();
    let config = driver::configuration(workload, &postgres);
    let pgweir = Pgweir::start_binary(&script, &config, As::Ourselves);
    play(&pgweir, &postgres);
    let log = pgweir.log();
    let status = pgweir.stop();
    assert!(status.success(), "{} ended with {status}:\n{log}", tool[0]);
    postgres.finish();
}
