//! What reads bytes of strangers before anything is known of them: one function a target, none of which may panic, hang or believe
//! what isn't so.

use std::sync::Arc;

use pgweir::auth::login::{Circumstances, Login, Method, Mock, Settings, Step};
use pgweir::auth::scram::client::{ClientExchange, ClientSecret};
use pgweir::auth::scram::messages::{ChannelBinding, Nonce, ServerFinal, ServerFirst};
use pgweir::auth::scram::secret::{MockKey, PassThrough, ScramSecret};
use pgweir::auth::scram::server::ServerExchange;
use pgweir::auth::secret::{Secret, StoredSecret};
use pgweir::prepared::client_statements::ClientStatements;
use pgweir::server::conversation::Conversation;
use pgweir::server::exchange::{Action, Reply};
use pgweir::wire::outgoing::Outgoing;
use pgweir::wire::proxy::Parsed;
use pgweir::wire::{frame, frontend, proxy, scan, startup};
use pgweir::{admin, client, config, credentials};

/// Between the parts of an input that has several.
const DIVIDER: u8 = 0xff;

/// Takes any bytes.
type Target = (&'static str, fn(&[u8]));

/// All targets by name.
pub(crate) const TARGETS: [Target; 11] = [
    ("startup", startup),
    ("proxy", proxy),
    ("frontend", frontend),
    ("backend", backend),
    ("login", login),
    ("scram_client", scram_client),
    ("scram_server", scram_server),
    ("toml", toml),
    ("users", users),
    ("console", console),
    ("auth_query", auth_query),
];

/// One of them.
pub(crate) fn run(target: &str, bytes: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    run(bytes);
}

fn startup(bytes: &[u8]) {
    let Ok(Some(size)) = startup::size(bytes) else { return };
    let Some(packet) = bytes.get(..size) else { return };
    if let Ok(startup::Startup::Start { minor, parameters }) = startup::Startup::parse(packet) {
        let wish = client::startup::wish(minor, &parameters);
        assert!(wish.is_err() || !wish.expect("a wish").user.is_empty());
    }
}

fn proxy(bytes: &[u8]) {
    let mut end = 0;
    while let Ok(Parsed::Needs(more)) = proxy::parse(&bytes[..end]) {
        assert!(more > 0);
        if end == bytes.len() {
            return;
        }
        end = bytes.len().min(end + more);
    }
}

fn frontend(bytes: &[u8]) {
    let mut at = 0;
    while let Ok(Some(header)) = frame::header(&bytes[at..]) {
        let Some(message) = bytes.get(at..at + header.size) else { break };
        let body = &message[frame::HEADER..];
        let _ = (frame::check_frontend(header), frontend::Parse::read(body), frontend::Target::read(body));
        let _ = frontend::BindNames::read(body);
        at += header.size;
    }
    if let Ok((end, _)) = scan::frontend(bytes, 0) {
        assert!(end <= bytes.len());
    }
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

fn secret(text: &str) -> Arc<StoredSecret> {
    Arc::new(StoredSecret::new(Secret::parse(text).expect("a secret")))
}

/// Nobody who doesn't know the password gets in, whatever the order of what is sent.
fn login(bytes: &[u8]) {
    let settings = Settings { scram_iterations: 1, mock_key: MockKey::new([7; 32]), unknown: Mock::Scram };
    for method in [Method::Password, Method::Md5, Method::ScramSha256] {
        for stored in [None, Some(secret("a password nobody guesses: 9d1c5a7e"))] {
            let own = Circumstances { nonce: [1; 18], md5_salt: [2; 4], end_point: None };
            let mut step = Login::start(method, "app", stored, &settings, own);
            for part in bytes.split(|b| *b == DIVIDER) {
                step = match step {
                    Ok(Step::Continue(login, _)) => login.on_response(part),
                    Ok(Step::Done { .. }) => panic!("let in by {:?}", bytes.escape_ascii()),
                    Err(_) => break,
                };
            }
            assert!(!matches!(step, Ok(Step::Done { .. })), "let in by {:?}", bytes.escape_ascii());
        }
    }
}

fn scram_client(bytes: &[u8]) {
    let _ = (ServerFirst::parse(bytes).is_ok(), ServerFinal::parse(bytes).is_ok());
    let stored = Arc::new(ScramSecret::from_password(b"pencil", 1, b"salt"));
    let proof = PassThrough::of_password(b"pencil", stored).expect("its password");
    let nonce = Nonce::from_random([3; 18]);
    let (exchange, _) =
        ClientExchange::new(ClientSecret::PassThrough(proof), nonce, ChannelBinding::Unsupported);
    let mut parts = bytes.splitn(2, |b| *b == DIVIDER);
    let Ok((waits, _)) = exchange.server_first(parts.next().unwrap_or_default()) else { return };
    assert!(waits.server_final(parts.next().unwrap_or_default()).is_err(), "it can't know the password");
}

fn scram_server(bytes: &[u8]) {
    let stored = Arc::new(ScramSecret::from_password(b"pencil", 1, b"salt"));
    let exchange = ServerExchange::new(stored, Nonce::from_random([4; 18]));
    let mut parts = bytes.splitn(2, |b| *b == DIVIDER);
    let Ok((waits, _)) = exchange.client_first(parts.next().unwrap_or_default()) else { return };
    assert!(waits.client_final(parts.next().unwrap_or_default()).is_err(), "it can't know the password");
}

fn toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(errors) = config::parse(text, "fuzz.toml") {
        assert!(!errors.to_string().is_empty());
    }
}

fn users(bytes: &[u8]) {
    if let Err(error) = credentials::users_file::parse("users", bytes) {
        assert!(!error.problems.is_empty());
    }
}

fn console(bytes: &[u8]) {
    admin::rehearse(bytes);
}

fn auth_query(bytes: &[u8]) {
    let _ = credentials::auth_query::read(bytes, "app");
}
