//! A configuration from one URL: its host serves every database, its user is the one client user.
use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

use super::database::Database;
use super::error::Error;
use super::general::General;
use super::metrics::Metrics;
use super::password::Password;
use super::tls::ServerTls;
use super::units::{
    HostName, Name, OneOf, RootCerts, Roots, SecondsOrOff, Secret, SslMode, SslNegotiation, TcpPort,
    TimeWritten, Unit,
};
use super::user::User;
use super::{Config, FALLBACK, RESERVED_DATABASES};

/// Parameters after `?`. The last two are what each client says for itself, so they are not used.
const PARAMETERS: [&str; 11] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "connect_timeout",
    "application_name",
    "fallback_application_name",
];

/// The parts of a URL that pgweir uses, percent-decoded.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    password: Option<Password>,
    dbname: Option<String>,
    connect_timeout: Option<String>,
    sslmode: Option<SslMode>,
    sslnegotiation: Option<SslNegotiation>,
    sslrootcert: Option<Roots>,
}

/// Reads `postgres://user:password@host:port/database?…`. The host may be a Unix socket directory, percent-encoded
/// or as `?host=/directory`; a missing host is 127.0.0.1, a missing port 5432, a missing database the user's name.
///
/// # Errors
/// The first thing that is wrong; never with the password.
pub fn from_database_url(url: &str) -> Result<Config, Error> {
    let parts = Parts::of(&Url::parse(url).map_err(Error::NotAUrl)?)?;
    let name = |part, name| Name::accept(name).map_err(|_| refused::<Name>(part));
    let user_name = name("user", parts.user.ok_or(Error::Missing("user"))?)?;
    let dbname = name("database", parts.dbname.unwrap_or_else(|| user_name.clone()))?;
    if dbname == FALLBACK || RESERVED_DATABASES.contains(&dbname.as_str()) {
        return Err(Error::Part {
            part: "database",
            allowed: "another one: this name is reserved".to_owned(),
        });
    }
    let mut general = General::default();
    if let Some(timeout) = parts.connect_timeout {
        general.server_connect_timeout = SecondsOrOff::accept(TimeWritten::Text(timeout))
            .map_err(|_| refused::<SecondsOrOff>("parameter connect_timeout"))?;
    }
    general.server_tls_sslnegotiation = parts.sslnegotiation.unwrap_or(general.server_tls_sslnegotiation);
    encrypt(&mut general, parts.sslmode, parts.sslrootcert)?;
    let mut fallback = Database { name: FALLBACK.to_owned(), ..Database::default() };
    if let Some(host) = parts.host {
        fallback.host = HostName::accept(host).map_err(|_| refused::<HostName>("host"))?.into();
    }
    if let Some(port) = parts.port {
        let port = port.parse().map_err(|_| refused::<TcpPort>("port"))?;
        fallback.port = TcpPort::accept(port).map_err(|_| refused::<TcpPort>("port"))?;
    }
    let entry = Database { name: dbname.clone(), ..fallback.clone() };
    let password = Some(parts.password.ok_or(Error::Missing("password"))?);
    let user = User { name: user_name.clone(), password, ..User::default() };
    Ok(Config {
        general,
        databases: BTreeMap::from([(dbname, Arc::new(entry))]),
        fallback: Some(Arc::new(fallback)),
        users: BTreeMap::from([(user_name, Arc::new(user))]),
        metrics_listen: Metrics::default().listen,
    })
}

