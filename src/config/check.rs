//! What settings must be to each other: each is allowed by itself, together they could still be nonsense.
//! A setting that was already refused is not held against another.
use std::net::{IpAddr, SocketAddr};

use super::database::Database;
use super::error::Report;
use super::general::General;
use super::pool_settings::PoolSettings;
use super::resolve::Sections;
use super::section::{Read, Section};
use super::tls::{ClientTls, ServerTls};
use super::units::{AuthType, Limit, ListenAddr, SslMode};
use super::{FALLBACK, RESERVED_DATABASES};

mod server_passwords;

const GENERAL_SIZES: [&str; 6] = [
    "default_pool_size",
    "min_pool_size",
    "reserve_pool_timeout",
    "max_db_connections",
    "max_user_connections",
    "max_server_connections",
];

/// Reports what doesn't fit together, and warns of what hardly can be meant.
pub(super) fn check(sections: &Sections, report: &mut Report<'_>) {
    listening(sections, report);
    reserves(sections, report);
    minimums(sections, report);
    caps(sections, report);
    logins(sections, report);
    lookups(sections, report);
    proofs(sections, report);
    encryption(sections, report);
    server_passwords::check(sections, report);
}

/// The port that clients and metrics would share.
pub(super) fn shared_port(general: &General, metrics: Option<SocketAddr>) -> Option<u16> {
    let metrics = metrics.filter(|metrics| metrics.port() == general.listen_port)?;
    let overlaps = |listen: &ListenAddr| match listen {
        ListenAddr::All => true,
        ListenAddr::Ip(ip) => *ip == metrics.ip() || ip.is_unspecified() || metrics.ip().is_unspecified(),
        ListenAddr::Name(_) => is_loopback_or_any(metrics.ip()),
    };
    general.listen_addr.iter().any(overlaps).then_some(metrics.port())
}

/// A name to listen on is nearly always localhost.
fn is_loopback_or_any(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

fn listening(sections: &Sections, report: &mut Report<'_>) {
    let (general, metrics) = (&sections.general, &sections.metrics);
    if !general.sound(&["listen_addr", "unix_socket_dir"]) {
        return;
    }
    if general.section.listen_addr.is_empty() && general.section.unix_socket_dir.is_none() {
        let at = general.given("listen_addr").unwrap_or(general.at);
        report.problem(
            at,
            "listen_addr and unix_socket_dir in [pgweir] are both empty: nobody could connect".into(),
        );
    }
    let sound = general.sound(&["listen_port"]) && metrics.sound(&["listen"]);
    if let Some(port) = shared_port(&general.section, metrics.section.listen).filter(|_| sound) {
        let at = metrics.given("listen").or(general.given("listen_port")).unwrap_or(general.at);
        report.problem(at, format!("listen in [metrics] and listen_port in [pgweir] are both port {port}"));
    }
}

/// A reserve that can never be used may be meant, as it is where PgBouncer is told so.
fn reserves(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    if general.section.reserve_pool_timeout.is_some() || !general.sound(&["reserve_pool_timeout"]) {
        return;
    }
    let mut doubt = |size: u32, at: Option<usize>, title: &str| {
        if let (1.., Some(at)) = (size, at) {
            let message = format!(
                "reserve_pool_size {size} in {title} is never used: reserve_pool_timeout 0 in [pgweir] turns the reserve off"
            );
            report.warning(Some(at), message);
        }
    };
    doubt(general.section.reserve_pool_size, general.given("reserve_pool_size"), &general.title);
    for read in &sections.databases {
        doubt(read.section.reserve_pool_size.unwrap_or(0), read.given("reserve_pool_size"), &read.title);
    }
    for read in &sections.users {
        doubt(read.section.reserve_pool_size.unwrap_or(0), read.given("reserve_pool_size"), &read.title);
    }
}

/// Where the first of these settings that the file has is.
fn first_given<S: Section>(read: &Read<S>, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| read.given(name))
}

