//! Files as people write them, and what becomes of connections by them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// Files in memory.
struct Shelf(BTreeMap<&'static str, String>);

impl Files for Shelf {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.0.get(path.to_str().expect("a path of ours"));
        found.map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let inside = |name: &&str| Path::new(name).parent() == Some(directory);
        let found: Vec<_> = self.0.keys().copied().filter(inside).map(PathBuf::from).collect();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }
}

fn shelf<const N: usize>(files: [(&'static str, &str); N]) -> Shelf {
    Shelf(files.into_iter().map(|(name, text)| (name, text.to_owned())).collect())
}

fn read(files: &Shelf, encryption: Encryption) -> Result<(Rules, Vec<Problem>), Problems> {
    let ident = files.0.contains_key("ident").then_some(Path::new("ident"));
    Rules::read(files, Path::new("hba"), ident, encryption)
}

fn rules(text: &str) -> Rules {
    let read = read(&shelf([("hba", text)]), Encryption::Verifying);
    read.unwrap_or_else(|problems| panic!("{problems}")).0
}

fn problems_of(files: &Shelf) -> String {
    read(files, Encryption::Verifying).expect_err("it is wrong").to_string()
}

fn visitor<'a>(address: &str, user: &'a str, database: &'a str) -> Visitor<'a> {
    let is_encrypted = address.starts_with("ssl ");
    let address = address.trim_start_matches("ssl ");
    let address = (address != "local").then(|| address.parse().expect("an address"));
    Visitor { address, is_encrypted, user, database, replication: Replication::No }
}

fn interfaces() -> Vec<Interface> {
    let of = |address: &str, mask: &str| Interface {
        address: address.parse().expect("an address"),
        mask: mask.parse().expect("a mask"),
    };
    vec![of("192.0.2.7", "255.255.255.0"), of("2001:db8::7", "ffff:ffff:ffff:ffff::")]
}

/// The line of the rule for a connection.
fn line(rules: &Rules, visitor: &Visitor<'_>) -> usize {
    rules.find(visitor, &interfaces).map_or(0, |rule| rule.place.line)
}

/// A password with a blank in it that is in no quotes.
#[test]
fn what_may_be_a_password_is_not_told() {
    for rest in ["2x", "2x=y", "clientcert 2x"] {
        let text = format!("host all all all ldap ldapserver=a ldapbasedn=b ldapbindpasswd=hunter {rest}\n");
        let told = problems_of(&shelf([("hba", &text)]));
        assert!(told.contains("goes in quotes") && !told.contains("2x"), "{told}");
    }
}

#[test]
fn either_name_of_the_console_is_meant_by_a_rule() {
    for named in ["pgweir", "pgbouncer", "/^pgbouncer$", "/^pgweir$", "sameuser"] {
        let rules = rules(&format!("host {named} all all reject\nhost all all all trust\n"));
        for (database, expected) in [("pgweir", 1), ("pgbouncer", 1), ("app", 2)] {
            assert_eq!(line(&rules, &visitor("::1", "pgbouncer", database)), expected, "{named} {database}");
        }
    }
}

#[test]
fn the_first_line_that_fits_counts() {
    let rules = rules(
        "local all joe peer\nhostssl all joe all scram-sha-256\nhost all joe 10.0.0.0/8 reject\n\
         host all joe 0.0.0.0/0 md5\nhost app all ::1/128 trust\nhostnossl \"all\" all all password\n",
    );
    for (address, user, database, expected) in [
        ("local", "joe", "app", 1),
        ("local", "jim", "app", 0),
        ("ssl 10.1.2.3", "joe", "app", 2),
        ("ssl ::1", "joe", "app", 2),
        ("10.1.2.3", "joe", "app", 3),
        ("::ffff:10.1.2.3", "joe", "app", 3),
        ("11.1.2.3", "joe", "app", 4),
        ("::1", "joe", "app", 5),
        ("::1", "joe", "other", 0),
        ("::2", "joe", "all", 6),
        ("ssl ::2", "jim", "all", 0),
    ] {
        assert_eq!(line(&rules, &visitor(address, user, database)), expected, "{address} {user} {database}");
    }
    assert_eq!(rules.find(&visitor("local", "joe", "x"), &interfaces).map(|r| r.method), Some(Method::Peer));
}

#[test]
fn databases_and_users() {
    for (databases, users, database, user, fits) in [
        ("all", "all", "app", "joe", true),
        ("sameuser", "all", "joe", "joe", true),
        ("sameuser", "all", "app", "joe", false),
        ("\"sameuser\"", "all", "sameuser", "joe", true),
        ("\"sameuser\"", "all", "joe", "joe", false),
        ("a,app", "x,joe", "app", "joe", true),
        ("a, b", "joe", "app", "joe", false),
        ("app", "\"all\"", "app", "joe", false),
        ("app", "\"all\"", "app", "all", true),
        ("app", "Joe", "app", "joe", false),
        ("app", "\"a \"\"b\"", "app", "a \"b", true),
        ("/^app", "all", "apples", "joe", true),
        ("/^app$", "all", "apples", "joe", false),
        ("/pp", "all", "app", "joe", true),
        ("\"/^a{1,2}$\"", "all", "aa", "joe", true),
        ("app", "/^j.e$", "app", "joe", true),
        // By bytes, as PostgreSQL 18 does.
        ("all", r"/^\w+$", "app", "jürgen", false),
        ("all", r"/^\d+$", "app", "\u{661}\u{662}", false),
        ("all", "/(?i)^svc$", "app", "\u{17f}vc", false),
        ("all", r"/\s", "app", "a\u{a0}b", false),
        ("all", r"/^\W", "app", "ÄB", true),
        ("all", "/^a.b$", "app", "a\nb", true),
        ("all", "/^J?jürgen$", "app", "jürgen", true),
        ("app", "\"+joe\"", "app", "+joe", true),
        ("replication", "all", "replication", "joe", false),
        ("\"replication\"", "all", "replication", "joe", true),
    ] {
        let rules = rules(&format!("host {databases} {users} all trust"));
        let found = line(&rules, &visitor("::1", user, database)) == 1;
        assert_eq!(found, fits, "{databases} {users}: {database} {user}");
    }
}

#[test]
fn replication_has_its_own_lines() {
    let rules = rules("host all all all md5\nhost app,replication joe all trust\n");
    let line = |replication| line(&rules, &Visitor { replication, ..visitor("::1", "joe", "app") });
    assert_eq!(line(Replication::No), 1);
    assert_eq!(line(Replication::Logical), 1);
    assert_eq!(line(Replication::Physical), 2);
}

/// The section a client names chooses PostgreSQL and user: the keyword alone opens only the section of that name.
#[test]
fn physical_replication_is_of_a_section() {
    for (databases, method, database, fits) in [
        ("replication", "trust", "payroll", false),
        ("replication", "trust", "replication", true),
        ("replication,payroll", "trust", "payroll", true),
        ("replication,payroll", "trust", "other", false),
        ("all,replication", "trust", "payroll", true),
        ("payroll", "trust", "payroll", false),
        ("replication", "reject", "payroll", true),
    ] {
        let rules = rules(&format!("host {databases} all all {method}"));
        let physical = Visitor { replication: Replication::Physical, ..visitor("::1", "joe", database) };
        assert_eq!(line(&rules, &physical) == 1, fits, "{databases} {method}: {database}");
    }
}

#[test]
fn addresses() {
    for (address, client, fits) in [
        ("all", "::1", true),
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.9/24", "192.0.2.1", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.1/32", "192.0.2.2", false),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "1.2.3.4", false),
        ("::/0", "::1", true),
        ("2001:db8::/32", "2001:db8:1::", true),
        ("2001:db8::/32", "2001:db9::", false),
        ("192.0.2.0 255.255.255.0", "192.0.2.3", true),
        ("192.0.2.0 255.0.255.0", "192.9.2.3", true),
        ("fe80:: ffff::", "fe80::1", true),
        ("\"127.0.0.1/32\"", "127.0.0.1", true),
        ("samehost", "192.0.2.7", true),
        ("samehost", "192.0.2.8", false),
        ("samenet", "192.0.2.8", true),
        ("samenet", "192.0.3.8", false),
        ("samenet", "2001:db8::8", true),
    ] {
        let rules = rules(&format!("host all all {address} trust"));
        assert_eq!(line(&rules, &visitor(client, "joe", "app")) == 1, fits, "{address}: {client}");
    }
}