impl Parts {
    fn of(url: &Url) -> Result<Self, Error> {
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(Error::Scheme(url.scheme().to_owned()));
        }
        let mut parts = Self { port: url.port().map(|port| port.to_string()), ..Self::default() };
        // Brackets around an IPv6 address belong to the URL.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        for (name, value) in [
            ("host", host),
            ("user", url.username()),
            ("password", url.password().unwrap_or_default()),
            ("dbname", url.path().trim_start_matches('/')),
        ] {
            if !value.is_empty() {
                parts.set(name, decoded(name, value)?)?;
            }
        }
        for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded("name of a parameter", name)?;
            parts.set(&name, decoded(&name, value)?)?;
        }
        Ok(parts)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Error> {
        match name {
            "host" => self.host = Some(value),
            "port" => self.port = Some(value),
            "user" => self.user = Some(value),
            "password" => {
                self.password = Some(Secret::accept(value).map_err(|_| refused::<Secret>("password"))?);
            }
            "dbname" => self.dbname = Some(value),
            "connect_timeout" => self.connect_timeout = Some(value),
            "sslmode" => {
                let mode = OneOf::<SslMode>::accept(value);
                self.sslmode = Some(mode.map_err(|_| refused::<OneOf<SslMode>>("parameter sslmode"))?);
            }
            "sslnegotiation" => {
                let how = OneOf::<SslNegotiation>::accept(value);
                let refused = |_| refused::<OneOf<SslNegotiation>>("parameter sslnegotiation");
                self.sslnegotiation = Some(how.map_err(refused)?);
            }
            "sslrootcert" => {
                let roots = RootCerts::accept(value);
                self.sslrootcert = roots.map_err(|_| refused::<RootCerts>("parameter sslrootcert"))?;
            }
            "application_name" | "fallback_application_name" => {}
            _ => return Err(unknown_parameter(name)),
        }
        Ok(())
    }
}

/// What isn't like a name is not repeated: it may be the end of a password with a bare `?` in it.
fn unknown_parameter(name: &str) -> Error {
    let like_a_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let name = if like_a_name { name.to_owned() } else { "…".to_owned() };
    Error::Parameter { name, known: PARAMETERS.join(", ") }
}

fn decoded(part: &str, text: &str) -> Result<String, Error> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Error::Part { part: known(part), allowed: "UTF-8".to_owned() }),
    }
}

/// The name of a part for a message: only names pgweir itself has.
fn known(part: &str) -> &'static str {
    PARAMETERS.into_iter().find(|known| *known == part).unwrap_or("parameter")
}

fn refused<U: Unit>(part: &'static str) -> Error {
    Error::Part { part, allowed: U::allowed() }
}

