//! Passwords towards PostgreSQL that are asked for: from one place each, and not to be heard on the way.
use super::super::error::Report;
use super::super::resolve::Sections;
use super::super::section::{Read, Section};
use super::super::tls::ServerTls;
use super::super::units::{Host, Hosts};

const COMMAND: &str = "server_password_command";
const FILE: &str = "server_password_file";

pub(super) fn check(sections: &Sections, report: &mut Report<'_>) {
    for read in &sections.databases {
        alone(read, &[COMMAND, FILE, "password"], report);
        let own = ServerTls::of(&sections.general.section, &read.section);
        let at = read.given(COMMAND).or(read.given(FILE));
        if at.is_some() && is_over_tcp(&read.section.host) && !own.sslmode.is_required() {
            let message = format!(
                "the password of {} may be sent in clear: server_tls_sslmode is {:?}",
                read.title,
                own.sslmode.as_str()
            );
            report.warning(at, message);
        }
    }
    for read in &sections.users {
        alone(read, &[COMMAND, FILE], report);
    }
}

fn is_over_tcp(hosts: &Hosts) -> bool {
    hosts.all().iter().any(|host| matches!(host, Host::Tcp(_)))
}

/// Of these settings, the first that a section has counts.
fn alone<S: Section>(read: &Read<S>, names: &[&str], report: &mut Report<'_>) {
    let mut given = names.iter().filter_map(|name| Some((*name, read.given(name)?)));
    let first = given.next();
    for (other, at) in given {
        let used = first.map_or("", |(used, _)| used);
        report.warning(Some(at), format!("{other} in {} is not used: there is {used}", read.title));
    }
}
