//! The command line. Says what was asked for; reads no file and no environment.
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

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
pgweir --check <CONFIG.toml>\n       \
pgweir <hash|login-test|top> …", args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Tool>,

    /// Configuration file
    #[arg(value_name = "CONFIG.toml", required_unless_present_any = ["check", "database_url", "health"])]
    config: Option<PathBuf>,

    /// Run without a file: postgres://user:password@host:port/database
    #[arg(long, value_name = "URL", conflicts_with = "config", value_parser = secret)]
    database_url: Option<Password>,

    /// Check a configuration file and exit: 0 if it is right, 1 if not
    #[arg(long, value_name = "CONFIG.toml", exclusive = true)]
    check: Option<PathBuf>,

    /// Ask a running pgweir's metrics address whether it is ready, and exit: 0 if it is, 1 if not
    #[arg(long, value_name = "ADDRESS:PORT", exclusive = true)]
    health: Option<String>,

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

/// What pgweir does beside serving clients.
#[derive(Debug, PartialEq, Subcommand)]
pub enum Tool {
    /// Make what is stored of a password, which is read from standard input
    Hash(Hash),
    /// Log in as a client would, and say where it fails and why; a password that is asked for is read from standard input
    LoginTest(LoginTest),
    /// Show the pools of a running pgweir, live
    Top(Top),
}

/// Which secret to make.
#[derive(Debug, PartialEq, Args)]
pub struct Hash {
    /// SCRAM-SHA-256 iterations
    #[arg(long, value_name = "NUMBER", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub iterations: u32,

    /// Make it with the salt and the iterations of this SCRAM secret, so that both can be used at the same time
    #[arg(long, value_name = "SCRAM-SHA-256$…", conflicts_with = "iterations", value_parser = secret)]
    pub like: Option<Password>,

    /// Make an md5 hash for this user, for clients and servers that know nothing better
    #[arg(long, value_name = "USER", conflicts_with_all = ["iterations", "like"])]
    pub md5: Option<String>,
}

/// Whose login to try.
#[derive(Debug, PartialEq, Args)]
pub struct LoginTest {
    /// Configuration file
    #[arg(value_name = "CONFIG.toml")]
    pub config: PathBuf,

    /// User that logs in
    #[arg(long, short = 'U', value_name = "NAME")]
    pub user: String,

    /// Database that it asks for; the user's name when left out
    #[arg(long, short = 'd', value_name = "NAME")]
    pub database: Option<String>,

    /// Where it comes from, for auth_hba_file: an address, or local for the Unix-domain socket
    #[arg(long, value_name = "ADDRESS|local", default_value = "127.0.0.1")]
    pub from: Whence,

    /// It comes without TLS, for auth_hba_file; else with it where clients can have it
    #[arg(long)]
    pub no_tls: bool,
}

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    /// Over TCP.
    Address(IpAddr),
    /// Over the Unix-domain socket.
    Local,
}

impl FromStr for Whence {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "local" => Ok(Self::Local),
            _ => text.parse().map(Self::Address).map_err(|_| "neither an IP address nor \"local\""),
        }
    }
}