#[test]
fn options() {
    let text = "hostssl all all all cert map=m\nhostssl all all all md5 clientcert=verify-ca\n\
                hostssl all all all trust clientcert=verify-full clientname=CN\nlocal all all ident map=\"m\"\n";
    let files = shelf([("hba", text), ("ident", "m a b")]);
    let (rules, warnings) = read(&files, Encryption::Verifying).unwrap();
    let has =
        |at: usize| (rules.rules[at].method, rules.rules[at].certificate, rules.rules[at].map.as_deref());
    assert_eq!(has(0), (Method::Cert, Certificate::OfUser, Some("m")));
    assert_eq!(has(1), (Method::Md5, Certificate::Trusted, None));
    assert_eq!(has(2), (Method::Trust, Certificate::OfUser, None));
    assert_eq!(has(3), (Method::Peer, Certificate::Unasked, Some("m")));
    assert_eq!((warnings, rules.len()), (Vec::new(), 4));
    let anonymous = read(&files, Encryption::Anonymous).unwrap_err();
    assert_eq!(anonymous.0.iter().map(|p| p.place.line).collect::<Vec<_>>(), [1, 2, 3]);
    let (_, warnings) = read(&files, Encryption::None).unwrap();
    assert_eq!(warnings.len(), 3);
    assert_eq!(warnings[0].to_string(), "hba:1: hostssl is for nobody: client_tls_sslmode is \"disable\"");
}

