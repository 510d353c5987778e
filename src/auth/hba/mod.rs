//! Who may come from where, and how they prove who they are: PostgreSQL's pg_hba.conf and pg_ident.conf, read whole or
//! not at all. Files and the machine's addresses are the caller's to provide.

mod address;
mod error;
mod files;
mod ident;
pub mod ldap;
mod name;
mod oauth;
mod refusal;
mod rule;
mod token;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::oauth::KeySource;
pub use address::Interface;
pub use error::{Place, Problem, Problems};
pub use files::Files;
use files::Reader;
use ident::Mapping;
pub use refusal::{EntryError, Guess, Origin, Reason};
use rule::Connection;
pub use rule::{Certificate, Method, Rule};

/// The names of the database that is the console.
pub const CONSOLE: [&str; 2] = ["pgweir", "pgbouncer"];

/// Whether a connection replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// It doesn't.
    No,
    /// All of the cluster: `replication=true`.
    Physical,
    /// A database: `replication=database`; for the rules, any other connection to it.
    Logical,
}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    /// Where it comes from; `None`: a Unix-domain socket.
    pub address: Option<IpAddr>,
    /// Whether there is TLS.
    pub is_encrypted: bool,
    /// Who it says it is.
    pub user: &'a str,
    /// Where it wants to.
    pub database: &'a str,
    /// Whether it wants to replicate.
    pub replication: Replication,
}

/// What there is for rules to build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// No TLS.
    None,
    /// TLS, but no CA to know clients' certificates by.
    Anonymous,
    /// TLS, and clients' certificates are verified.
    Verifying,
}

/// The rules of an HBA file and the maps of an ident file.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    maps: Vec<Mapping>,
}

