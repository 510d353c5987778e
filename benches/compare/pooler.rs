//! The two poolers as the measurements see them: a process behind a port, both with the same settings.

use std::path::{Path, PathBuf};

use super::Setup;
use super::pgbouncer::{PgBouncer, Program};
use super::support::pgweir::{As, Config, Pgweir};

/// What can be measured.
#[derive(Clone)]
pub(crate) enum Kind {
    PgBouncer(Program),
    /// The path of the binary.
    Pgweir(PathBuf),
}

impl Kind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::PgBouncer(_) => "pgbouncer",
            Self::Pgweir(_) => "pgweir",
        }
    }

    /// The binary beside the directory this program was built into.
    pub(crate) fn own() -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let directory = own.parent().and_then(Path::parent).unwrap_or(Path::new("target/release"));
        let binary = directory.join("pgweir");
        match binary.exists() {
            true => Ok(Self::Pgweir(binary)),
            false => Err(format!("{} is not there; run make build", binary.display())),
        }
    }

    /// Whether prepared statements work in transaction mode.
    pub(crate) fn keeps_statements(&self) -> bool {
        match self {
            Self::PgBouncer(program) => program.keeps_statements(),
            Self::Pgweir(_) => true,
        }
    }

    /// A fresh process that listens.
    pub(crate) fn start(&self, setup: &Setup<'_>) -> Pooler {
        match self {
            Self::PgBouncer(program) => Pooler::PgBouncer(PgBouncer::start(program, setup)),
            Self::Pgweir(binary) => {
                Pooler::Pgweir(Pgweir::start_binary(binary, &configuration(setup), As::Ourselves))
            }
        }
    }
}

/// A running pooler; dropping it stops it.
pub(crate) enum Pooler {
    PgBouncer(PgBouncer),
    Pgweir(Pgweir),
}

impl Pooler {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::PgBouncer(pooler) => pooler.pid(),
            Self::Pgweir(pooler) => pooler.pid(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::PgBouncer(pooler) => pooler.port,
            Self::Pgweir(pooler) => pooler.port,
        }
    }
}

/// PgBouncer has one thread, so pgweir gets one worker.
fn configuration(setup: &Setup<'_>) -> Config {
    let mut config = Config::new(setup.cluster)
        .set("workers", 1)
        .set("default_pool_size", i64::from(super::SERVERS))
        .set("max_client_conn", i64::from(setup.clients))
        .set("max_prepared_statements", i64::from(super::STATEMENTS))
        .set("server_idle_timeout", 0)
        .set("server_lifetime", i64::from(super::LIFETIME))
        .set("log_connections", false)
        .set("log_disconnections", false)
        .put("users.app", "password", &*setup.verifier);
    for other in ["md5user", "plainuser", "trusty"] {
        config = config.without(&format!("users.{other}"));
    }
    config
}