/// No pool keeps more servers than it may have.
fn minimums(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    if !general.sound(&["default_pool_size", "min_pool_size"]) {
        return;
    }
    let all = PoolSettings::of(&general.section, &Database::default(), None);
    if all.keeps_too_many() {
        let at = first_given(general, &["min_pool_size", "default_pool_size"]).unwrap_or(general.at);
        let (min, size) = (all.min_pool_size, number(all.pool_size));
        report.problem(at, format!("min_pool_size {min} in [pgweir] is above default_pool_size {size}"));
    }
    let mut highest = (0, "");
    for read in &sections.databases {
        let own = PoolSettings::of(&general.section, &read.section, None);
        if !read.sound(&["pool_size", "min_pool_size"]) {
            continue;
        }
        if own.min_pool_size > highest.0 {
            let inherited = read.given("min_pool_size").is_none();
            highest = (own.min_pool_size, if inherited { &general.title } else { &read.title });
        }
        if let (true, Some(at)) = (own.keeps_too_many(), first_given(read, &["min_pool_size", "pool_size"])) {
            let (min, size) = (own.min_pool_size, number(own.pool_size));
            report
                .problem(at, format!("min_pool_size {min} of {} is above its pool_size {size}", read.title));
        }
    }
    for read in &sections.users {
        let size = read.section.pool_size.and_then(Limit::max);
        if let (Some(size), Some(at)) = (size.filter(|size| size.get() < highest.0), read.given("pool_size"))
        {
            let (min, whose) = highest;
            report.problem(
                at,
                format!("pool_size {size} of {} is below min_pool_size {min} of {whose}", read.title),
            );
        }
    }
}

fn number(limit: Limit) -> u32 {
    limit.max().map_or(0, std::num::NonZeroU32::get)
}

fn is_above(size: Limit, cap: Limit) -> bool {
    size.max().zip(cap.max()).is_some_and(|(size, cap)| size > cap)
}

/// Warns of pools that a cap keeps from ever filling.
fn caps(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    if !general.sound(&GENERAL_SIZES) {
        return;
    }
    let all = PoolSettings::of(&general.section, &Database::default(), None);
    for (name, cap) in [
        ("max_db_connections", all.max_db_connections),
        ("max_user_connections", all.max_user_connections),
        ("max_server_connections", all.max_server_connections),
    ] {
        if is_above(all.pool_size, cap) {
            let (size, cap) = (number(all.pool_size), number(cap));
            let message =
                format!("default_pool_size {size} in [pgweir] is above {name} {cap}: no pool can fill");
            report.warning(first_given(general, &[name, "default_pool_size"]), message);
        }
    }
    for read in &sections.databases {
        let own = PoolSettings::of(&general.section, &read.section, None);
        let at = first_given(read, &["pool_size", "max_db_connections"]);
        if is_above(own.pool_size, own.max_db_connections) && at.is_some() {
            let (size, cap) = (number(own.pool_size), number(own.max_db_connections));
            let title = &read.title;
            report.warning(at, format!("pool_size {size} of {title} is above its max_db_connections {cap}"));
        }
    }
    for read in &sections.users {
        let own = PoolSettings::of(&general.section, &Database::default(), Some(&read.section));
        let at = first_given(read, &["pool_size", "max_user_connections"]);
        if is_above(own.pool_size, own.max_user_connections) && at.is_some() {
            let (size, cap) = (number(own.pool_size), number(own.max_user_connections));
            let title = &read.title;
            report
                .warning(at, format!("pool_size {size} of {title} is above its max_user_connections {cap}"));
        }
    }
}

