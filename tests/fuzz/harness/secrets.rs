//! Who proves what to whom: logins of clients, logins to servers, and SCRAM from either side. Nobody here knows the password.

use std::sync::Arc;

use pgweir::auth::login::{Circumstances, Login, Method, Mock, Settings, Step};
use pgweir::auth::scram::client::{ClientExchange, ClientSecret};
use pgweir::auth::scram::messages::{ChannelBinding, EndPoint, Nonce, ServerFinal, ServerFirst};
use pgweir::auth::scram::secret::{MockKey, PassThrough, ScramSecret};
use pgweir::auth::scram::server::ServerExchange;
use pgweir::auth::scram::{MAX_ITERATIONS, MAX_NONCE, MAX_SALT};
use pgweir::auth::secret::{Secret, StoredSecret};
use pgweir::server::login as server;
use pgweir::wire::backend::Authentication;
use pgweir::wire::frame;

use super::DIVIDER;

fn secret(text: &str) -> Arc<StoredSecret> {
    Arc::new(StoredSecret::new(Secret::parse(text).expect("a secret")))
}

/// Nobody who doesn't know the password gets in, whatever the order of what is sent; and the identity stays.
pub(super) fn login(bytes: &[u8]) {
    let settings = Settings { scram_iterations: 1, mock_key: MockKey::new([7; 32]), unknown: Mock::Scram };
    for method in [Method::Password, Method::Md5, Method::ScramSha256] {
        for stored in [None, Some(secret("a password nobody guesses: 9d1c5a7e"))] {
            for end_point in [None, EndPoint::new(&[5; 32])] {
                let own = Circumstances { nonce: [1; 18], md5_salt: [2; 4], end_point };
                let mut step = Login::start(method, "app", stored.clone(), &settings, own);
                for part in bytes.split(|b| *b == DIVIDER) {
                    step = match step {
                        Ok(Step::Continue(login, _)) => {
                            assert_eq!(login.user(), "app");
                            login.on_response(part)
                        }
                        _ => break,
                    };
                }
                assert!(!matches!(step, Ok(Step::Done { .. })), "let in by {:?}", bytes.escape_ascii());
            }
        }
    }
}

/// A server that says anything to one that logs in: no session before AuthenticationOk, none after SCRAM has begun, and no more
/// kept than `server::login` says.
pub(super) fn server_login(bytes: &[u8]) {
    let Some((&kind, mut rest)) = bytes.split_first() else { return };
    let proof = || {
        let stored = Arc::new(ScramSecret::from_password(b"pencil", 1, b"salt"));
        server::ServerSecret::PassThrough(PassThrough::of_password(b"pencil", stored).expect("its password"))
    };
    let stored = |text: &str| server::ServerSecret::Stored(Arc::new(Secret::parse(text).expect("a secret")));
    let secret = match kind % 4 {
        0 => server::ServerSecret::None,
        1 => stored("pencil"),
        2 => stored("md5a3556571e93b0d20722ba62be61e8c2d"),
        _ => proof(),
    };
    let encryption = match kind / 4 % 3 {
        0 => server::Encryption::None,
        1 => server::Encryption::Unbindable,
        _ => server::Encryption::EndPoint(EndPoint::new(&[5; 32]).expect("short")),
    };
    let (mut login, _) = server::Login::start("app", [("user", "app")], secret, encryption);
    let (mut is_ok, mut is_sasl) = (false, false);
    while let Ok(Some(header)) = frame::header(rest) {
        let Some((message, more)) = rest.split_at_checked(header.size) else { return };
        let body = &message[frame::HEADER..];
        let heard = login.hear(header.tag, body);
        if header.tag == b'R' {
            is_ok |= Authentication::parse(body) == Ok(Authentication::Ok);
            is_sasl |= matches!(Authentication::parse(body), Ok(Authentication::Sasl(_)));
        }
        match heard {
            Ok(server::Next::Done) => {
                assert!(is_ok && !is_sasl, "a session by {:?}", bytes.escape_ascii());
                return;
            }
            Ok(_) => rest = more,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
        let kept: usize = login.parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
        // Bytes that aren't UTF-8 become three.
        assert!(login.parameters.len() <= server::MOST_PARAMETERS && kept <= 3 * server::LONGEST_PARAMETERS);
    }
}

pub(super) fn scram_client(bytes: &[u8]) {
    if let Ok(first) = ServerFirst::parse(bytes) {
        assert!((1..=MAX_ITERATIONS).contains(&first.iterations));
        assert!((1..=MAX_SALT).contains(&first.salt.len()) && first.nonce.len() <= MAX_NONCE);
        let again = ServerFirst::encode(first.nonce, &first.salt, first.iterations);
        assert_eq!(ServerFirst::parse(&again).as_ref(), Ok(&first));
    }
    if let Ok(ServerFinal::Error(reason)) = ServerFinal::parse(bytes) {
        assert!(reason.len() <= 64 && reason.bytes().all(|b| (0x20..0x7f).contains(&b)));
    }
    let stored = Arc::new(ScramSecret::from_password(b"pencil", 1, b"salt"));
    let proof = PassThrough::of_password(b"pencil", stored).expect("its password");
    let nonce = Nonce::from_random([3; 18]);
    let (exchange, _) =
        ClientExchange::new(ClientSecret::PassThrough(proof), nonce, ChannelBinding::Unsupported);
    let mut parts = bytes.splitn(2, |b| *b == DIVIDER);
    let Ok((waits, answer)) = exchange.server_first(parts.next().unwrap_or_default()) else { return };
    assert!(answer.starts_with(b"c=biws,r=AwMD"));
    assert!(waits.server_final(parts.next().unwrap_or_default()).is_err(), "it can't know the password");
}

pub(super) fn scram_server(bytes: &[u8]) {
    let stored = Arc::new(ScramSecret::from_password(b"pencil", 1, b"salt"));
    for exchange in [
        ServerExchange::new(Arc::clone(&stored), Nonce::from_random([4; 18])),
        ServerExchange::mock(stored, Nonce::from_random([4; 18])),
    ] {
        let mut parts = bytes.splitn(2, |b| *b == DIVIDER);
        let Ok((waits, first)) = exchange.client_first(parts.next().unwrap_or_default()) else { return };
        let asked = ServerFirst::parse(&first).expect("what is said is what is understood");
        assert_eq!((asked.iterations, &*asked.salt), (1, &b"salt"[..]));
        assert!(waits.client_final(parts.next().unwrap_or_default()).is_err(), "it can't know the password");
    }
}
