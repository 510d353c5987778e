//! The command line. Says what was asked for; reads no file and no environment.
use std::path::PathBuf;

use clap::Parser;

use crate::config::{ListenAddr, LogLevel, MetricsListen, Overrides, Password};

const EXAMPLES: &str = "\
Examples:
  pgweir /etc/pgweir/pgweir.toml
  pgweir --check /etc/pgweir/pgweir.toml
  pgweir --database-url postgres://app:secret@db.example:5432/app --listen-port 6432

The smallest configuration file that works:
  [databases.\"*\"]
  host = \"127.0.0.1\"

  [users.app]
  password = \"secret\"";

/// PostgreSQL connection pooler: many clients on port 6432, few servers behind it
#[derive(Debug, Parser)]
#[command(name = "pgweir", version, after_help = EXAMPLES, override_usage = "\
pgweir [OPTIONS] <CONFIG.toml>\n       \
pgweir [OPTIONS] --database-url <URL>\n       \
pgweir --check <CONFIG.toml>")]
pub struct Args {
    /// Configuration file
    #[arg(value_name = "CONFIG.toml", required_unless_present_any = ["check", "database_url"])]
    config: Option<PathBuf>,

    /// Run without a file: postgres://user:password@host:port/database
    #[arg(long, value_name = "URL", conflicts_with = "config", value_parser = secret)]
    database_url: Option<Password>,

    /// Check a configuration file and exit: 0 if it is right, 1 if not
    #[arg(long, value_name = "CONFIG.toml", exclusive = true)]
    check: Option<PathBuf>,

    /// Accept clients on this address instead; may be given several times or as a comma list, "*" for all
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    listen_addr: Vec<ListenAddr>,

    /// Accept clients on this port instead
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    listen_port: Option<u16>,

    /// Serve metrics on this address and port instead; empty for none
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<MetricsListen>,

    /// Log this much instead: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

/// What pgweir is asked to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Serve clients.
    Run {
        /// Where the configuration is.
        source: Source,
        /// What to put in place of it.
        overrides: Overrides,
    },
    /// Check a configuration file: exit status 0 if it is right, 1 if not.
    Check {
        /// The file.
        path: PathBuf,
    },
}

/// Where the configuration is.
#[derive(Debug, PartialEq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In a URL, kept as a secret because it holds a password.
    Url(Password),
}

/// Infallible, but clap wants a result: a refused value would be printed, and this one has a password.
fn secret(text: &str) -> Result<Password, std::convert::Infallible> {
    Ok(Password::new(text.to_owned()))
}

impl From<Args> for Command {
    fn from(args: Args) -> Self {
        let overrides = Overrides {
            listen_addr: args.listen_addr,
            listen_port: args.listen_port,
            metrics_listen: args.metrics_listen,
            log_level: args.log_level,
        };
        match (args.check, args.database_url, args.config) {
            (Some(path), ..) => Self::Check { path },
            (None, Some(url), _) => Self::Run { source: Source::Url(url), overrides },
            (None, None, path) => Self::Run { source: Source::File(path.unwrap_or_default()), overrides },
        }
    }
}

/// What this process was asked for. Prints and exits on `--help` (0), `--version` (0) and a wrong command line (2).
pub fn parse() -> Command {
    Args::parse().into()
}