/// Warns when somebody, or everybody, can't log in.
fn logins(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    if !general.sound(&["auth_type", "auth_file"]) || !has_passwords(general.section.auth_type) {
        return;
    }
    let has_password = |read: &Read<_>| -> bool {
        let user: &super::User = &read.section;
        user.password.is_some()
    };
    let looked_up = general.section.auth_user.is_some()
        || sections.databases.iter().any(|read| matches!(read.section.auth_user, Some(Some(_))));
    if general.section.auth_file.is_none() && !looked_up && !sections.users.iter().any(has_password) {
        let message = "nobody can log in: there is no auth_file and no [users.NAME] with a password";
        report.warning(None, message.to_owned());
    }
    if general.section.auth_type != AuthType::ScramSha256 {
        return;
    }
    for read in &sections.users {
        if read.section.password.as_ref().is_some_and(|password| is_md5(password.expose())) {
            let title = &read.title;
            let message =
                format!("{title} can't log in: auth_type \"scram-sha-256\" can't use an md5 password");
            report.warning(read.given("password"), message);
        }
    }
}

/// Passwords are asked for where there is somebody to ask.
fn lookups(sections: &Sections, report: &mut Report<'_>) {
    let is_there = |name: &str| {
        !RESERVED_DATABASES.contains(&name)
            && sections.databases.iter().any(|read| [name, FALLBACK].contains(&&*read.section.name))
    };
    let mut refuse = |name: Option<&String>, at: Option<usize>, title: &str| {
        if let (Some(name), Some(at)) = (name.filter(|name| !is_there(name)), at) {
            report.problem(at, format!("auth_dbname {name:?} in {title} has no [databases.NAME] section"));
        }
    };
    let general = &sections.general;
    refuse(general.section.auth_dbname.as_ref(), general.given("auth_dbname"), &general.title);
    for read in &sections.databases {
        refuse(read.section.auth_dbname.iter().flatten().next(), read.given("auth_dbname"), &read.title);
    }
    asked_in_each(sections, report);
}

/// Warns where who owns a database has the word on who logs in to it: he can make what a query of one's own calls. The default
/// calls nothing that is his.
fn asked_in_each(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    if !general.sound(&["auth_user", "auth_query", "auth_dbname"]) {
        return;
    }
    let of_all = &general.section;
    let default = General::default().auth_query;
    let is_asked = |read: &&Read<Database>| {
        let own = &read.section;
        let by = own.auth_user.as_ref().unwrap_or(&of_all.auth_user);
        let place = own.auth_dbname.as_ref().unwrap_or(&of_all.auth_dbname);
        by.is_some() && place.is_none() && *own.auth_query.as_ref().unwrap_or(&of_all.auth_query) != default
    };
    let asked: Vec<_> = sections.databases.iter().filter(is_asked).collect();
    if asked.len() > 1 || asked.iter().any(|read| read.section.name == FALLBACK) {
        let message = "auth_query is asked in the database that the client wants, whose owner can answer what he likes: \
                       set auth_dbname, unless owners may decide who logs in there";
        report.warning(first_given(general, &["auth_query", "auth_user"]), message.to_owned());
    }
}

/// Whether all clients need a password that is known here.
fn has_passwords(auth_type: AuthType) -> bool {
    match auth_type {
        AuthType::Password | AuthType::Md5 | AuthType::ScramSha256 => true,
        AuthType::Trust
        | AuthType::Hba
        | AuthType::Ldap
        | AuthType::Pam
        | AuthType::OAuth
        | AuthType::Cert
        | AuthType::Peer
        | AuthType::Any => false,
    }
}

