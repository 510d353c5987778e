//! The command line.

use clap::Parser;

use super::rows::{self, Row};

/// What pgweir costs and how fast it is beside PgBouncer and haproxy, on this machine, in one run.
#[derive(Parser)]
#[command(after_help = rows::help(), version)]
pub(crate) struct Options {
    /// Rows and groups of rows, with commas between them
    #[arg(long, default_value = "main")]
    rows: String,
    /// How often each row is measured for each pooler, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Beside a relay, too, that looks at nothing: what no pooler can be cheaper than by TCP
    #[arg(long)]
    pub(crate) floor: bool,
    /// Only this pooler: PgBouncer, haproxy, floor or pgweir
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Length of one measurement, after a second of warming up
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) seconds: u32,
}

impl Options {
    /// # Errors
    /// A name that is neither a row's nor a group's.
    pub(crate) fn rows(&self) -> Result<Vec<&'static Row>, String> {
        let mut wanted = Vec::new();
        for name in self.rows.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let named: Vec<_> =
                rows::ROWS.iter().filter(|row| row.name == name || row.groups().contains(&name)).collect();
            if named.is_empty() {
                return Err(format!("there is no row or group {name:?}\n{}", rows::help()));
            }
            wanted.extend(named);
        }
        Ok(rows::ROWS.iter().filter(|row| wanted.iter().any(|other| other.name == row.name)).collect())
    }
}
