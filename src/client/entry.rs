//! How a connection has to prove who it is, by auth_type or by the rules, and what of that is no password.

use super::context::Shared;
use super::login::LoginEnd;
use super::report::Trouble;
use super::startup::Wish;
use crate::audit;
use crate::auth::hba::ldap::Ldap;
use crate::auth::hba::{
    Certificate, EntryError, Interface, Method as RuleMethod, Origin, Reason, Replication, Rule, Rules,
    Visitor,
};
use crate::auth::login::Method;
use crate::auth::oauth::{Names, OAuth};
use crate::config::AuthType;
use crate::net::machine;
use crate::net::stream::Stream;
use crate::roster::ClientAddress;
use crate::tls::Channel;
use std::cell::Cell;
use std::io;
use std::sync::Arc;

/// What is asked of a connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) way: Way,
    /// What decided that, if it wasn't auth_type alone.
    pub(super) rule: Option<Box<audit::Rule>>,
    certificate: Certificate,
    map: Option<Box<str>>,
    /// Those in force when it came, with its map.
    rules: Arc<Rules>,
}

/// The first rule for a visitor. None where a rule that may be for it depends on the machine's addresses and these can't be
/// had: the rules behind it, which may be laxer, are not meant for whom it rejects.
fn find<'r>(
    rules: &'r Rules,
    visitor: &Visitor<'_>,
    interfaces: &dyn Fn() -> io::Result<Vec<Interface>>,
) -> Option<&'r Rule> {
    let failed = Cell::new(false);
    let known = || {
        interfaces().unwrap_or_else(|error| {
            failed.set(true);
            tracing::error!("samehost and samenet: the machine's addresses can't be read: {error}");
            Vec::new()
        })
    };
    rules.find(visitor, &known).filter(|_| !failed.get())
}

/// How it proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// By a password in some form, or by being known.
    Secret(Method),
    /// By a password that a directory knows.
    Directory(Arc<Ldap>),
    /// By a password that PAM knows, asked for this service.
    Pam(Arc<str>),
    /// By its certificate alone.
    Certificate,
    /// By the user that it runs as.
    Peer,
    /// By a token.
    Bearer(Arc<OAuth>),
    /// Not at all: it is taken for the database's user.
    Anybody,
}

impl Entry {
    /// What is asked of a connection that has said what it wishes.
    pub(super) fn find(
        shared: &Shared,
        stream: &Stream,
        address: ClientAddress,
        wish: &Wish,
    ) -> Result<Self, EntryError> {
        // Rules are replaced before the configuration is: none are older than what says that they count.
        let auth_type = shared.config.load().general.auth_type;
        let rules = shared.rules.load_full();
        let simple =
            |way, certificate| Self { way, rule: None, certificate, map: None, rules: Arc::clone(&rules) };
        let secret = |method| Ok(simple(Way::Secret(method), Certificate::Unasked));
        match auth_type {
            AuthType::Trust => secret(Method::Trust),
            AuthType::Password => secret(Method::Password),
            AuthType::Md5 => secret(Method::Md5),
            AuthType::ScramSha256 => secret(Method::ScramSha256),
            AuthType::Cert => Ok(simple(Way::Certificate, Certificate::OfUser)),
            AuthType::Peer => Ok(simple(Way::Peer, Certificate::Unasked)),
            AuthType::Any => Ok(simple(Way::Anybody, Certificate::Unasked)),
            AuthType::Hba => Self::by_rules(&rules, stream, address, wish),
            // A file and line that are none would say nothing.
            AuthType::Ldap | AuthType::Pam | AuthType::OAuth => {
                Self::by_rules(&rules, stream, address, wish).map(|entry| Self { rule: None, ..entry })
            }
        }
    }

    fn by_rules(
        rules: &Arc<Rules>,
        stream: &Stream,
        address: ClientAddress,
        wish: &Wish,
    ) -> Result<Self, EntryError> {
        let visitor = Visitor {
            address: match address {
                ClientAddress::Tcp(address) => Some(address.ip()),
                ClientAddress::Unix => None,
            },
            is_encrypted: stream.tls().is_some(),
            user: &wish.user,
            database: &wish.database,
            replication: match (wish.replication, wish.is_logical) {
                (false, _) => Replication::No,
                (true, false) => Replication::Physical,
                (true, true) => Replication::Logical,
            },
        };
        let refuse = |reason| Err(EntryError::new(&wish.user, reason));
        let Some(rule) = find(rules, &visitor, &machine::interfaces) else {
            return refuse(Reason::NoRule(Origin::from(&visitor)));
        };
        let way = match rule.method {
            RuleMethod::Reject => {
                return refuse(Reason::Rejected(Origin::from(&visitor), rule.place.clone()));
            }
            RuleMethod::Trust => Way::Secret(Method::Trust),
            RuleMethod::Password => Way::Secret(Method::Password),
            RuleMethod::Md5 => Way::Secret(Method::Md5),
            RuleMethod::ScramSha256 => Way::Secret(Method::ScramSha256),
            RuleMethod::Cert => Way::Certificate,
            RuleMethod::Peer => Way::Peer,
            RuleMethod::OAuth => {
                Way::Bearer(Arc::clone(rule.oauth.as_ref().expect("a rule by oauth has its options")))
            }
            RuleMethod::Pam => {
                Way::Pam(Arc::clone(rule.pam_service.as_ref().expect("a rule by pam has its service")))
            }
            RuleMethod::Ldap => {
                Way::Directory(Arc::clone(rule.ldap.as_ref().expect("a rule by ldap has its options")))
            }
        };
        let (method, place) = (rule.method.name(), rule.place.to_string());
        Ok(Self {
            way,
            rule: Some(Box::new(audit::Rule { method, place })),
            certificate: rule.certificate,
            map: rule.map.clone(),
            rules: Arc::clone(rules),
        })
    }

