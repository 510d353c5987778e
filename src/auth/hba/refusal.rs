//! Why somebody isn't let in, beside passwords: PostgreSQL's words for the client, more for the log.

use std::fmt;
use std::net::IpAddr;

use super::{Place, Replication, Visitor};

/// A connection that isn't let in. `Display` is for the log; clients get [`Self::client_message`]. SQLSTATE 28000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryError {
    /// Who it said it was.
    user: Box<str>,
    reason: Reason,
}

/// What a connection is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    address: Option<IpAddr>,
    is_encrypted: bool,
    database: Box<str>,
    replication: Replication,
}

/// The truth, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No rule is for it.
    NoRule(Origin),
    /// A rule rejects it.
    Rejected(Origin, Place),
    /// The rule wants a certificate.
    NoCertificate,
    /// By certificate: why not.
    Certificate(String),
    /// By the system's user: why not.
    Peer(String),
    /// By a directory: why not, and whether the client may have guessed.
    Directory(String, Guess),
    /// By a token: why not.
    OAuth(String),
    /// By PAM: why not, and whether the client may have guessed.
    Pam(String, Guess),
    /// auth_type any, and no user to go on as.
    NoForcedUser(Box<str>),
}

/// Whether a refusal answers a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It could be one of many.
    Likely,
    /// Something else was wrong.
    No,
}

impl From<&Visitor<'_>> for Origin {
    fn from(visitor: &Visitor<'_>) -> Self {
        Self {
            address: visitor.address,
            is_encrypted: visitor.is_encrypted,
            database: visitor.database.into(),
            replication: visitor.replication,
        }
    }
}

impl Origin {
    /// PostgreSQL's words for a connection that the rules have nothing, or nothing good, for.
    fn words(&self, user: &str, verb: &str) -> String {
        let host = self.address.map_or_else(|| "[local]".to_owned(), |address| address.to_string());
        let encryption = if self.is_encrypted { "SSL encryption" } else { "no encryption" };
        let (kind, database) = match (self.replication, verb) {
            (Replication::Physical, "no pg_hba.conf entry for") => {
                ("replication connection from ", String::new())
            }
            (Replication::Physical, _) => ("replication connection for ", String::new()),
            (_, "no pg_hba.conf entry for") => ("", format!(", database \"{}\"", self.database)),
            _ => ("connection for ", format!(", database \"{}\"", self.database)),
        };
        format!("{verb} {kind}host \"{host}\", user \"{user}\"{database}, {encryption}")
    }
}

impl EntryError {
    /// `user` is who the client said it is.
    pub fn new(user: &str, reason: Reason) -> Self {
        Self { user: user.into(), reason }
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Whether it could be one of many tries to find out a password.
    pub fn is_wrong_guess(&self) -> bool {
        matches!(self.reason, Reason::Directory(_, Guess::Likely) | Reason::Pam(_, Guess::Likely))
    }

    /// What the client is told.
    pub fn client_message(&self) -> String {
        let user = &*self.user;
        match &self.reason {
            Reason::NoRule(origin) => origin.words(user, "no pg_hba.conf entry for"),
            Reason::Rejected(origin, _) => origin.words(user, "pg_hba.conf rejects"),
            Reason::NoCertificate => "connection requires a valid client certificate".to_owned(),
            Reason::Certificate(_) => format!("certificate authentication failed for user \"{user}\""),
            Reason::Peer(_) => format!("Peer authentication failed for user \"{user}\""),
            Reason::Directory(..) => format!("LDAP authentication failed for user \"{user}\""),
            Reason::OAuth(_) => format!("OAuth bearer authentication failed for user \"{user}\""),
            Reason::Pam(..) => format!("PAM authentication failed for user \"{user}\""),
            Reason::NoForcedUser(database) => {
                format!("\"any\" authentication needs a user in the settings of database \"{database}\"")
            }
        }
    }

    /// What helps the client's user, who may not know that there is a pooler.
    pub fn client_hint(&self) -> Option<&'static str> {
        matches!(self.reason, Reason::NoRule(_) | Reason::Rejected(..))
            .then_some("The file meant is pgweir's auth_hba_file.")
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.client_message())?;
        match &self.reason {
            Reason::Rejected(_, place) => write!(f, " ({place})"),
            Reason::Certificate(why)
            | Reason::Peer(why)
            | Reason::OAuth(why)
            | Reason::Directory(why, _)
            | Reason::Pam(why, _) => write!(f, ": {why}"),
            Reason::NoRule(_) | Reason::NoCertificate | Reason::NoForcedUser(_) => Ok(()),
        }
    }
}
