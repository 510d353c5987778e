//! Passwords towards PostgreSQL that are asked for: from one place each, not to be heard on the way, and of nobody who hasn't
//! logged in.
use std::path::Path;

use super::super::FALLBACK;
use super::super::database::Database;
use super::super::error::Report;
use super::super::resolve::Sections;
use super::super::section::{Read, Section};
use super::super::server_password::has_any;
use super::super::tls::ServerTls;
use super::super::units::{Host, Hosts};

const COMMAND: &str = "server_password_command";
const FILE: &str = "server_password_file";
/// What takes the argument behind -c for a program of its own.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

pub(super) fn check(sections: &Sections, report: &mut Report<'_>) {
    for read in &sections.databases {
        alone(read, &[COMMAND, FILE, "password"], report);
        scripts(read, read.section.server_password_command.as_ref(), report);
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
        scripts(read, read.section.server_password_command.as_ref(), report);
    }
    sections.databases.iter().for_each(|read| strangers(sections, read, report));
}

/// Warns of a name that would be part of a program.
fn scripts<S: Section>(read: &Read<S>, command: Option<&Vec<String>>, report: &mut Report<'_>) {
    if command.and_then(|command| script(command)).is_some_and(|script| has_any(script, "du")) {
        let message = format!(
            "{COMMAND} in {} has %d or %u in what a shell runs, and clients choose names: put it behind that, and write \"$1\"",
            read.title
        );
        report.warning(read.given(COMMAND), message);
    }
}

/// What a shell is to run by -c.
fn script(command: &[String]) -> Option<&str> {
    let is_shell = |program: &String| {
        let name = Path::new(program).file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| SHELLS.contains(&name))
    };
    let shell = command.iter().position(is_shell)?;
    let is_option = |argument: &&String| argument.starts_with(['-', '+']);
    let is_c = |argument: &String| {
        argument.starts_with('-') && !argument.starts_with("--") && argument.contains('c')
    };
    let (options, mut rest) = {
        let behind = &command[shell + 1..];
        let end = behind.iter().position(|argument| !is_option(&argument))?;
        (&behind[..end], behind[end..].iter())
    };
    if options.iter().any(is_c) { rest.next().map(String::as_str) } else { None }
}

/// Warns where any name that a client asks for has a command run, as whoever looks up users there, before anybody has logged in.
fn strangers(sections: &Sections, read: &Read<Database>, report: &mut Report<'_>) {
    let (own, general) = (&read.section, &sections.general.section);
    let asks_elsewhere = own.auth_dbname.as_ref().unwrap_or(&general.auth_dbname).is_some();
    let auth_user = own.auth_user.as_ref().unwrap_or(&general.auth_user);
    let Some(auth_user) = auth_user.as_ref().filter(|_| !asks_elsewhere) else { return };
    if own.name != FALLBACK || own.dbname.is_some() {
        return;
    }
    let user = || sections.users.iter().find(|user| user.section.name == *auth_user);
    let is_its = own.user.as_ref().is_none_or(|forced| forced == auth_user);
    let (command, at, title) = match &own.server_password_command {
        Some(command) if is_its => (command, read.given(COMMAND), &read.title),
        _ if is_its && own.password.is_some() => return,
        _ => match user().and_then(|user| Some((user.section.server_password_command.as_ref()?, user))) {
            Some((command, user)) => (command, user.given(COMMAND), &user.title),
            None => return,
        },
    };
    if command.iter().any(|argument| has_any(argument, "d")) {
        let message = format!(
            "{COMMAND} in {title} is run with any name that a client asks for, before anybody has logged in: set auth_dbname"
        );
        report.warning(at, message);
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
