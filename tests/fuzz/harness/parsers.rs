//! What reads bytes of strangers before anything is known of them: one function a target, none of which may panic, hang or believe
//! what isn't so.

mod relay;
mod secrets;

use std::sync::Arc;

use pgweir::params::inspection;
use pgweir::prepared::client_statements::ClientStatements;
use pgweir::server::conversation::Conversation;
use pgweir::server::exchange::{Action, Reply};
use pgweir::wire::backend::{self as said, Authentication, Notification};
use pgweir::wire::ldap::answer::{self, LONGEST, Said};
use pgweir::wire::outgoing::Outgoing;
use pgweir::wire::proxy::Parsed;
use pgweir::wire::startup::Startup;
use pgweir::wire::{frame, frontend, proxy, scan, startup};
use pgweir::{admin, client, config, credentials};

/// Between the parts of an input that has several.
const DIVIDER: u8 = 0xff;

/// Takes any bytes.
type Target = (&'static str, fn(&[u8]));

/// All targets by name.
pub(crate) const TARGETS: [Target; 15] = [
    ("startup", startup),
    ("proxy", proxy),
    ("frontend", frontend),
    ("backend", backend),
    ("bodies", bodies),
    ("exchange", relay::exchange),
    ("login", secrets::login),
    ("server_login", secrets::server_login),
    ("scram_client", secrets::scram_client),
    ("scram_server", secrets::scram_server),
    ("toml", toml),
    ("users", users),
    ("console", console),
    ("auth_query", auth_query),
    ("directory", directory),
];

/// One of them.
pub(crate) fn run(target: &str, bytes: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    run(bytes);
}

/// What is read of a packet is all of it: written again it is the same.
fn startup(bytes: &[u8]) {
    let Ok(Some(size)) = startup::size(bytes) else { return };
    assert!((8..=startup::MAX_STARTUP).contains(&size));
    let Some(packet) = bytes.get(..size) else { return };
    let (mut again, strings) = (packet[..8].to_vec(), |pairs: &[(&str, &str)]| {
        pairs.iter().flat_map(|(name, value)| [*name, "\0", *value, "\0"]).collect::<String>() + "\0"
    });
    match Startup::parse(packet) {
        Ok(Startup::Start { minor, parameters }) => {
            again.extend_from_slice(strings(&parameters).as_bytes());
            if let Ok(wish) = client::startup::wish(minor, &parameters) {
                assert!(!wish.user.is_empty() && !wish.database.is_empty() && wish.minor <= startup::MINOR);
            }
            parameters.iter().for_each(|(_, value)| options(value));
        }
        Ok(Startup::Cancel { pid, secret }) => {
            again.extend_from_slice(&pid.to_be_bytes());
            again.extend_from_slice(secret);
        }
        Ok(Startup::Ssl | Startup::Gss) => assert_eq!(&packet[4..6], &[0x04, 0xd2]),
        Err(_) => return,
    }
    assert!(packet.starts_with(&again));
}

/// Settings read of a text are the same when they are written as one, whatever is in them.
fn options(text: &str) {
    let Ok(settings) = startup::options(text) else { return };
    assert!(settings.len() <= text.len());
    let escaped = |text: &str| text.chars().flat_map(|c| ['\\', c]).collect::<String>();
    let written = settings.iter().map(|(name, value)| format!(" -c {}={}", escaped(name), escaped(value)));
    assert_eq!(startup::options(&written.collect::<String>()).as_ref(), Ok(&settings));
}

/// Read as it is asked for or byte by byte, it is the same, never more than a header may have.
fn proxy(bytes: &[u8]) {
    let (mut end, mut end_of_all) = (0, None);
    for at in 0..=bytes.len().min(5000) {
        let parsed = proxy::parse(&bytes[..at]);
        if at == end {
            match parsed {
                Ok(Parsed::Needs(more)) => {
                    assert!(more > 0 && at + more <= 16 + 4096);
                    end = at + more;
                }
                over => {
                    end_of_all = Some(over);
                    break;
                }
            }
        } else if parsed.is_err() {
            return;
        }
        assert!(matches!(parsed, Ok(Parsed::Needs(_))), "over too early, at {at}");
    }
    assert!(end_of_all.is_some() || bytes.len() < end);
}

/// Messages as they are framed; their parts written again are the same.
fn frontend(bytes: &[u8]) {
    let mut at = 0;
    while let Ok(Some(header)) = frame::header(&bytes[at..]) {
        assert!(header.size >= frame::HEADER && header.size <= frame::LONGEST as usize + 1);
        if frame::check_frontend(header).is_ok() {
            assert!(header.size <= frame::LARGE as usize + 1);
        }
        let Some(message) = bytes.get(at..at + header.size) else { break };
        let (body, mut again) = (&message[frame::HEADER..], Vec::new());
        if let Ok(parse) = frontend::Parse::read(body) {
            frontend::Parse::encode(&mut again, parse.name, parse.definition);
            assert_eq!(&again[frame::HEADER..], body);
        }
        if let Some(names) = frontend::BindNames::read(body) {
            again.clear();
            frontend::bind_names(&mut again, names.portal, names.statement, body.len() - names.size);
            assert_eq!(&again[frame::HEADER..], &body[..names.size]);
            assert_eq!(again[1..frame::HEADER], message[1..frame::HEADER]);
        }
        if let Ok(frontend::Target::Statement(name)) = frontend::Target::read(body) {
            again.clear();
            frontend::describe_statement(&mut again, name);
            assert_eq!(&again[frame::HEADER..], body);
        }
        at += header.size;
    }
    for scanned in [scan::frontend(bytes, 0), scan::backend(bytes, 0)] {
        match scanned {
            Ok((end, scan::Stop::Through(_))) => assert_eq!(end, bytes.len()),
            Ok((end, scan::Stop::Split)) => assert!(bytes.len() - end < frame::HEADER),
            Ok((end, scan::Stop::Decision(header))) => {
                assert_eq!(frame::header(&bytes[end..]), Ok(Some(header)));
            }
            Err(_) => {}
        }
    }
}

/// What PostgreSQL says in its messages and in answers to our own questions.
fn bodies(bytes: &[u8]) {
    let code = said::sqlstate(bytes);
    assert!(code.iter().all(u8::is_ascii_alphanumeric));
    assert!(said::fields(bytes).map(|(_, text)| text.len() + 2).sum::<usize>() <= bytes.len());
    let _ = said::is_fatal(bytes);
    let mut again = Vec::new();
    if let Ok((name, value)) = said::parameter(bytes) {
        said::parameter_status(&mut again, name, value);
        assert_eq!(&again[frame::HEADER..], bytes);
    }
    if let Ok(notification) = Notification::parse(bytes) {
        again.clear();
        notification.encode(&mut again);
        assert_eq!(&again[frame::HEADER..], bytes);
    }
    if let Ok(request) = Authentication::parse(bytes) {
        again.clear();
        request.encode(&mut again);
        assert!(bytes.starts_with(&again[frame::HEADER..]));
    }
    let _ = (inspection::read(bytes), inspection::read_names(bytes));
}

/// The first bytes up to a divider say what was asked; what comes is cut in two at every place.
fn backend(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == DIVIDER).unwrap_or(0).min(24);
    let (asked, said) = bytes.split_at(at);
    let said = said.strip_prefix(&[DIVIDER]).unwrap_or(said);
    for cut in 0..=said.len().min(64) {
        let mut talk = Conversation::new(std::num::NonZeroUsize::MIN, Arc::default());
        for ask in asked {
            let reply =
                [Reply::Query, Reply::Parse, Reply::Bind, Reply::Describe, Reply::Execute, Reply::Sync];
            let action = [Action::Forward, Action::Swallow, Action::Prelude];
            let (reply, action) = (reply[usize::from(ask % 6)], action[usize::from(ask / 6 % 3)]);
            talk.exchange.expect(reply, action);
        }
        let mut left = Vec::new();
        for chunk in [&said[..cut], &said[cut..]] {
            left.extend_from_slice(chunk);
            let (mut client, mut scratch) = (ClientStatements::default(), Vec::new());
            let mut out = Outgoing::new(&left, &mut scratch);
            let Ok(used) = talk.receive(&left, &mut client, &mut out) else { return };
            assert!(used <= left.len());
            left.drain(..used);
        }
    }
}

