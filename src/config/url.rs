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
use super::units::{HostName, Name, SecondsOrOff, Secret, TcpPort, TimeWritten, Unit};
use super::user::User;
use super::{Config, FALLBACK, RESERVED_DATABASES};

/// Parameters after `?`. The last two are what each client says for itself, so they are not used.
const PARAMETERS: [&str; 9] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
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
    let mut fallback = Database { name: FALLBACK.to_owned(), ..Database::default() };
    if let Some(host) = parts.host {
        fallback.host = HostName::accept(host).map_err(|_| refused::<HostName>("host"))?;
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
                self.password = Some(Secret::accept(value).map_err(|_| refused::<Secret>("password"))?)
            }
            "dbname" => self.dbname = Some(value),
            "connect_timeout" => self.connect_timeout = Some(value),
            "sslmode" => sslmode(&value)?,
            "application_name" | "fallback_application_name" => {}
            _ => return Err(Error::Parameter { name: name.to_owned(), known: PARAMETERS.join(", ") }),
        }
        Ok(())
    }
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

/// Without TLS only the modes that do without it can be had.
fn sslmode(mode: &str) -> Result<(), Error> {
    match mode {
        "disable" | "allow" | "prefer" => Ok(()),
        "require" | "verify-ca" | "verify-full" => Err(Error::Tls(mode.to_owned())),
        _ => Err(Error::Part { part: "parameter sslmode", allowed: "disable, allow or prefer".to_owned() }),
    }
}
