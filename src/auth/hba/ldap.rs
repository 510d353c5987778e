//! The options of the method ldap: which servers are asked, and what for. PostgreSQL's, DNS SRV records aside.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

use crate::wire::ldap::request::{self, Query, Scope};

/// What stands for the user's name in a filter.
const USER: &str = "$username";
/// Signs that mean something in a distinguished name.
const SIGNS: [char; 9] = ['"', '+', ',', ';', '<', '=', '>', '\\', '\0'];

/// What an attribute may be followed by in a filter that compares all of its value: `uid:caseIgnoreMatch:=$username`.
const WHOLE: [&str; 5] = ["", "dn", "caseIgnoreMatch", "caseExactMatch", "caseIgnoreIA5Match"];

/// Where and how a password is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ldap {
    /// URLs, to be tried in turn.
    pub servers: Vec<String>,
    /// Encryption begins with StartTLS.
    pub starttls: bool,
    /// Who is to be bound.
    pub way: Way,
}

/// Who the user is to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// What is between prefix and suffix.
    Bind {
        /// In front of the name.
        prefix: String,
        /// Behind it.
        suffix: String,
    },
    /// What a search finds.
    Search(Search),
}

/// A search for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where it begins.
    pub base: String,
    /// How far it goes.
    pub scope: Scope,
    filter: String,
    /// Who searches; empty: anybody.
    pub bind_dn: String,
    /// Its password.
    pub bind_password: Secret,
}

/// A password that isn't shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Ldap {
    /// Whether servers are asked over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.starttls || self.servers.iter().any(|server| server.starts_with("ldaps:"))
    }
}

/// What an entry has to say of itself, letter by letter, if it says anything: a directory takes names that differ in case for
/// the same, PostgreSQL doesn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// The attribute.
    pub attribute: String,
    /// Its value.
    pub value: String,
}

impl Search {
    /// An entry there isn't, to be asked for where there is none for the user either.
    pub fn nobody(&self) -> String {
        let of = if self.base.is_empty() { "" } else { "," };
        format!("cn=pgweir-nobody{of}{}", self.base)
    }

    /// The filter for a user, whose name can't be more than a name in it.
    pub fn filter(&self, user: &str) -> String {
        let mut escaped = String::with_capacity(user.len());
        for c in user.chars() {
            match c {
                '*' => escaped.push_str("\\2a"),
                '(' => escaped.push_str("\\28"),
                ')' => escaped.push_str("\\29"),
                '\\' => escaped.push_str("\\5c"),
                '\0' => escaped.push_str("\\00"),
                c => escaped.push(c),
            }
        }
        self.filter.replace(USER, &escaped)
    }
}

impl Way {
    /// How an entry spells this user's name: in one of these attributes. None if the options don't say.
    pub fn spellings(&self, user: &str) -> Vec<Spelling> {
        let is_attribute = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.;".contains(&b))
        };
        let of = |(attribute, value): (&str, String)| {
            let (attribute, by) = attribute.split_once(':').unwrap_or((attribute, ""));
            let is_whole = by.split(':').all(|rule| WHOLE.contains(&rule));
            let attribute = if is_whole { attribute.trim().to_owned() } else { String::new() };
            is_attribute(&attribute).then_some(Spelling { attribute, value })
        };
        match self {
            Self::Bind { prefix, suffix } => {
                let first = prefix.rsplit(',').next().and_then(|part| part.split_once('='));
                let behind = suffix.split(',').next().unwrap_or_default();
                let named = first.map(|(attribute, before)| (attribute, format!("{before}{user}{behind}")));
                named.and_then(of).into_iter().collect()
            }
            Self::Search(search) => {
                let parts = search.filter.split(['(', ')']).filter_map(|part| part.split_once('='));
                let plain = parts.filter(|(_, value)| value.contains(USER) && !value.contains(['*', '\\']));
                plain.filter_map(|(attribute, value)| of((attribute, value.replace(USER, user)))).collect()
            }
        }
    }

    /// The name to bind by prefix and suffix. `None` if the user's own name has signs in it that could make it another's;
    /// for a search there is none either.
    pub fn bound_name(&self, user: &str) -> Option<String> {
        let Self::Bind { prefix, suffix } = self else { return None };
        let strange = user.contains(SIGNS) || user.starts_with(['#', ' ']) || user.ends_with(' ');
        (!strange).then(|| format!("{prefix}{user}{suffix}"))
    }
}

