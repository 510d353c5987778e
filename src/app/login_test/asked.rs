//! What a client is asked for, by auth_type or by the first line of the rules that is for it.

use super::Failure;
use crate::app::rules;
use crate::auth::hba::ldap::Ldap;
use crate::auth::hba::{
    Certificate, EntryError, Method as ByRule, Origin, Reason, Replication, Rules, Visitor,
};
use crate::auth::login::Method;
use crate::cli::{LoginTest, Whence};
use crate::config::{AuthType, Config, Database};
use crate::net::machine;
use rustls::ClientConfig;
use std::sync::Arc;

/// What a client has to show.
pub(super) enum Asked {
    /// A password in some form, or nothing, by the secrets that pgweir knows.
    Secret(Method),
    /// A password that a directory knows.
    Directory(Arc<Ldap>, Option<Arc<ClientConfig>>),
    /// Nothing, whoever it says it is.
    Nothing,
    /// Something that isn't here to be shown.
    Else(&'static str),
}

/// What, and what says so.
pub(super) struct Entrance {
    pub(super) asked: Asked,
    pub(super) by: String,
}

/// What is asked of this client, which wants to this database.
pub(super) fn find(
    config: &Config,
    client: &LoginTest,
    (name, database): (&str, &Database),
) -> Result<Entrance, Failure> {
    let (rules, _) = rules::rules(config)
        .map_err(|error| Failure::new(error, "pgweir --check tells all problems of the file"))?;
    let auth_type = config.general.auth_type;
    let by = auth_type.as_str().to_owned();
    let secret = |method| Ok(Entrance { asked: Asked::Secret(method), by: by.clone() });
    let other = |what| Ok(Entrance { asked: Asked::Else(what), by: by.clone() });
    match auth_type {
        AuthType::Trust => secret(Method::Trust),
        AuthType::Password => secret(Method::Password),
        AuthType::Md5 => secret(Method::Md5),
        AuthType::ScramSha256 => secret(Method::ScramSha256),
        AuthType::Cert => other(CERTIFICATE),
        AuthType::Peer => other(PEER),
        AuthType::Any if database.user.is_none() => Err(Failure::new(
            "auth_type any lets a client in only as the user that its database is set to",
            "set user in [databases.NAME]",
        )),
        AuthType::Any => Ok(Entrance { asked: Asked::Nothing, by }),
        AuthType::Hba => by_rules(&rules, visitor(config, client, name)),
        AuthType::Ldap | AuthType::Pam | AuthType::OAuth => {
            by_rules(&rules, visitor(config, client, name)).map(|entrance| Entrance { by, ..entrance })
        }
    }
}

const CERTIFICATE: &str = "a certificate of the user's";
const PEER: &str = "whom it runs as, on the Unix-domain socket";

fn visitor<'a>(config: &Config, client: &'a LoginTest, database: &'a str) -> Visitor<'a> {
    let address = match client.from {
        Whence::Address(address) => Some(address),
        Whence::Local => None,
    };
    let has_tls = config.client_tls().files().is_some();
    let is_encrypted = has_tls && !client.no_tls && address.is_some();
    Visitor { address, is_encrypted, user: &client.user, database, replication: Replication::No }
}

fn by_rules(rules: &Rules, visitor: Visitor<'_>) -> Result<Entrance, Failure> {
    let refuse = |reason| {
        let why = EntryError::new(visitor.user, reason).client_message();
        Failure::new(why, "see auth_hba_file, and --from and --no-tls for a client elsewhere")
    };
    let interfaces = || machine::interfaces().unwrap_or_default();
    let Some(rule) = rules.find(&visitor, &interfaces) else {
        return Err(refuse(Reason::NoRule(Origin::from(&visitor))));
    };
    let asked = match rule.method {
        ByRule::Reject => {
            let mut failure = refuse(Reason::Rejected(Origin::from(&visitor), rule.place.clone()));
            failure.why = format!("{} ({})", failure.why, rule.place);
            return Err(failure);
        }
        ByRule::Trust => Asked::Secret(Method::Trust),
        ByRule::Password => Asked::Secret(Method::Password),
        ByRule::Md5 => Asked::Secret(Method::Md5),
        ByRule::ScramSha256 => Asked::Secret(Method::ScramSha256),
        ByRule::Cert => Asked::Else(CERTIFICATE),
        ByRule::Peer => Asked::Else(PEER),
        ByRule::OAuth => Asked::Else("a token"),
        ByRule::Pam => Asked::Else("a password that PAM knows"),
        ByRule::Ldap => {
            let ldap = rule.ldap.as_ref().expect("a rule by ldap has its options");
            let tls = rules::directory_tls(rules)
                .map_err(|error| Failure::new(error, "see ldaptls in docs/authentication.md"))?;
            Asked::Directory(Arc::clone(ldap), tls)
        }
    };
    let also = if rule.certificate == Certificate::Unasked { "" } else { ", and a certificate (not tested)" };
    Ok(Entrance { asked, by: format!("{} ({}{also})", rule.method.name(), rule.place) })
}