    /// Whether what has proved who it is to the other has to this one, certificate and system's user aside.
    pub(super) fn asks_the_same(&self, other: &Self) -> bool {
        // What a token says isn't kept to be held against the map again.
        let is_by_map = matches!(self.way, Way::Bearer(_)) && self.map.is_some();
        self.way == other.way && self.map == other.map && !is_by_map
    }

    /// Before anything else is asked: whether the certificate is there, if there has to be one. One whose name could seem to
    /// be a shorter one isn't taken from anybody, as in PostgreSQL.
    pub(super) fn check_shown(&self, stream: &Stream, wish: &Wish) -> Result<(), EntryError> {
        if stream.tls().is_some_and(Channel::peer_name_has_zero_byte) {
            let why = "the common name in the certificate has a zero byte".to_owned();
            return Err(EntryError::new(&wish.user, Reason::Certificate(why)));
        }
        let shown = stream.tls().and_then(Channel::peer_certificate).is_some();
        if self.certificate == Certificate::Unasked || shown {
            return Ok(());
        }
        Err(EntryError::new(&wish.user, Reason::NoCertificate))
    }

    /// Once the password is right: whether the certificate is the user's, if it has to be.
    pub(super) fn check_name(&self, stream: &Stream, wish: &Wish) -> Result<(), EntryError> {
        if self.certificate != Certificate::OfUser {
            return Ok(());
        }
        let why = match stream.tls().and_then(Channel::peer_name) {
            None => "the certificate has no common name".to_owned(),
            Some(name) if !self.rules.is_known_as(self.map.as_deref(), name, &wish.user) => {
                format!("the certificate is {name:?}'s{}", self.by_map())
            }
            Some(_) => return Ok(()),
        };
        Err(EntryError::new(&wish.user, Reason::Certificate(why)))
    }

    /// Whether the other end of the Unix-domain socket runs as the user.
    pub(super) async fn check_peer(&self, stream: &Stream, wish: &Wish) -> Result<(), LoginEnd> {
        let refuse = |why| Trouble::Entry(EntryError::new(&wish.user, Reason::Peer(why)));
        if stream.peer_address().is_some() || stream.tls().is_some() {
            return Err(refuse("it is for Unix-domain sockets only".to_owned()).into());
        }
        let Some(socket) = stream.socket() else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        let id = machine::peer_user_id(socket)?;
        let name = tokio::task::spawn_blocking(move || machine::user_name(id)).await;
        let name = name.map_err(io::Error::other)?.map_err(|error| refuse(error.to_string()))?;
        let why = match name {
            None => format!("the system's user {id} has no name"),
            Some(name) if !self.rules.is_known_as(self.map.as_deref(), &name, &wish.user) => {
                format!("the client runs as {name:?}{}", self.by_map())
            }
            Some(_) => return Ok(()),
        };
        Err(refuse(why).into())
    }

    /// Why whom a good token is about isn't the user, if so.
    pub(super) fn token_objection(&self, names: &Names, wish: &Wish) -> Option<String> {
        match names {
            Names::MayBe(users) if users.contains(&wish.user) => None,
            Names::MayBe(_) => Some("the token's claim doesn't list this user".to_owned()),
            Names::KnownAs(name) if self.rules.is_known_as(self.map.as_deref(), name, &wish.user) => None,
            Names::KnownAs(name) => Some(format!("the token is {name:?}'s{}", self.by_map())),
        }
    }

    /// The refusal of who isn't a user, in the words for who has proved to be somebody else.
    pub(super) fn unknown(&self, wish: &Wish) -> EntryError {
        let why = "unknown user".to_owned();
        let reason = match self.way {
            Way::Peer => Reason::Peer(why),
            Way::Bearer(_) => Reason::OAuth(why),
            _ => Reason::Certificate(why),
        };
        EntryError::new(&wish.user, reason)
    }

    fn by_map(&self) -> String {
        self.map
            .as_deref()
            .map(|map| format!(", which map {map:?} has not for this user"))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::hba::{Encryption, Files};
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::{Path, PathBuf};

    struct Text(&'static str);

    impl Files for Text {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.into())
        }

        fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn nobody_gets_past_a_rule_that_depends_on_addresses_which_cannot_be_read() {
        let text = Text("host app all samenet reject\nhost all all all trust\n");
        let (rules, _) = Rules::read(&text, Path::new("hba"), None, Encryption::None).unwrap();
        let unreadable = || Err(io::Error::other("too many open files"));
        let found = |database, interfaces: &dyn Fn() -> io::Result<Vec<Interface>>| {
            let address = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
            let visitor =
                Visitor { address, is_encrypted: false, user: "joe", database, replication: Replication::No };
            find(&rules, &visitor, interfaces).map(|rule| rule.place.line)
        };
        assert_eq!(found("app", &|| Ok(Vec::new())), Some(2));
        assert_eq!(found("app", &unreadable), None);
        assert_eq!(found("other", &unreadable), Some(2), "the rule isn't for it");
    }
}