#[track_caller]
fn complains(text: &str, expected: &str) {
    let told = problems_of(&shelf([("hba", text)]));
    assert!(told.contains(expected), "{text}: {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn bad_lines_are_named_with_what_is_allowed() {
    for (text, expected) in [
        ("", "hba: has no line"),
        ("hots all all all trust", "hba:1: \"hots\" is no connection type; allowed are local, host"),
        ("host,local all all all trust", "hba:1: the connection type must be one word"),
        ("host", "hba:1: the databases are missing"),
        ("host all", "hba:1: the users are missing"),
        ("host all all", "hba:1: the address is missing"),
        ("local all all", "hba:1: the method is missing"),
        ("host all all all", "hba:1: the method is missing"),
        ("host all all trust", "hba:1: \"trust\" is no address; allowed are all, samehost"),
        ("host all all example.net trust", "Host names aren't"),
        ("host all all .example.net trust", "Host names aren't"),
        ("host all all 1.2.3.4/33 trust", "a number from 0 to 32"),
        ("host all all ::/129 trust", "a number from 0 to 128"),
        ("host all all 1.2.3.4/+1 trust", "\"+1\" is no length"),
        ("host all all 1.2.3.4/ trust", "\"\" is no length"),
        ("host all all 1.2.3.4", "the mask of 1.2.3.4 is missing"),
        ("host all all 1.2.3.4 trust", "write 1.2.3.4/32"),
        ("host all all ::1 255.0.0.0 trust", "write ::1/128"),
        ("host all all 1.2.3.4 255.0.0.0,1.1.1.1 trust", "the mask must be one word"),
        ("host all all all,samenet trust", "the address must be one word"),
        #[cfg(not(feature = "pam"))]
        ("host all all all pam", "built without the cargo feature"),
        ("host all all all gss", "\"gss\" is no method that pgweir has; allowed are trust, reject"),
        ("host all all all ident", "\"ident\" is no method"),
        ("host all all all peer", "peer goes with local only"),
        ("host all all all cert", "cert goes with hostssl only"),
        ("local all all cert", "cert goes with hostssl only"),
        ("host all all all md5,trust", "the method must be one word"),
        ("host samerole all all md5", "samerole: pgweir doesn't know"),
        ("host samegroup all all md5", "samegroup: pgweir doesn't know"),
        ("host all +staff all md5", "+staff: pgweir doesn't know"),
        ("host /( all all md5", "\"/(\" is no regular expression: unclosed group"),
        ("host all \"/[\" all md5", "is no regular expression"),
        ("host all /[[:<:]]app all md5", "[[:<:]] isn't known here"),
        ("host all all all md5 map=x", "map= goes with the methods cert, peer and oauth only"),
        ("local all all peer map=", "map= names no map"),
        ("local all all peer map=x", "hba:1: map=x: there is no such map in auth_ident_file"),
        ("host all all all md5 clientcert=verify-ca", "clientcert= goes with hostssl only"),
        ("hostssl all all all md5 clientcert=1", "\"clientcert=1\" is no option; allowed are map=NAME"),
        ("hostssl all all all cert clientcert=verify-ca", "verify-ca would be less"),
        ("hostssl all all all cert clientname=DN", "common name (CN) only"),
        ("host all all all md5 md5", "\"md5\" is no option: they are NAME=VALUE"),
        ("host all all all md5 pamservice=x", "pamservice= goes with the method pam only"),
        ("host all all all ldap ldapserver=a", "hba:1: the method ldap needs ldapbasedn="),
        ("host all all all md5 ldapserver=a", "ldapserver= goes with the method ldap only"),
        ("host all \"all all md5", "hba:1: a closing quote is missing"),
        ("host all a\0b all md5", "hba:1: has a zero byte"),
        ("include nowhere", "hba:1: nowhere can't be read"),
        ("include_dir nowhere", "hba:1: nowhere can't be read"),
        ("include hba", "hba:1: hba includes itself"),
        ("host all @nowhere all md5", "hba:1: @nowhere: nowhere can't be read"),
        ("\n# x\nhost \\\nall \\\nall all trust\nlocal all all nothing", "hba:6: \"nothing\""),
    ] {
        complains(text, expected);
    }
    assert_eq!(problems_of(&shelf([])).split(':').next(), Some("hba"));
    assert_eq!(problems_of(&shelf([("hba", "a\nlocal all all trust\nb")])).lines().count(), 2);
}

#[test]
fn bad_options_of_oauth_are_named() {
    for (text, expected) in [
        ("host all all all md5 issuer=https://i", "issuer= goes with the method oauth only"),
        ("host all all all oauth issuer=http://i", "issuer=http://i: it must be an https:// address"),
        ("host all all all oauth issuer=https://i/.well-known/x", "must be openid-configuration or oauth"),
        ("host all all all oauth scope=a issuer=https://i jwks=k", "the method oauth needs audience="),
        ("host all all all oauth scope=a audience=p jwks=k", "the method oauth needs issuer="),
        ("host all all all oauth issuer=https://i audience=p jwks=k", "the method oauth needs scope="),
        ("host all all all oauth issuer=https://i scope=a audience=p", "the method oauth needs jwks="),
        ("host all all all oauth jwks=http://i/k", "jwks= must be a file, or an https:// address"),
        ("host all all all oauth jwks=https://u:secret@i/k", "jwks= must be a file, or an https:// address"),
        (
            "host all all all oauth algorithms=\"RS256 HS256\"",
            "algorithms= has \"HS256\"; allowed are RS256,",
        ),
        ("host all all all oauth algorithms=none", "algorithms= has \"none\""),
        ("host all all all oauth validator=x", "pgweir looks at tokens itself"),
        ("host all all all oauth cleartext=always", "allowed are never and loopback"),
        (
            "host all all all oauth issuer=https://i scope=a audience=p jwks=k map=m delegate_ident_mapping=1",
            "don't go together",
        ),
    ] {
        complains(text, expected);
    }
}

#[test]
fn tokens_that_nobody_can_send_are_told() {
    let lines = ["host", "hostssl", "hostnossl"].map(|kind| {
        let line = format!("{kind} all all all oauth issuer=https://i scope=a audience=p jwks=https://i/k");
        format!("{line}\n{line} cleartext=loopback\n")
    });
    let text = lines.concat();
    let told = |encryption| {
        let (_, warnings) = read(&shelf([("hba", text.as_str())]), encryption).unwrap();
        warnings.iter().map(|warning| warning.place.line).collect::<Vec<_>>()
    };
    assert_eq!(told(Encryption::None), [1, 3, 4, 5]);
    assert_eq!(told(Encryption::Anonymous), [5]);
}

#[test]
fn keys_lie_beside_the_rule_that_names_them() {
    let with = |keys: &str| {
        format!("local all all oauth issuer=https://i scope=a audience=p claim=sub jwks={keys}\n")
    };
    let text = format!("include d/more\n{}{}{}", with("k"), with("/k"), with("https://i/k"));
    let more = with("k");
    let files = shelf([("hba", text.as_str()), ("d/more", more.as_str())]);
    let (rules, _) = read(&files, Encryption::None).unwrap();
    let paths: Vec<_> =
        rules.key_files().map(|(at, path)| (at.to_string(), path.display().to_string())).collect();
    let expected = [("d/more:1", "d/k"), ("hba:2", "k"), ("hba:3", "/k")];
    assert_eq!(paths, expected.map(|(at, path)| (at.to_owned(), path.to_owned())));
    let of_setting =
        Rules::of_method("auth/x", "oauth", "issuer=https://i scope=a audience=p jwks=k").unwrap();
    assert!(of_setting.key_files().all(|(_, path)| path == Path::new("k")));
}

#[test]
fn other_files_are_included() {
    let files = shelf([
        (
            "hba",
            "include d/more\ninclude_if_exists d/nothing\ninclude_dir d/conf\nlocal @d/bases @d/users trust",
        ),
        ("d/more", "local app mo trust\ninclude_if_exists ../d/deeper\ninclude deeper\n"),
        ("d/deeper", "local app deep trust\n"),
        ("d/conf/10.conf", "local app ten trust"),
        ("d/conf/02.conf", "\nlocal app all reject"),
        ("d/conf/.hidden.conf", "nonsense"),
        ("d/conf/readme", "nonsense"),
        ("d/users", "joe, \"jim smith\"\n# nobody\n\n@more_users \\\n jane"),
        ("d/more_users", "jack"),
        ("d/bases", "all"),
    ]);
    let (rules, _) = read(&files, Encryption::None).unwrap();
    let places: Vec<_> = rules.rules.iter().map(|rule| rule.place.to_string()).collect();
    assert_eq!(places, ["d/more:1", "d/deeper:1", "d/conf/02.conf:2", "d/conf/10.conf:1", "hba:4"]);
    let found = |user| rules.find(&visitor("local", user, "x"), &interfaces).is_some();
    assert!(["joe", "jim smith", "jack", "jane"].into_iter().all(found) && !found("jill"));
    let told = |hba, users| problems_of(&shelf([("hba", hba), ("users", users)]));
    assert_eq!(told("local all @users trust", "# nobody"), "hba:1: @users: users has no word in it");
    assert_eq!(
        told("local all @users trust", "a @users").lines().next(),
        Some("users:1: users includes itself")
    );
    assert!(told("local all @users trust", "\n+staff").starts_with("hba:1: +staff"));
    // What is wrong within the file is all that is said of it.
    assert_eq!(told("local all @users trust", "\n\""), "users:2: a closing quote is missing");
}

#[test]
fn inclusion_has_bounds() {
    let mut files = shelf([("hba", "include 0")]);
    let names: Vec<&'static str> = (0..12).map(|n| &*n.to_string().leak()).collect();
    for pair in names.windows(2) {
        files.0.insert(pair[0], format!("include {}", pair[1]));
    }
    files.0.insert("11", "local all all trust".to_owned());
    assert_eq!(problems_of(&files), "8: files are included more than 10 deep".replace("8:", "8:1:"));
    let wide = "include a\n".repeat(200);
    let flood = shelf([
        ("hba", &wide),
        ("a", &"include b\n".repeat(200)),
        ("b", &"local all all trust\n".repeat(10)),
    ]);
    assert_eq!(problems_of(&flood), "b:1: there are more than 100000 lines in all");
}

#[test]
fn maps() {
    let maps = "m joe app\nm \"bob\" \"all\"\nm /^(.*)@example\\.com$ \\1\nm /^(.)_(.*)$ x_\\1_\\1\nm root all\n\
                m carl /^app\nm /^dep user\nother joe root\n";
    let files = shelf([("hba", "local all all peer map=m"), ("ident", maps)]);
    let (rules, _) = read(&files, Encryption::None).unwrap();
    for (known_as, user, fits) in [
        ("joe", "app", true),
        ("joe", "joe", false),
        ("joe", "root", false),
        ("bob", "all", true),
        ("bob", "app", false),
        ("ann@example.com", "ann", true),
        ("ann@example.com", "bob", false),
        ("ann@example.org", "ann", false),
        ("a_b", "x_a_\\1", true),
        ("root", "anybody", true),
        ("carl", "apple", true),
        ("carl", "carl", false),
        ("deploy", "user", true),
        // What is captured is a name, never a keyword.
        ("all@example.com", "joe", false),
        ("all@example.com", "all", true),
    ] {
        assert_eq!(rules.is_known_as(Some("m"), known_as, user), fits, "{known_as} as {user}");
    }
    assert!(rules.is_known_as(None, "joe", "joe") && !rules.is_known_as(None, "joe", "app"));
    for (text, expected) in [
        ("m a", "ident:1: a map's line is MAP SYSTEM-USER DATABASE-USER; this one has 2 words"),
        ("m a b c", "this one has 4 words"),
        ("m a,b c", "ident:1: a map's line has no lists"),
        ("m /( c", "is no regular expression"),
        ("m a /(", "is no regular expression"),
        ("m /^a \\1", "has no part in parentheses"),
        ("m a +staff", "+staff: pgweir doesn't know"),
    ] {
        let told = problems_of(&shelf([("hba", "local all all trust"), ("ident", text)]));
        assert!(told.contains(expected), "{text}: {told}");
    }
}

#[test]
fn refusals_have_postgresqls_words() {
    let place = Place { file: "hba".into(), line: 3 };
    let words = |visitor: &Visitor<'_>, rejected: bool| {
        let origin = Origin::from(visitor);
        let reason = if rejected { Reason::Rejected(origin, place.clone()) } else { Reason::NoRule(origin) };
        EntryError::new(visitor.user, reason)
    };
    let tcp = visitor("::1", "joe", "app");
    let physical = Visitor { replication: Replication::Physical, ..visitor("ssl 10.0.0.1", "joe", "") };
    for (visitor, rejected, expected) in [
        (tcp, false, "no pg_hba.conf entry for host \"::1\", user \"joe\", database \"app\", no encryption"),
        (
            visitor("local", "joe", "app"),
            false,
            "no pg_hba.conf entry for host \"[local]\", user \"joe\", database \"app\", no encryption",
        ),
        (
            tcp,
            true,
            "pg_hba.conf rejects connection for host \"::1\", user \"joe\", database \"app\", no encryption",
        ),
        (
            physical,
            false,
            "no pg_hba.conf entry for replication connection from host \"10.0.0.1\", user \"joe\", SSL encryption",
        ),
        (
            physical,
            true,
            "pg_hba.conf rejects replication connection for host \"10.0.0.1\", user \"joe\", SSL encryption",
        ),
    ] {
        assert_eq!(words(&visitor, rejected).client_message(), expected);
    }
    assert!(words(&tcp, true).to_string().ends_with("no encryption (hba:3)"));
    let why = EntryError::new("joe", Reason::Peer("it is root".to_owned()));
    assert_eq!(why.client_message(), "Peer authentication failed for user \"joe\"");
    assert_eq!(why.to_string(), "Peer authentication failed for user \"joe\": it is root");
}

