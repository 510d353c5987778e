//! The options of the method oauth: PostgreSQL's, and what its validator would have of its own.

use std::path::Path;

use url::Url;

use crate::auth::oauth::{Algorithm, KeySource, OAuth, issuer_at};

/// Options as they come.
#[derive(Debug, Default)]
pub(super) struct Options {
    issuer: Option<String>,
    scope: Option<String>,
    audience: Option<String>,
    claim: Option<String>,
    algorithms: Option<Vec<Algorithm>>,
    keys: Option<KeySource>,
    is_delegated: bool,
    is_loopback_allowed: bool,
}

impl Options {
    /// Takes an option if it is one of oauth's. Whether it was.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let text = || Some(value.to_owned()).filter(|text| !text.trim().is_empty());
        match name {
            "issuer" => {
                let url =
                    Url::parse(value).ok().filter(|url| url.scheme() == "https" || is_of_this_machine(url));
                url.ok_or_else(|| format!("issuer={value}: it must be an https:// address"))?;
                issuer_at(value).ok_or_else(|| format!("issuer={value}: what it has of /.well-known/ must be openid-configuration or oauth-authorization-server, at the beginning or the end of the path"))?;
                self.issuer = text();
            }
            "scope" => self.scope = text(),
            "audience" => self.audience = text(),
            "claim" => self.claim = text(),
            "jwks" => self.keys = Some(source(value)?),
            "algorithms" => {
                let named = value.split_whitespace().map(|name| Algorithm::named(name).ok_or(name));
                let known = Algorithm::ALL.map(|(name, _)| name).join(", ");
                let all: Result<Vec<_>, _> = named.collect();
                self.algorithms =
                    Some(all.map_err(|name| format!("algorithms= has {name:?}; allowed are {known}"))?);
            }
            "delegate_ident_mapping" => match value {
                "0" => self.is_delegated = false,
                "1" => self.is_delegated = true,
                _ => return Err(format!("delegate_ident_mapping={value}: allowed are 0 and 1")),
            },
            "cleartext" => match value {
                "never" => self.is_loopback_allowed = false,
                "loopback" => self.is_loopback_allowed = true,
                _ => return Err(format!("cleartext={value}: allowed are never and loopback")),
            },
            "validator" => {
                return Err("validator=: pgweir looks at tokens itself, by the keys of jwks=".to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What they come to together, in a file of this folder.
    pub(super) fn finish(self, folder: Option<&Path>) -> Result<OAuth, String> {
        let missing = |name: &str, what: &str| format!("the method oauth needs {name}=, {what}");
        let audience =
            self.audience.ok_or_else(|| missing("audience", "whom tokens are for (\"*\": anybody)"))?;
        let audience: Vec<Box<str>> = match audience.trim() {
            "*" => Vec::new(),
            audience => audience.split_whitespace().map(Into::into).collect(),
        };
        let keys =
            self.keys.ok_or_else(|| missing("jwks", "the issuer's keys: a file, or an https:// address"))?;
        Ok(OAuth {
            issuer: self.issuer.ok_or_else(|| missing("issuer", "who issues tokens"))?.into(),
            scope: self.scope.ok_or_else(|| missing("scope", "what tokens have to be good for"))?.into(),
            audience,
            claim: self.claim.as_deref().unwrap_or("sub").into(),
            algorithms: self.algorithms.unwrap_or_else(|| Algorithm::ALL.map(|(_, it)| it).to_vec()),
            keys: match (keys, folder) {
                (KeySource::File(path), Some(folder)) => KeySource::File(folder.join(path)),
                (keys, _) => keys,
            },
            is_delegated: self.is_delegated,
            is_loopback_allowed: self.is_loopback_allowed,
        })
    }
}

fn is_of_this_machine(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "http" && is_loopback
}

/// Keys that come in clear could be anybody's.
fn source(value: &str) -> Result<KeySource, String> {
    if !value.contains("://") {
        return match value {
            "" => Err("jwks= names no file and no address".to_owned()),
            path => Ok(KeySource::File(path.into())),
        };
    }
    let url = Url::parse(value).ok().filter(|url| url.scheme() == "https" || is_of_this_machine(url));
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    url.map(KeySource::At)
        .ok_or_else(|| "jwks= must be a file, or an https:// address without a password".to_owned())
}