/// Which pgweir to show.
#[derive(Debug, PartialEq, Args)]
pub struct Top {
    /// Its metrics address, or its configuration file
    #[arg(value_name = "ADDRESS:PORT|CONFIG.toml", default_value = "127.0.0.1:9127")]
    pub place: String,
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
    /// Ask a running pgweir whether it is ready: exit status 0 if it is, 1 if not.
    Health {
        /// Its metrics address.
        address: String,
    },
    /// Something else than to serve clients.
    Tool(Tool),
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

impl From<CommandLine> for Command {
    fn from(args: CommandLine) -> Self {
        if let Some(tool) = args.command {
            return Self::Tool(tool);
        }
        let overrides = Overrides {
            listen_addr: args.listen_addr,
            listen_port: args.listen_port,
            metrics_listen: args.metrics_listen,
            log_level: args.log_level,
        };
        if let Some(address) = args.health {
            return Self::Health { address };
        }
        match (args.check, args.database_url, args.config) {
            (Some(path), ..) => Self::Check { path },
            (None, Some(url), _) => Self::Run { source: Source::Url(url), overrides },
            (None, None, path) => Self::Run { source: Source::File(path.unwrap_or_default()), overrides },
        }
    }
}

/// What this process was asked for. Prints and exits on `--help` (0), `--version` (0) and a wrong command line (2).
pub fn parse() -> Command {
    CommandLine::parse().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn read(line: &[&str]) -> Result<Command, clap::Error> {
        CommandLine::try_parse_from(std::iter::once("pgweir").chain(line.iter().copied())).map(Into::into)
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_can_be_asked() {
        let file = || Source::File(PathBuf::from("a.toml"));
        let run = |source, overrides| Command::Run { source, overrides };
        let table = [
            (vec!["a.toml"], run(file(), Overrides::default())),
            (vec!["--check", "a.toml"], Command::Check { path: PathBuf::from("a.toml") }),
            (
                vec!["--database-url", "postgres://h"],
                run(Source::Url(Password::new("postgres://h".to_owned())), Overrides::default()),
            ),
            (
                vec!["a.toml", "--listen-port", "1", "--listen-addr", "*,::1", "--log-level", "Debug"],
                run(
                    file(),
                    Overrides {
                        listen_addr: vec![ListenAddr::All, "::1".parse().expect("an address")],
                        listen_port: Some(1),
                        metrics_listen: None,
                        log_level: Some(LogLevel::Debug),
                    },
                ),
            ),
            (
                vec!["--metrics-listen", "", "a.toml"],
                run(file(), Overrides { metrics_listen: Some(MetricsListen(None)), ..Overrides::default() }),
            ),
            (
                vec!["--metrics-listen=127.0.0.1:1", "a.toml"],
                run(
                    file(),
                    Overrides {
                        metrics_listen: Some(MetricsListen("127.0.0.1:1".parse().ok())),
                        ..Overrides::default()
                    },
                ),
            ),
        ];
        for (line, expected) in table {
            assert_eq!(read(&line).expect("allowed"), expected, "{line:?}");
        }
    }

    #[test]
    fn tools() {
        let hash = Hash { iterations: 4096, like: None, md5: None };
        assert_eq!(read(&["hash"]).expect("allowed"), Command::Tool(Tool::Hash(hash)));
        let test = |from, no_tls| {
            let (user, database) = ("u".to_owned(), Some("d".to_owned()));
            Command::Tool(Tool::LoginTest(LoginTest {
                config: "a.toml".into(),
                user,
                database,
                from,
                no_tls,
            }))
        };
        let line = ["login-test", "a.toml", "-U", "u", "-d", "d"];
        let usual = Whence::Address(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(read(&line).expect("allowed"), test(usual, false));
        let more = [&line[..], &["--from", "local", "--no-tls"]].concat();
        assert_eq!(read(&more).expect("allowed"), test(Whence::Local, true));
        assert_eq!(
            read(&["./hash"]).expect("allowed"),
            Command::Run { source: Source::File("./hash".into()), overrides: Overrides::default() }
        );
        for line in [
            &["hash", "x"][..],
            &["hash", "--iterations", "0"],
            &["login-test", "a.toml"],
            &["login-test", "a.toml", "-U", "u", "--from", "here"],
            &["a.toml", "hash"],
        ] {
            assert!(read(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn top_shows_the_usual_address_or_another() {
        let top = |place: &str| Command::Tool(Tool::Top(Top { place: place.to_owned() }));
        assert_eq!(read(&["top"]).expect("allowed"), top("127.0.0.1:9127"));
        assert_eq!(read(&["top", "http://h:1"]).expect("allowed"), top("http://h:1"));
        assert!(read(&["a.toml", "top"]).is_err());
    }

    #[test]
    fn what_is_refused() {
        for (line, kind) in [
            (vec![], ErrorKind::MissingRequiredArgument),
            (vec!["a.toml", "b.toml"], ErrorKind::ArgumentConflict),
            (vec!["a.toml", "--database-url", "postgres://h"], ErrorKind::ArgumentConflict),
            (vec!["--check", "a.toml", "--listen-port", "1"], ErrorKind::ArgumentConflict),
            (vec!["--check"], ErrorKind::InvalidValue),
            (vec!["a.toml", "--listen-port", "0"], ErrorKind::ValueValidation),
            (vec!["a.toml", "--listen-addr", "1.2.3"], ErrorKind::ValueValidation),
            (vec!["a.toml", "--metrics-listen", "9127"], ErrorKind::ValueValidation),
            (vec!["a.toml", "--log-level", "loud"], ErrorKind::ValueValidation),
            (vec!["--help"], ErrorKind::DisplayHelp),
            (vec!["--version"], ErrorKind::DisplayVersion),
        ] {
            assert_eq!(read(&line).expect_err("refused").kind(), kind, "{line:?}");
        }
    }

    #[test]
    fn the_help_has_an_example_that_works() {
        let help = CommandLine::command().render_help().to_string();
        let example = help.split_once("file that works:").expect("it has the smallest file").1;
        let (config, warnings) = crate::config::parse(example, "help").expect("it loads");
        assert!(warnings.is_empty() && config.fallback.is_some());
    }

    #[test]
    fn debug_output_has_no_password() {
        let command = read(&["--database-url", "postgres://u:hunter2@h/d"]).expect("allowed");
        assert!(!format!("{command:?}").contains("hunter2"));
    }
}
