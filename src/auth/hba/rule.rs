//! One line of an HBA file: for which connections it is, and what they have to prove.

use super::address::Address;
use super::error::Place;
use super::files::Line;
use super::ldap::{Ldap, Options};
use super::name::{Database, User};
use super::token::{Field, Token};
use super::{CONSOLE, Interface, Replication, Visitor, oauth};
use crate::auth::oauth::OAuth;
use std::path::Path;
use std::sync::Arc;

/// How a line has clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// They can't.
    Reject,
    /// By the password, in clear.
    Password,
    /// By an MD5 answer, or SCRAM if that is what is stored.
    Md5,
    /// By SCRAM-SHA-256.
    ScramSha256,
    /// By the certificate.
    Cert,
    /// By the password, in clear, which a directory knows.
    Ldap,
    /// By the password, in clear, which this machine's PAM modules know.
    Pam,
    /// By the user that the other end of the Unix-domain socket runs as.
    Peer,
    /// By a token of somebody who is trusted.
    OAuth,
}

/// The service asked for if pamservice doesn't say.
const PAM_SERVICE: &str = "pgweir";

const METHODS: [(&str, Method); 10] = [
    ("trust", Method::Trust),
    ("reject", Method::Reject),
    ("password", Method::Password),
    ("md5", Method::Md5),
    ("scram-sha-256", Method::ScramSha256),
    ("cert", Method::Cert),
    ("peer", Method::Peer),
    ("ldap", Method::Ldap),
    ("pam", Method::Pam),
    ("oauth", Method::OAuth),
];

impl Method {
    /// As lines name it.
    pub fn name(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }
}

/// What a client's certificate has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// There needn't be one.
    Unasked,
    /// It has to be there, signed by a CA that is trusted.
    Trusted,
    /// It has to be the user's, too.
    OfUser,
}

/// Connections a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Local,
    /// TCP, encrypted or not.
    Host,
    HostSsl,
    HostNoSsl,
    /// None: pgweir doesn't speak GSSAPI.
    HostGss,
}

/// Options that one method has, as they come.
#[derive(Default)]
struct Own {
    ldap: Options,
    oauth: oauth::Options,
}

const CONNECTIONS: [(&str, Connection); 6] = [
    ("local", Connection::Local),
    ("host", Connection::Host),
    ("hostssl", Connection::HostSsl),
    ("hostnossl", Connection::HostNoSsl),
    ("hostgssenc", Connection::HostGss),
    ("hostnogssenc", Connection::Host),
];

/// A line of an HBA file.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it is.
    pub place: Place,
    /// How to prove who one is.
    pub method: Method,
    /// What the certificate has to be beside that.
    pub certificate: Certificate,
    /// The ident map that tells who is who.
    pub map: Option<Box<str>>,
    /// The directory to ask.
    pub ldap: Option<Arc<Ldap>>,
    /// The service that PAM is asked for.
    pub pam_service: Option<Arc<str>>,
    /// Which tokens are good.
    pub oauth: Option<Arc<OAuth>>,
    pub(super) connection: Connection,
    databases: Vec<Database>,
    users: Vec<User>,
    address: Address,
}

impl Rule {
    pub(super) fn parse(line: Line) -> Result<Self, String> {
        let mut fields = line.fields.iter();
        let connection = connection(single(fields.next(), "the connection type")?)?;
        let databases = list(fields.next(), "the databases")?.iter().map(Database::parse);
        let databases = databases.collect::<Result<_, _>>()?;
        let users = list(fields.next(), "the users")?.iter().map(User::parse).collect::<Result<_, _>>()?;
        let mut address = Address::All;
        if connection != Connection::Local {
            let first = single(fields.next(), "the address")?;
            let next = fields.as_slice().first().and_then(|field| field.first());
            let (found, taken) = Address::parse(first, next)?;
            address = found;
            if taken == 2 {
                single(fields.next(), "the mask")?;
            }
        }
        let method = method(single(fields.next(), "the method")?, connection)?;
        let mut rule = Self {
            place: line.place.clone(),
            method,
            certificate: if method == Method::Cert { Certificate::OfUser } else { Certificate::Unasked },
            map: None,
            ldap: None,
            pam_service: (method == Method::Pam).then(|| PAM_SERVICE.into()),
            oauth: None,
            connection,
            databases,
            users,
            address,
        };
        let mut own = Own::default();
        for option in fields.flatten() {
            rule.option(option, &mut own)?;
        }
        rule.take(own)?;
        Ok(rule)
    }