impl Rules {
    /// Reads both files, and those they include. Also what can't have been meant, though it is allowed.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(
        files: &dyn Files,
        hba: &Path,
        ident: Option<&Path>,
        encryption: Encryption,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        let mut problems = Vec::new();
        let maps = match ident {
            Some(path) => collect(files, path, &mut problems, |line| Mapping::parse(&line)),
            None => Vec::new(),
        };
        let rules = collect(files, hba, &mut problems, Rule::parse);
        if problems.is_empty() && rules.is_empty() {
            let place = Place { file: hba.display().to_string().into(), line: 0 };
            problems.push(Problem { place, what: "has no line, so nobody could log in".to_owned() });
        }
        let found = Self { rules, maps };
        for rule in &found.rules {
            let problem = |what: String| Problem { place: rule.place.clone(), what };
            problems.extend(found.impossible(rule, encryption).map(problem));
        }
        let warnings = found.futile(encryption);
        if problems.is_empty() { Ok((found, warnings)) } else { Err(Problems(problems)) }
    }

    /// The rules that are for nobody, and why.
    pub fn futile(&self, encryption: Encryption) -> Vec<Problem> {
        let told = |rule: &Rule| {
            let what = futile(rule, encryption)?.to_owned();
            Some(Problem { place: rule.place.clone(), what })
        };
        self.rules.iter().filter_map(told).collect()
    }

    /// The files and directories that the rules and maps come from, those included as well, there or not, whatever is wrong
    /// with what they say.
    pub fn sources(files: &dyn Files, hba: &Path, ident: Option<&Path>) -> BTreeSet<PathBuf> {
        let mut reader = Reader::new(files);
        [Some(hba), ident].into_iter().flatten().for_each(|path| reader.read(path));
        reader.looked_for
    }

    /// What else would have to be there for a rule.
    fn impossible(&self, rule: &Rule, encryption: Encryption) -> Option<String> {
        if rule.certificate != Certificate::Unasked && encryption == Encryption::Anonymous {
            return Some(
                "asks for a certificate, which needs client_tls_ca_file to know whose to trust".to_owned(),
            );
        }
        let map = rule.map.as_deref()?;
        let known = self.maps.iter().any(|mapping| *mapping.map == *map);
        (!known).then(|| format!("map={map}: there is no such map in auth_ident_file"))
    }

    /// The first rule that is for this connection. `interfaces` gives the machine's addresses, where a rule depends on them.
    pub fn find(&self, visitor: &Visitor<'_>, interfaces: &dyn Fn() -> Vec<Interface>) -> Option<&Rule> {
        let visitor = Visitor { address: visitor.address.map(|it| it.to_canonical()), ..*visitor };
        self.rules.iter().find(|rule| rule.matches(&visitor, interfaces))
    }

    /// Whether who is known by a name elsewhere may be this user; without a map it has to be the same name.
    pub fn is_known_as(&self, map: Option<&str>, known_as: &str, user: &str) -> bool {
        match map {
            None => known_as == user,
            Some(map) => {
                self.maps.iter().any(|mapping| *mapping.map == *map && mapping.allows(known_as, user))
            }
        }
    }

    /// One rule for all connections: a method and its options, as they would stand in a line.
    ///
    /// # Errors
    /// What is wrong with the options. `setting` is where they are from.
    pub fn of_method(setting: &str, method: &str, options: &str) -> Result<Self, Problems> {
        let place = Place { file: setting.into(), line: 0 };
        let refuse = |what: String| Problems(vec![Problem { place: place.clone(), what }]);
        let mut rules = Vec::new();
        for head in ["local all,replication all", "host all,replication all all"] {
            let fields = token::fields(&format!("{head} {method} {options}"))
                .map_err(|token::OpenQuote| refuse("a closing quote is missing".to_owned()))?;
            let rule = Rule::parse(files::Line { place: place.clone(), fields }).map_err(refuse)?;
            if rule.map.is_some() {
                return Err(refuse("map= goes with auth_type \"hba\" only".to_owned()));
            }
            rules.push(rule);
        }
        Ok(Self { rules, maps: Vec::new() })
    }

    /// The directories that rules have asked.
    pub fn directories(&self) -> impl Iterator<Item = &ldap::Ldap> {
        self.rules.iter().filter_map(|rule| rule.ldap.as_deref())
    }

    /// Whether any rule has somebody asked over TLS, a directory or an issuer of tokens.
    pub fn asks_by_tls(&self) -> bool {
        let is_encrypted = |rule: &Rule| {
            rule.ldap.as_ref().is_some_and(|ldap| ldap.is_encrypted())
                || rule.oauth.as_ref().is_some_and(|oauth| oauth.is_fetched_by_tls())
        };
        self.rules.iter().any(is_encrypted)
    }

    /// The files that issuers' keys are read from, and the rules that name them.
    pub fn key_files(&self) -> impl Iterator<Item = (&Place, &Path)> {
        self.rules.iter().filter_map(|rule| match &rule.oauth.as_ref()?.keys {
            KeySource::File(path) => Some((&rule.place, &**path)),
            KeySource::At(_) => None,
        })
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none, which lets nobody in.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What every line of a file says.
fn collect<T>(
    files: &dyn Files,
    path: &Path,
    problems: &mut Vec<Problem>,
    parse: impl Fn(files::Line) -> Result<T, String>,
) -> Vec<T> {
    let mut reader = Reader::new(files);
    reader.read(path);
    problems.append(&mut reader.problems);
    let mut all = Vec::new();
    for line in reader.lines {
        let place = line.place.clone();
        match parse(line) {
            Ok(one) => all.push(one),
            Err(what) => problems.push(Problem { place, what }),
        }
    }
    all
}

/// Why a rule is for nobody.
fn futile(rule: &Rule, encryption: Encryption) -> Option<&'static str> {
    match rule.connection {
        Connection::HostSsl if encryption == Encryption::None => {
            Some("hostssl is for nobody: client_tls_sslmode is \"disable\"")
        }
        Connection::HostGss => Some("hostgssenc is for nobody: pgweir doesn't speak GSSAPI"),
        Connection::HostNoSsl if takes_no_clear_token(rule) => Some(
            "nobody can log in by oauth here: tokens are taken over TLS only, without cleartext=loopback",
        ),
        Connection::Host if encryption == Encryption::None && takes_no_clear_token(rule) => Some(
            "nobody can log in by oauth over TCP: tokens are taken over TLS only, and client_tls_sslmode is \"disable\"",
        ),
        _ => None,
    }
}

fn takes_no_clear_token(rule: &Rule) -> bool {
    rule.oauth.as_ref().is_some_and(|oauth| !oauth.is_loopback_allowed)
}