/// Words of which files could be made.
fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("host"),
        Just("local"),
        Just("hostssl"),
        Just("all"),
        Just("sameuser"),
        Just("replication"),
        Just("samenet"),
        Just("127.0.0.1/8"),
        Just("::1"),
        Just("255.0.0.0"),
        Just("md5"),
        Just("cert"),
        Just("peer"),
        Just("map=m"),
        Just("clientcert=verify-ca"),
        Just("@ident"),
        Just("include"),
        Just("hba"),
        Just("/^(a)"),
        Just("\\1"),
        Just("\""),
        Just(","),
        Just("\\\n"),
        Just("\n"),
        Just("#"),
        Just("m"),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_survived(hba in prop_oneof![words(), ".{0,60}"], ident in prop_oneof![words(), ".{0,60}"]) {
        let files = shelf([("hba", &hba), ("ident", &ident)]);
        if let Ok((rules, _)) = read(&files, Encryption::Verifying) {
            let _ = rules.find(&visitor("127.0.0.1", "a", "all"), &interfaces);
            rules.is_known_as(Some("m"), "ab", "a");
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        struct One(Vec<u8>);
        impl Files for One {
            fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
                Ok(self.0.clone())
            }
            fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
                Ok(Vec::new())
            }
        }
        let one = One(bytes);
        let _ = Rules::read(&one, Path::new("hba"), Some(Path::new("ident")), Encryption::None);
    }
}