    /// What the options of its method come to.
    fn take(&mut self, own: Own) -> Result<(), String> {
        match self.method {
            Method::Ldap => self.ldap = Some(Arc::new(own.ldap.finish()?)),
            Method::OAuth => {
                // That of a setting stands in no file of rules.
                let folder = Path::new(&*self.place.file).parent().filter(|_| self.place.line > 0);
                let oauth = own.oauth.finish(folder)?;
                if oauth.is_delegated && self.map.is_some() {
                    return Err("map= and delegate_ident_mapping=1 don't go together".to_owned());
                }
                self.oauth = Some(Arc::new(oauth));
            }
            _ => {}
        }
        Ok(())
    }

    /// Never quotes a value that could be a password.
    fn option(&mut self, option: &Token, own: &mut Own) -> Result<(), String> {
        const ALLOWED: &str = "allowed are map=NAME, clientcert=verify-ca, clientcert=verify-full, clientname=CN, pamservice=NAME, and those of ldap and oauth";
        // The rest of a password with a blank in it, perhaps.
        let hidden = "a word behind ldapbindpasswd= is no option (a value with blanks goes in quotes)";
        let hidden = own.ldap.has_password().then(|| hidden.to_owned());
        let no_option = |said: String| format!("{}; {ALLOWED}", hidden.unwrap_or(said));
        let Some((name, value)) = option.text.split_once('=') else {
            return Err(no_option(format!("{:?} is no option: they are NAME=VALUE", option.text)));
        };
        if own.ldap.take(name, value)? {
            let is_for_it = self.method == Method::Ldap;
            return is_for_it.then_some(()).ok_or_else(|| format!("{name}= goes with the method ldap only"));
        }
        if own.oauth.take(name, value)? {
            let is_for_it = self.method == Method::OAuth;
            return is_for_it.then_some(()).ok_or_else(|| format!("{name}= goes with the method oauth only"));
        }
        match (name, value) {
            ("map", "") => Err("map= names no map".to_owned()),
            ("map", map) if matches!(self.method, Method::Cert | Method::Peer | Method::OAuth) => {
                self.map = Some(map.into());
                Ok(())
            }
            ("map", _) => Err("map= goes with the methods cert, peer and oauth only".to_owned()),
            ("pamservice" | "pam_use_hostname", _) if self.method != Method::Pam => {
                Err(format!("{name}= goes with the method pam only"))
            }
            // It is a file's name in /etc/pam.d.
            ("pamservice", service) if service.is_empty() || service.contains(['/', '\0']) => {
                Err(format!("pamservice={service}: no name of a service"))
            }
            ("pamservice", service) => {
                self.pam_service = Some(service.into());
                Ok(())
            }
            ("pam_use_hostname", "0") => Ok(()),
            ("pam_use_hostname", _) => {
                Err(format!("pam_use_hostname={value}: allowed is 0; pgweir looks up no names of clients"))
            }
            ("clientcert" | "clientname", _) if self.connection != Connection::HostSsl => {
                Err(format!("{name}= goes with hostssl only"))
            }
            ("clientcert", "verify-full") => {
                self.certificate = Certificate::OfUser;
                Ok(())
            }
            ("clientcert", "verify-ca") if self.method == Method::Cert => {
                Err("the method cert is clientcert=verify-full: verify-ca would be less".to_owned())
            }
            ("clientcert", "verify-ca") => {
                self.certificate = Certificate::Trusted;
                Ok(())
            }
            ("clientname", "CN") => Ok(()),
            ("clientname", "DN") => {
                Err("clientname=DN: pgweir knows certificates by their common name (CN) only".to_owned())
            }
            ("clientcert" | "clientname", _) => Err(format!("{:?} is no option; {ALLOWED}", option.text)),
            _ => Err(no_option(format!("{name}= is no option"))),
        }
    }