/// What an auth_type needs beside itself.
fn proofs(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    if !general.sound(&[
        "auth_type",
        "auth_hba_file",
        "auth_ident_file",
        "auth_ldap_options",
        "auth_oauth_options",
        "client_tls_sslmode",
    ]) {
        return;
    }
    let section = &general.section;
    let at = general.given("auth_type").unwrap_or(general.at);
    match section.auth_type {
        AuthType::Hba if section.auth_hba_file.is_none() => {
            report.problem(at, format!("auth_type \"hba\" in {} needs auth_hba_file", general.title));
        }
        AuthType::Ldap if section.auth_ldap_options.is_none() => {
            report.problem(at, format!("auth_type \"ldap\" in {} needs auth_ldap_options", general.title));
        }
        AuthType::OAuth if section.auth_oauth_options.is_none() => {
            report.problem(at, format!("auth_type \"oauth\" in {} needs auth_oauth_options", general.title));
        }
        AuthType::Cert if !section.client_tls_sslmode.verifies() => {
            let needs =
                "needs client_tls_sslmode \"verify-full\", so that certificates are asked for and verified";
            report.problem(at, format!("auth_type \"cert\" in {} {needs}", general.title));
        }
        AuthType::Peer if section.unix_socket_dir.is_none() => {
            let message =
                "nobody can log in: auth_type \"peer\" is for Unix sockets, and unix_socket_dir is empty";
            report.warning(Some(at), message.to_owned());
        }
        AuthType::Any => {
            for read in sections.databases.iter().filter(|read| read.section.user.is_none()) {
                let message = format!("{} is closed: auth_type \"any\" needs a user there", read.title);
                report.warning(Some(read.at), message);
            }
        }
        _ => {}
    }
    for (name, file) in
        [("auth_hba_file", &section.auth_hba_file), ("auth_ident_file", &section.auth_ident_file)]
    {
        if file.is_some() && section.auth_type != AuthType::Hba {
            let message = format!("{name} in {} is not used: auth_type is not \"hba\"", general.title);
            report.warning(general.given(name), message);
        }
    }
}

const SERVER_TLS: [&str; 6] = [
    "server_tls_sslmode",
    "server_tls_sslnegotiation",
    "server_tls_ca_file",
    "server_tls_cert_file",
    "server_tls_key_file",
    "server_tls_protocols",
];

const CLIENT_TLS: [&str; 5] = [
    "client_tls_sslmode",
    "client_tls_cert_file",
    "client_tls_key_file",
    "client_tls_ca_file",
    "client_tls_protocols",
];

/// Files and modes of TLS that don't fit together.
fn encryption(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    let clients = ClientTls::of(&general.section);
    if let (Some(at), Some(problem)) = (general.given("client_tls_sslmode"), clients.problem())
        && general.sound(&CLIENT_TLS)
    {
        let mode = clients.sslmode.as_str();
        report.problem(at, format!("client_tls_sslmode {mode:?} in {} {problem}", general.title));
    }
    servers_encryption(sections, report);
}

fn servers_encryption(sections: &Sections, report: &mut Report<'_>) {
    let general = &sections.general;
    if !general.sound(&SERVER_TLS) {
        return;
    }
    let all = ServerTls::of(&general.section, &Database::default());
    if let (Some(at), Some(problem)) = (first_given(general, &SERVER_TLS), all.problem()) {
        report.problem(at, format!("{} {problem}", general.title));
    }
    let verified = |read: &Read<Database>| {
        let own = ServerTls::of(&general.section, &read.section);
        own.sslmode.verifies() && read.given("server_tls_ca_file").is_none()
    };
    if general.section.server_tls_ca_file.is_some()
        && !all.sslmode.verifies()
        && !sections.databases.iter().any(verified)
    {
        report.warning(general.given("server_tls_ca_file"), unused_ca(&general.title, all.sslmode));
    }
    for read in sections.databases.iter().filter(|read| read.sound(&SERVER_TLS)) {
        let own = ServerTls::of(&general.section, &read.section);
        if let (Some(at), Some(problem)) = (first_given(read, &SERVER_TLS), own.problem()) {
            report.problem(at, format!("{} {problem}", read.title));
        } else if let Some(at) = read.given("server_tls_ca_file").filter(|_| !own.sslmode.verifies()) {
            report.warning(Some(at), unused_ca(&read.title, own.sslmode));
        }
    }
}

fn unused_ca(title: &str, mode: SslMode) -> String {
    let mode = mode.as_str();
    format!("server_tls_ca_file in {title} is not used: server_tls_sslmode {mode:?} verifies no certificate")
}

/// What PostgreSQL itself takes for an MD5 secret; anything else is a password in clear.
fn is_md5(secret: &str) -> bool {
    secret
        .strip_prefix("md5")
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}