/// How far a search goes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reach {
    #[default]
    All,
    /// The last option is a URL that doesn't say: no further than its base. PostgreSQL forgets that with the next option.
    Unsaid,
    Said(Scope),
}

/// Collects the options as they come.
#[derive(Default)]
pub(super) struct Options {
    server: Option<String>,
    port: Option<u16>,
    secure: bool,
    starttls: bool,
    prefix: Option<String>,
    suffix: Option<String>,
    base: Option<String>,
    attribute: Option<String>,
    filter: Option<String>,
    reach: Reach,
    bind_dn: Option<String>,
    bind_password: Option<Secret>,
}

impl Options {
    /// Whether a password is among those taken.
    pub(super) fn has_password(&self) -> bool {
        self.bind_password.is_some()
    }

    /// Takes an option if it is one of ldap's. Whether it was.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let text = || Some(value.to_owned());
        if self.reach == Reach::Unsaid {
            self.reach = Reach::All;
        }
        match name {
            "ldapserver" => self.server = text(),
            "ldapport" => {
                let port = value.parse().ok().filter(|port| *port > 0);
                self.port = Some(port.ok_or_else(|| format!("ldapport={value}: no port from 1 to 65535"))?);
            }
            "ldapscheme" => match value {
                "ldap" => self.secure = false,
                "ldaps" => self.secure = true,
                _ => return Err(format!("ldapscheme={value}: allowed are ldap and ldaps")),
            },
            "ldaptls" => match value {
                "0" => self.starttls = false,
                "1" => self.starttls = true,
                _ => return Err(format!("ldaptls={value}: allowed are 0 and 1")),
            },
            "ldapprefix" => self.prefix = text(),
            "ldapsuffix" => self.suffix = text(),
            "ldapbasedn" => self.base = text(),
            "ldapsearchattribute" => self.attribute = text(),
            "ldapsearchfilter" => self.filter = text(),
            "ldapbinddn" => self.bind_dn = text(),
            "ldapbindpasswd" => self.bind_password = Some(Secret(Zeroizing::new(value.to_owned()))),
            "ldapurl" => self.url(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `ldap[s]://host[:port]/base[?attribute[?scope[?filter]]]`
    fn url(&mut self, text: &str) -> Result<(), String> {
        const FORM: &str =
            "must be ldap://host:port/base?attribute?scope?filter, what is behind the host may be missing";
        let url = Url::parse(text).map_err(|error| format!("ldapurl= {FORM}: {error}"))?;
        let decoded = |part: &str| {
            percent_encoding::percent_decode_str(part)
                .decode_utf8()
                .map(|it| it.into_owned())
                .map_err(|_| format!("ldapurl= {FORM}: it is not UTF-8"))
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        self.secure = match url.scheme() {
            "ldap" => false,
            "ldaps" => true,
            _ => return Err(format!("ldapurl= {FORM}")),
        };
        self.server = Some(host.ok_or_else(|| format!("ldapurl= {FORM}"))?.to_owned());
        self.port = url.port();
        let base = decoded(url.path().trim_start_matches('/'))?;
        self.base = Some(base).filter(|base| !base.is_empty()).or(self.base.take());
        let mut parts = url.query().unwrap_or_default().splitn(3, '?');
        let mut part = || parts.next().filter(|part| !part.is_empty()).map(decoded).transpose();
        // Of several the first, as in PostgreSQL.
        let first = part()?.and_then(|list| list.split(',').next().map(str::to_owned));
        self.attribute = first.or(self.attribute.take());
        self.reach = match part()?.as_deref() {
            None => Reach::Unsaid,
            Some("base") => Reach::Said(Scope::Base),
            Some("one") => Reach::Said(Scope::One),
            Some("sub") => Reach::Said(Scope::Sub),
            Some(other) => {
                return Err(format!("ldapurl=: {other:?} is no scope; allowed are base, one, sub"));
            }
        };
        self.filter = part()?.or(self.filter.take());
        Ok(())
    }

    /// What they come to together.
    pub(super) fn finish(self) -> Result<Ldap, String> {
        let Some(servers) = self.server.as_deref().filter(|list| !list.trim().is_empty()) else {
            return Err("the method ldap needs ldapserver= or ldapurl=".to_owned());
        };
        if self.secure && self.starttls {
            return Err("ldaptls=1 goes with the scheme ldap only: ldaps is encrypted already".to_owned());
        }
        let scheme = if self.secure { "ldaps" } else { "ldap" };
        let url = |host: &str| match self.port.filter(|_| !has_port(host)) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        let servers = servers.split_whitespace().map(url).collect();
        let searches = self.base.is_some()
            || self.attribute.is_some()
            || self.filter.is_some()
            || self.bind_dn.is_some()
            || self.bind_password.is_some();
        let way = match (self.prefix, self.suffix) {
            (None, None) => Way::Search(Search {
                base: self.base.ok_or("the method ldap needs ldapbasedn=, ldapprefix= or ldapsuffix=")?,
                scope: match self.reach {
                    Reach::All => Scope::Sub,
                    Reach::Unsaid => Scope::Base,
                    Reach::Said(scope) => scope,
                },
                filter: filter(self.attribute, self.filter)?,
                bind_dn: self.bind_dn.unwrap_or_default(),
                bind_password: self.bind_password.unwrap_or_default(),
            }),
            _ if searches => {
                return Err("ldapprefix= and ldapsuffix= don't go with the options of a search".to_owned());
            }
            (prefix, suffix) => {
                Way::Bind { prefix: prefix.unwrap_or_default(), suffix: suffix.unwrap_or_default() }
            }
        };
        Ok(Ldap { servers, starttls: self.starttls, way })
    }
}

fn has_port(host: &str) -> bool {
    let behind = host.rsplit_once(':').filter(|(before, _)| !before.contains(':') || before.ends_with(']'));
    behind.is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn filter(attribute: Option<String>, filter: Option<String>) -> Result<String, String> {
    let filter = match (attribute, filter) {
        (Some(_), Some(_)) => {
            return Err("ldapsearchattribute= and ldapsearchfilter= don't go together".to_owned());
        }
        (_, Some(filter)) if !filter.contains(USER) => {
            return Err(
                "ldapsearchfilter= has no $username: it would find the same entry for everybody".to_owned()
            );
        }
        (_, Some(filter)) if filter.starts_with('(') => filter,
        (_, Some(filter)) => format!("({filter})"),
        (attribute, None) => format!("({}={USER})", attribute.as_deref().unwrap_or("uid")),
    };
    let somebody = filter.replace(USER, "x");
    let query = Query { base: "", scope: Scope::Sub, most: 2, filter: &somebody, attributes: &[] };
    match request::search(1, &query) {
        Ok(_) => Ok(filter),
        Err(_) => Err(format!("{filter:?} is no filter that LDAP knows (RFC 4515)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(options: &[(&str, &str)]) -> Result<Ldap, String> {
        let mut all = Options::default();
        for (name, value) in options {
            assert!(all.take(name, value)?, "{name}");
        }
        all.finish()
    }

    fn search(options: &[(&str, &str)]) -> Search {
        match read(options).unwrap().way {
            Way::Search(search) => search,
            Way::Bind { .. } => panic!("no search: {options:?}"),
        }
    }

    #[test]
    fn servers_and_their_ports() {
        for (options, servers) in [
            (&[("ldapserver", "a"), ("ldapprefix", "")][..], &["ldap://a"][..]),
            (
                &[("ldapserver", "a b:7 ::1 [::1]:8"), ("ldapport", "9"), ("ldapsuffix", "x")],
                &["ldap://a:9", "ldap://b:7", "ldap://::1:9", "ldap://[::1]:8"],
            ),
            (&[("ldapserver", "a"), ("ldapscheme", "ldaps"), ("ldapbasedn", "x")], &["ldaps://a"]),
            (&[("ldapurl", "ldaps://a:7/x")], &["ldaps://a:7"]),
        ] {
            assert_eq!(read(options).unwrap().servers, servers);
        }
    }

    #[test]
    fn who_the_user_is() {
        let way = read(&[("ldapserver", "a"), ("ldapprefix", "cn="), ("ldapsuffix", ",dc=x")]).unwrap().way;
        assert_eq!(way.bound_name("joe").as_deref(), Some("cn=joe,dc=x"));
        for strange in ["joe,ou=staff", "a=b", "a\\b", " joe", "joe ", "#joe", "a\"b", "a\0b", "a+b"] {
            assert_eq!(way.bound_name(strange), None, "{strange}");
        }
        let base = [("ldapserver", "a"), ("ldapbasedn", "dc=x")];
        assert_eq!(search(&base).filter("joe"), "(uid=joe)");
        assert_eq!(search(&base).filter("*)(a=\\\0"), "(uid=\\2a\\29\\28a=\\5c\\00)");
        let by = |name, value| search(&[base[0], base[1], (name, value)]);
        assert_eq!(by("ldapsearchattribute", "cn").filter("joe"), "(cn=joe)");
        assert_eq!(by("ldapsearchfilter", "(|(a=$username)(b=$username))").filter("j"), "(|(a=j)(b=j))");
        assert_eq!(by("ldapsearchfilter", "mail=$username@x").filter("j"), "(mail=j@x)");
        let url = search(&[("ldapurl", "ldap://a/dc=x,dc=y?mail?one"), ("ldapbinddn", "cn=me")]);
        assert_eq!(
            (&*url.base, url.scope, &*url.filter, &*url.bind_dn),
            ("dc=x,dc=y", Scope::One, "(mail=$username)", "cn=me")
        );
        let url = search(&[("ldapurl", "ldap://a/dc=x??sub?(cn=$username)")]);
        assert_eq!((&*url.base, url.scope, &*url.filter), ("dc=x", Scope::Sub, "(cn=$username)"));
        assert_eq!(search(&[("ldapurl", "ldap://a/dc=x?cn,mail?one")]).filter("joe"), "(cn=joe)");
        // As in PostgreSQL, where an option behind the URL makes it all again.
        for (options, scope) in [
            (&[("ldapurl", "ldap://a/dc=x")][..], Scope::Base),
            (&[("ldapbinddn", "cn=me"), ("ldapurl", "ldap://a/dc=x?uid")], Scope::Base),
            (&[("ldapurl", "ldap://a/dc=x?uid"), ("ldapbinddn", "cn=me")], Scope::Sub),
            (&[("ldapurl", "ldap://a/dc=x?uid?one"), ("ldapbinddn", "cn=me")], Scope::One),
        ] {
            assert_eq!(search(options).scope, scope, "{options:?}");
        }
    }

    proptest! {
        /// Whatever the name is, the filter compares with it, and does nothing else.
        #[test]
        fn any_name_is_a_value(user in "[a*()\\\\\\x00&|!=é]{0,12}|.{0,12}") {
            let filter = search(&[("ldapserver", "a"), ("ldapbasedn", "dc=x")]).filter(&user);
            let query = Query { base: "", scope: Scope::Sub, most: 2, filter: &filter, attributes: &[] };
            let sent = request::search(1, &query).expect("a filter");
            let size = u8::try_from(user.len()).expect("few");
            let end = [&b"\x04\x03uid\x04"[..], &[size], user.as_bytes(), &[0x30, 0]].concat();
            prop_assert!(sent.ends_with(&end), "{filter}");
        }
    }

    #[test]
    fn how_entries_spell_a_user() {
        let way = |options: &[(&str, &str)]| read(&[&[("ldapserver", "a")], options].concat()).unwrap().way;
        for (options, expected) in [
            (&[("ldapprefix", "uid="), ("ldapsuffix", ",dc=x")][..], &[("uid", "Joe")][..]),
            (&[("ldapprefix", "dc=x, cn=a-"), ("ldapsuffix", "-b,dc=x")], &[("cn", "a-Joe-b")]),
            (&[("ldapsuffix", "@x.org")], &[]),
            (&[("ldapprefix", "DOMAIN\\")], &[]),
            (&[("ldapbasedn", "x")], &[("uid", "Joe")]),
            (
                &[("ldapbasedn", "x"), ("ldapsearchfilter", "(&(a=b)(|(cn=$username)(mail=$username@x)))")],
                &[("cn", "Joe"), ("mail", "Joe@x")],
            ),
            (&[("ldapbasedn", "x"), ("ldapsearchfilter", "(|(a~=$username)(b=*$username))")], &[]),
            (
                &[
                    ("ldapbasedn", "x"),
                    ("ldapsearchfilter", "(|(a:dn:caseIgnoreMatch:=$username)(b:2.4.6:=$username))"),
                ],
                &[("a", "Joe")],
            ),
        ] {
            let found = way(options).spellings("Joe");
            let found: Vec<_> = found.iter().map(|it| (&*it.attribute, &*it.value)).collect();
            assert_eq!(found, expected, "{options:?}");
        }
    }

    #[test]
    fn what_does_not_go_together() {
        for (options, expected) in [
            (&[("ldapbasedn", "x")][..], "needs ldapserver="),
            (&[("ldapserver", " "), ("ldapbasedn", "x")], "needs ldapserver="),
            (&[("ldapserver", "a")], "needs ldapbasedn="),
            (
                &[("ldapserver", "a"), ("ldapprefix", "x"), ("ldapbasedn", "x")],
                "don't go with the options of a search",
            ),
            (
                &[("ldapserver", "a"), ("ldapbasedn", "x"), ("ldapsearchfilter", "(cn=joe)")],
                "has no $username",
            ),
            (
                &[
                    ("ldapserver", "a"),
                    ("ldapbasedn", "x"),
                    ("ldapsearchattribute", "a"),
                    ("ldapsearchfilter", "$username"),
                ],
                "don't go together",
            ),
            (&[("ldapport", "0")], "no port from 1 to 65535"),
            (&[("ldapscheme", "ldapi")], "allowed are ldap and ldaps"),
            (&[("ldaptls", "yes")], "allowed are 0 and 1"),
            (&[("ldapurl", "http://a/x")], "ldapurl= must be"),
            (&[("ldapurl", "ldap:///x")], "ldapurl= must be"),
            (&[("ldapurl", "ldap://a/x?a?all")], "\"all\" is no scope"),
            (
                &[("ldapserver", "a"), ("ldapbasedn", "x"), ("ldapsearchfilter", "(uid=$username")],
                "\"(uid=$username\" is no filter that LDAP knows",
            ),
            (
                &[("ldapserver", "a"), ("ldapbasedn", "x"), ("ldapsearchattribute", "uid,mail")],
                "\"(uid,mail=$username)\" is no filter that LDAP knows",
            ),
            (&[("ldapurl", "ldaps://a/x"), ("ldaptls", "1")], "ldaps is encrypted already"),
        ] {
            let told = read(options).expect_err("it is wrong");
            assert!(told.contains(expected), "{options:?}: {told}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let all =
            [("ldapserver", "a"), ("ldapbasedn", "x"), ("ldapbinddn", "me"), ("ldapbindpasswd", "hunter2")];
        assert!(!format!("{:?}", read(&all).unwrap()).contains("hunter2"));
    }
}