    /// Whether it is for this connection.
    pub(super) fn matches(&self, visitor: &Visitor<'_>, interfaces: &dyn Fn() -> Vec<Interface>) -> bool {
        let arrives = match (self.connection, visitor.address) {
            (Connection::Local, None) => true,
            (Connection::Local, Some(_)) | (_, None) | (Connection::HostGss, _) => false,
            (Connection::HostSsl, Some(_)) => visitor.is_encrypted,
            (Connection::HostNoSsl, Some(_)) => !visitor.is_encrypted,
            (Connection::Host, Some(_)) => true,
        };
        let from = |address| self.address.matches(address, interfaces);
        arrives
            && self.is_for_database(visitor)
            && self.users.iter().any(|user| user.matches(visitor.user))
            && visitor.address.is_none_or(from)
    }

    /// Physical replication has no database in PostgreSQL, where the keyword alone stands for it. Here the database's section
    /// says which PostgreSQL and which user it is, so that a rule which lets in has to be for that, too.
    fn is_for_database(&self, visitor: &Visitor<'_>) -> bool {
        let is_named = || self.databases.iter().any(|database| is_for(database, visitor));
        if visitor.replication != Replication::Physical {
            return is_named();
        }
        let is_enough = self.method == Method::Reject || visitor.database == "replication";
        self.databases.iter().any(|database| matches!(database, Database::Replication))
            && (is_enough || is_named())
    }
}

fn is_for(database: &Database, visitor: &Visitor<'_>) -> bool {
    match database {
        Database::Replication => false,
        Database::All => true,
        Database::SameUser => called(&visitor.database).contains(&visitor.user),
        Database::Named(pattern) => called(&visitor.database).iter().any(|name| pattern.matches(name)),
    }
}

/// What a database is called: a rule for either name of the console is for it.
fn called<'a, 'v>(database: &'a &'v str) -> &'a [&'v str] {
    if CONSOLE.contains(database) { &CONSOLE } else { std::slice::from_ref(database) }
}

fn list<'f>(field: Option<&'f Field>, what: &str) -> Result<&'f Field, String> {
    field.ok_or_else(|| {
        format!(
            "{what} are missing; a line is TYPE DATABASES USERS ADDRESS METHOD OPTIONS, without ADDRESS for local"
        )
    })
}

fn single<'f>(field: Option<&'f Field>, what: &str) -> Result<&'f Token, String> {
    match field.map(Vec::as_slice) {
        Some([token]) => Ok(token),
        Some(_) => Err(format!("{what} must be one word, not a list")),
        None => Err(format!(
            "{what} is missing; a line is TYPE DATABASES USERS ADDRESS METHOD OPTIONS, without ADDRESS for local"
        )),
    }
}

fn connection(token: &Token) -> Result<Connection, String> {
    let found = CONNECTIONS.into_iter().find(|(word, _)| token.text == *word);
    found.map(|(_, connection)| connection).ok_or_else(|| {
        let words = CONNECTIONS.map(|(word, _)| word).join(", ");
        format!("{:?} is no connection type; allowed are {words}", token.text)
    })
}

fn method(token: &Token, connection: Connection) -> Result<Method, String> {
    // PostgreSQL, too, takes ident for peer where there is no TCP.
    let meant = if token.text == "ident" && connection == Connection::Local { "peer" } else { &token.text };
    let Some((_, method)) = METHODS.into_iter().find(|(word, _)| meant == *word) else {
        let ours = METHODS.iter().filter(|(_, method)| *method != Method::Pam || cfg!(feature = "pam"));
        let words = ours.map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        return Err(format!("{meant:?} is no method that pgweir has; allowed are {words}"));
    };
    match method {
        Method::Peer if connection != Connection::Local => {
            Err("the method peer goes with local only".to_owned())
        }
        Method::Cert if connection != Connection::HostSsl => {
            Err("the method cert goes with hostssl only".to_owned())
        }
        Method::Pam if !cfg!(feature = "pam") => {
            Err("the method pam is not in this pgweir: it was built without the cargo feature \"pam\""
                .to_owned())
        }
        method => Ok(method),
    }
}