fn toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(errors) = config::parse(text, "fuzz.toml") {
        assert!(!errors.to_string().is_empty());
    }
}

/// Users that are read are the same from a file written of them.
fn users(bytes: &[u8]) {
    let users = match credentials::users_file::parse("users", bytes) {
        Ok(users) => users,
        Err(error) => {
            assert!(!error.problems.is_empty() && error.problems.iter().all(|(line, _)| *line > 0));
            return;
        }
    };
    let line = |user: &String| format!("\"{}\" \"\"\n", user.replace('"', "\"\""));
    let written = users.keys().map(line).collect::<String>();
    let again = credentials::users_file::parse("users", written.as_bytes()).expect("as it should be");
    assert!(
        users.len() == again.len() && users.keys().all(|user| !user.is_empty() && again.contains_key(user))
    );
}

fn console(bytes: &[u8]) {
    admin::rehearse(bytes);
}

/// Only a row of the user asked for gives a secret.
fn auth_query(bytes: &[u8]) {
    if let Ok(Some(_)) = credentials::auth_query::read(bytes, "app") {
        assert!(bytes.windows(7).any(|part| part == b"\0\0\0\x03app"), "another user's secret");
    }
}

/// What an LDAP server answers, message by message: no size is believed beyond the bound, nothing told that isn't there.
fn directory(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(size)) = answer::size(rest) {
        assert!((2..=LONGEST).contains(&size));
        let Some((message, behind)) = rest.split_at_checked(size) else { return };
        match answer::parse(message).map(|answer| answer.said) {
            Ok(Said::Entry(entry)) => {
                assert!(entry.name.len() + entry.values().map(|value| value.len() + 2).sum::<usize>() < size);
            }
            Ok(Said::Bound(outcome) | Said::Done(outcome) | Said::Extended(outcome)) => {
                assert!(outcome.text.chars().count() <= 200 && outcome.to_string().lines().count() == 1);
            }
            Ok(Said::Reference | Said::Intermediate) | Err(_) => {}
        }
        rest = behind;
    }
}