/// libpq's rules: with a root certificate "require" verifies, too.
fn encrypt(general: &mut General, mode: Option<SslMode>, roots: Option<Roots>) -> Result<(), Error> {
    let verify = matches!((mode, &roots), (Some(SslMode::Require), Some(Roots::File(_))));
    let unsaid = if roots == Some(Roots::System) { SslMode::VerifyFull } else { general.server_tls_sslmode };
    general.server_tls_sslmode = if verify { SslMode::VerifyCa } else { mode.unwrap_or(unsaid) };
    general.server_tls_ca_file = roots;
    let weak = general.server_tls_ca_file == Some(Roots::System)
        && general.server_tls_sslmode != SslMode::VerifyFull;
    let problem = ServerTls::of(general, &Database::default()).problem();
    let allowed = match problem {
        _ if weak => "verify-full with sslrootcert=system",
        Some(_) if !general.server_tls_sslmode.is_required() => {
            "require, verify-ca or verify-full with sslnegotiation=direct"
        }
        Some(_) => "verify-full, or come with sslrootcert",
        None => return Ok(()),
    };
    Err(Error::Part { part: "parameter sslmode", allowed: allowed.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;
    use proptest::prelude::*;

    /// Host and port, user and password, database.
    fn read(url: &str) -> Result<(String, String, String), Error> {
        let config = from_database_url(url)?;
        let (name, user) = config.users.first_key_value().expect("one user");
        let (dbname, entry) = config.databases.first_key_value().expect("one database");
        let other = config.database("other").expect("a fallback");
        assert_eq!((&other.host, other.port, other.dbname()), (&entry.host, entry.port, "other"));
        assert_eq!(
            (entry.name.as_str(), entry.dbname(), user.name.as_str()),
            (&**dbname, &**dbname, &**name)
        );
        let password = user.password.as_ref().expect("a password").expose();
        Ok((format!("{}:{}", entry.host, entry.port), format!("{name}/{password}"), dbname.clone()))
    }

    #[test]
    fn good_urls() {
        for (url, place, user, dbname) in [
            ("postgres://u:p@db.example:5433/app", "db.example:5433", "u/p", "app"),
            ("postgresql://u:p@db.example/app", "db.example:5432", "u/p", "app"),
            ("postgres://u:p@127.0.0.1", "127.0.0.1:5432", "u/p", "u"),
            ("postgres://u:p@[::1]:1/app", "::1:1", "u/p", "app"),
            ("postgres://u%40x:p%3A%2F%25+@h/a%20b", "h:5432", "u@x/p:/%+", "a b"),
            ("postgres://u:p@%2Frun%2Fpostgresql:5433/app", "/run/postgresql:5433", "u/p", "app"),
            (
                "postgres:///app?host=/run/postgresql&user=u&password=a%26b+c&port=7",
                "/run/postgresql:7",
                "u/a&b+c",
                "app",
            ),
            (
                "postgres://u:p@h/app?dbname=other&sslmode=prefer&application_name=x&",
                "h:5432",
                "u/p",
                "other",
            ),
            ("postgres://u:p@h/app?sslmode=disable", "h:5432", "u/p", "app"),
            ("postgres://u:p@h/app?sslmode=allow", "h:5432", "u/p", "app"),
        ] {
            assert_eq!(read(url), Ok((place.to_owned(), user.to_owned(), dbname.to_owned())), "{url}");
        }
        let config = from_database_url("postgres://u:p@h/app?connect_timeout=3").expect("a good URL");
        assert_eq!(config.general.server_connect_timeout, Some(std::time::Duration::from_secs(3)));
        let unix = from_database_url("postgres://u:p@%2Ftmp/app").expect("a good URL");
        assert_eq!(unix.database("app").map(|it| it.host.clone()), Some(Host::Unix("/tmp".into()).into()));
    }

    #[test]
    fn bad_urls() {
        for (url, message) in [
            (
                "app",
                "the database URL can't be read: relative URL without a base; expected postgres://user:password@host:port/database",
            ),
            (
                "mysql://u:hunter2@h/d",
                "the database URL must begin with postgres:// or postgresql://, not mysql://",
            ),
            (
                "postgres://:hunter2@h/d",
                "the database URL has no user; expected postgres://user:password@host:port/database",
            ),
            (
                "postgres://u@h/d",
                "the database URL has no password; expected postgres://user:password@host:port/database",
            ),
            (
                "postgres://u:hunter2@h:70000/d",
                "the database URL can't be read: invalid port number; expected postgres://user:password@host:port/database",
            ),
            ("postgres://u:hunter2@h:0/d", "the port in the database URL must be a port from 1 to 65535"),
            (
                "postgres://u:hunter2@h/d?port=x",
                "the port in the database URL must be a port from 1 to 65535",
            ),
            (
                "postgres://u:hunter2@h1,h2/d",
                "the host in the database URL must be one host name or address, or the directory of a Unix socket such as \"/run/postgresql\"",
            ),
            (
                "postgres://u:hunter2@h/a%00b",
                "the database in the database URL must be a name of 1 to 63 bytes without NUL",
            ),
            ("postgres://u:hunter2%ff@h/d", "the password in the database URL must be UTF-8"),
            (
                "postgres://u:hunter2%00@h/d",
                "the password in the database URL must be text without NUL, not empty (leave the key out for no password)",
            ),
            (
                "postgres://u:hunter2@h/*",
                "the database in the database URL must be another one: this name is reserved",
            ),
            (
                "postgres://u:hunter2@h/pgbouncer",
                "the database in the database URL must be another one: this name is reserved",
            ),
        ] {
            assert_eq!(read(url).expect_err(url).to_string(), message, "{url}");
        }
    }

    #[test]
    fn bad_parameters() {
        for (url, message) in [
            (
                "postgres://u:hunter2@h/d?sslmode=maybe",
                "the parameter sslmode in the database URL must be one of \"disable\", \"allow\", \"prefer\", \"require\", \"verify-ca\", \"verify-full\"",
            ),
            (
                "postgres://u:hunter2@h/d?sslmode=verify-ca",
                "the parameter sslmode in the database URL must be verify-full, or come with sslrootcert",
            ),
            (
                "postgres://u:hunter2@h/d?sslmode=require&sslrootcert=system",
                "the parameter sslmode in the database URL must be verify-full with sslrootcert=system",
            ),
            (
                "postgres://u:hunter2@h/d?sslnegotiation=direct",
                "the parameter sslmode in the database URL must be require, verify-ca or verify-full with sslnegotiation=direct",
            ),
            (
                "postgres://u:hunter2@h/d?sslmode=require&sslnegotiation=requiredirect",
                "the parameter sslnegotiation in the database URL must be one of \"postgres\", \"direct\"",
            ),
            (
                "postgres://u:hunter2@h/d?sslmod=require",
                "unknown parameter \"sslmod\" in the database URL; known are host, port, user, password, dbname, sslmode, sslnegotiation, sslrootcert, connect_timeout, application_name, fallback_application_name",
            ),
            (
                "postgres://u:hunter?2@h/d",
                "the database URL can't be read: invalid port number; expected postgres://user:password@host:port/database",
            ),
            (
                "postgres://u@h/d?hunter2@x=1",
                "unknown parameter \"…\" in the database URL; known are host, port, user, password, dbname, sslmode, sslnegotiation, sslrootcert, connect_timeout, application_name, fallback_application_name",
            ),
            (
                "postgres://u:hunter2@h/d?connect_timeout=-1",
                "the parameter connect_timeout in the database URL must be a time in seconds, or text such as \"250ms\", \"5s\", \"1m\", \"1h\"; 0 is off",
            ),
        ] {
            assert_eq!(read(url).expect_err(url).to_string(), message, "{url}");
        }
    }

    #[test]
    fn encryption() {
        let file = || Some(Roots::File("/ca.pem".into()));
        for (parameters, mode, roots) in [
            ("", SslMode::Prefer, None),
            ("?sslmode=disable", SslMode::Disable, None),
            ("?sslmode=require", SslMode::Require, None),
            ("?sslmode=require&sslrootcert=/ca.pem", SslMode::VerifyCa, file()),
            ("?sslmode=verify-ca&sslrootcert=%2Fca.pem", SslMode::VerifyCa, file()),
            ("?sslmode=verify-full", SslMode::VerifyFull, None),
            ("?sslmode=require&sslnegotiation=postgres", SslMode::Require, None),
            ("?sslmode=verify-full&sslnegotiation=direct", SslMode::VerifyFull, None),
            ("?sslrootcert=system", SslMode::VerifyFull, Some(Roots::System)),
        ] {
            let config = from_database_url(&format!("postgres://u:p@h/d{parameters}")).expect("a good URL");
            for name in ["d", "other"] {
                let tls = config.server_tls(&config.database(name).expect("it or the fallback"));
                assert_eq!((tls.sslmode, tls.ca), (mode, roots.clone()), "{parameters}");
                let direct = tls.negotiation == SslNegotiation::Direct;
                assert_eq!(direct, parameters.ends_with("direct"), "{parameters}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_url_panics_or_tells_the_password(text in "(postgres://)?.{0,20}(:hunter2@)?.{0,20}([?&][a-z%=]{0,9}){0,3}") {
            if let Err(error) = from_database_url(&text) {
                prop_assert!(!error.to_string().contains("hunter2"));
            }
        }

        #[test]
        fn every_password_gets_through(password in "[^\0]{1,40}") {
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(read(&format!("postgres://u:{encoded}@h/d")).map(|it| it.1), Ok(format!("u/{password}")));
        }
    }
}
