//! Wires everything together and runs it: the only module that knows everyone.

mod accept;
mod certificates;
mod door;
mod error;
mod hash;
mod house;
mod listeners;
mod log_output;
mod logging;
mod login_test;
mod operator;
mod prompt;
mod reload;
mod rights;
mod rules;
mod run;
mod secrets;
mod systemd;
mod watch;
mod workers;

use crate::cli::{self, Command, Source, Tool};
use crate::config::{self, Config, Warning};
use crate::tls::Tls;
use std::path::Path;
use std::process::ExitCode;

pub use error::AppError;

/// What `main` does.
pub fn main() -> ExitCode {
    let outcome = match cli::parse() {
        Command::Check { path } => check(&path),
        Command::Health { address } => return health(&address),
        Command::Tool(Tool::Hash(wanted)) => hash::run(&wanted),
        Command::Tool(Tool::LoginTest(wanted)) => match login_test::run(&wanted) {
            Ok(false) => return ExitCode::FAILURE,
            outcome => outcome.map(drop),
        },
        Command::Tool(Tool::Top(wanted)) => top(&wanted.place),
        Command::Run { source, overrides } => run::run(source, &overrides),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgweir: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &Path) -> Result<(), AppError> {
    let (config, warnings) = config::load::load(path)?;
    secrets::store(&config)?;
    Tls::new(&config)?;
    let (rules, doubts) = rules::rules(&config)?;
    rules::directory_tls(&rules)?;
    warnings.iter().for_each(|w| println!("{w}"));
    doubts.iter().for_each(|w| println!("{w}"));
    rights::warnings(&config, Some(path)).iter().for_each(|w| println!("{w}"));
    certificates::warnings(&config).iter().for_each(|w| println!("{w}"));
    println!(
        "{}: right ({} databases, {} users)",
        path.display(),
        config.databases.len(),
        config.users.len()
    );
    Ok(())
}

/// A file says where its pgweir's metrics are.
fn top(place: &str) -> Result<(), AppError> {
    let path = Path::new(place);
    if !path.is_file() {
        return crate::top::run(place).map_err(|error| AppError::Top(place.to_owned(), error));
    }
    let mut address = config::load::load(path)?.0.metrics_listen.ok_or(AppError::NoMetrics)?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let place = address.to_string();
    crate::top::run(&place).map_err(|error| AppError::Top(place, error))
}

fn load(source: &Source) -> Result<(Config, Vec<Warning>), AppError> {
    match source {
        Source::File(path) => Ok(config::load::load(path)?),
        Source::Url(url) => Ok((config::from_database_url(url.expose())?, Vec::new())),
    }
}

/// Asks a running pgweir's `/readyz` whether it is well, for a container's HEALTHCHECK.
fn health(address: &str) -> ExitCode {
    use std::io::{Read as _, Write as _};
    let ask = || -> std::io::Result<String> {
        let address =
            address.strip_prefix("http://").unwrap_or(address).split('/').next().unwrap_or_default();
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: pgweir\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => ExitCode::SUCCESS,
        Ok(answer) => {
            eprintln!("pgweir is not ready: {}", answer.lines().last().unwrap_or_default());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("pgweir does not answer at {address}: {error}");
            ExitCode::FAILURE
        }
    }
}
