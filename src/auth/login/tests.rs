//! Whole logins: every method with every form of secret, unknown users, hostile clients.

use postgres_protocol::authentication::{md5_hash, sasl};
use proptest::prelude::*;

use super::*;
use crate::auth::scram::client::{ClientExchange, ClientSecret};
use crate::auth::scram::messages::ChannelBinding;
use crate::auth::scram::secret::DERIVATIONS;
use crate::auth::scram::server::ServerExchange as OtherServer;

const OWN: Circumstances = Circumstances { nonce: [5; 18], md5_salt: [1, 2, 3, 4], end_point: None };
const METHODS: [Method; 4] = [Method::Trust, Method::Password, Method::Md5, Method::ScramSha256];

fn settings(unknown: Mock) -> Settings {
    Settings { scram_iterations: 3, mock_key: MockKey::new([9; 32]), unknown }
}

fn stored(form: Form) -> Arc<StoredSecret> {
    let text = match form {
        Form::Empty => String::new(),
        Form::Plain => "pencil".to_owned(),
        Form::Md5 => format!("md5{}", md5::stored_digits("joe", b"pencil").escape_ascii()),
        Form::Scram => ScramSecret::from_password(b"pencil", 7, b"stored salt").stored_text().to_string(),
    };
    Arc::new(StoredSecret::new(Secret::parse(&text).unwrap()))
}

fn start(method: Method, secret: Option<Arc<StoredSecret>>, unknown: Mock) -> Result<Step, LoginError> {
    Login::start(method, "joe", secret, &settings(unknown), OWN)
}

/// A login that has been asked something.
fn asked(method: Method, form: Option<Form>, unknown: Mock) -> (Login, Request) {
    match start(method, form.map(stored), unknown) {
        Ok(Step::Continue(login, request)) => (login, request),
        other => panic!("{method:?} {form:?}: {other:?}"),
    }
}

fn initial(data: &[u8]) -> Vec<u8> {
    let length = i32::try_from(data.len()).unwrap();
    [b"SCRAM-SHA-256\0", &length.to_be_bytes()[..], data].concat()
}

/// An honest client with this password, to the end. Also the requests it saw.
fn run(first: Result<Step, LoginError>, password: &str) -> (Result<Proof, LoginError>, Vec<Request>) {
    let mut scram = sasl::ScramSha256::new(password.as_bytes(), sasl::ChannelBinding::unsupported());
    let mut step = first;
    let mut seen = Vec::new();
    loop {
        let (login, request) = match step {
            Err(error) => return (Err(error), seen),
            Ok(Step::Done { last, proof }) => {
                if let Some(Request::SaslFinal(data)) = &last {
                    scram.finish(data).expect("the server proves itself too");
                }
                seen.extend(last);
                return (Ok(proof), seen);
            }
            Ok(Step::Continue(login, request)) => (login, request),
        };
        let body = match &request {
            Request::CleartextPassword => format!("{password}\0").into_bytes(),
            Request::Md5Password(salt) => {
                format!("{}\0", md5_hash(b"joe", password.as_bytes(), *salt)).into_bytes()
            }
            Request::Sasl(mechanisms) => {
                assert_eq!(*mechanisms, ["SCRAM-SHA-256"]);
                initial(scram.message())
            }
            Request::SaslContinue(data) => {
                scram.update(data).expect("an acceptable server-first-message");
                scram.message().to_vec()
            }
            Request::SaslFinal(_) => panic!("not a question"),
        };
        seen.push(request);
        step = login.on_response(&body);
    }
}

#[test]
fn every_method_with_every_secret() {
    use Detail::{EmptySecret, Md5UnderScram, UnknownUser};
    let table: &[(Method, Option<Form>, Result<&str, Detail>)] = &[
        (Method::Trust, None, Err(UnknownUser)),
        (Method::Trust, Some(Form::Empty), Ok("Nothing")),
        (Method::Trust, Some(Form::Plain), Ok("Nothing")),
        (Method::Trust, Some(Form::Md5), Ok("Nothing")),
        (Method::Trust, Some(Form::Scram), Ok("Nothing")),
        (Method::Password, None, Err(UnknownUser)),
        (Method::Password, Some(Form::Empty), Err(EmptySecret)),
        (Method::Password, Some(Form::Plain), Ok("Password(..)")),
        (Method::Password, Some(Form::Md5), Ok("Password(..)")),
        (Method::Password, Some(Form::Scram), Ok("Password(..)")),
        (Method::Md5, None, Err(UnknownUser)),
        (Method::Md5, Some(Form::Empty), Err(EmptySecret)),
        (Method::Md5, Some(Form::Plain), Ok("Nothing")),
        (Method::Md5, Some(Form::Md5), Ok("Nothing")),
        (Method::Md5, Some(Form::Scram), Ok("PassThrough(..)")),
        (Method::ScramSha256, None, Err(UnknownUser)),
        (Method::ScramSha256, Some(Form::Empty), Err(EmptySecret)),
        (Method::ScramSha256, Some(Form::Plain), Ok("Nothing")),
        (Method::ScramSha256, Some(Form::Md5), Err(Md5UnderScram)),
        (Method::ScramSha256, Some(Form::Scram), Ok("PassThrough(..)")),
    ];
    for (method, form, right) in table {
        for unknown in [Mock::Md5, Mock::Scram] {
            let (outcome, _) = run(start(*method, form.map(stored), unknown), "pencil");
            let outcome = outcome.map(|proof| format!("{proof:?}")).map_err(|e| e.detail().clone());
            assert_eq!(outcome, right.clone().map(str::to_owned), "{method:?} {form:?}");
            if *method == Method::Trust {
                continue;
            }
            let (outcome, _) = run(start(*method, form.map(stored), unknown), "pencils");
            let wrong = right.clone().err().unwrap_or(Detail::WrongPassword);
            assert_eq!(outcome.map_err(|e| e.detail().clone()).unwrap_err(), wrong, "{method:?} {form:?}");
        }
    }
}

#[test]
fn failures_look_the_same_to_the_client() {
    for method in METHODS {
        for form in [None, Some(Form::Empty), Some(Form::Plain), Some(Form::Md5), Some(Form::Scram)] {
            for (unknown, password) in [(Mock::Md5, "wrong"), (Mock::Scram, "wrong"), (Mock::Md5, "")] {
                if let (Err(error), _) = run(start(method, form.map(stored), unknown), password) {
                    assert_eq!(error.sqlstate(), "28P01");
                    let words = match (method, password) {
                        (Method::Password, "") => "empty password returned by client",
                        _ => "password authentication failed for user \"joe\"",
                    };
                    assert_eq!(error.client_message(), words);
                }
            }
        }
    }
}

#[test]
fn an_unknown_user_is_led_through_the_same_steps() {
    let shape = |requests: &[Request]| -> Vec<(std::mem::Discriminant<Request>, usize)> {
        let size = |r: &Request| match r {
            Request::SaslContinue(data) => data.len(),
            _ => 0,
        };
        requests.iter().map(|r| (std::mem::discriminant(r), size(r))).collect()
    };
    for (method, unknown, like) in [
        (Method::Password, Mock::Md5, Form::Plain),
        (Method::Password, Mock::Scram, Form::Scram),
        (Method::Md5, Mock::Md5, Form::Md5),
        (Method::ScramSha256, Mock::Scram, Form::Plain),
        (Method::ScramSha256, Mock::Scram, Form::Empty),
        (Method::ScramSha256, Mock::Scram, Form::Md5),
    ] {
        let (_, nobody) = run(start(method, None, unknown), "wrong");
        let (_, somebody) = run(start(method, Some(stored(like)), unknown), "wrong");
        assert_eq!(shape(&nobody), shape(&somebody), "{method:?} {like:?}");
    }
}

/// What stands in for a missing secret is no secret: knowing it must not help.
#[test]
fn a_right_answer_to_a_mock_challenge_is_wrong() {
    let standing_in = Secret::Md5(Zeroizing::new([b'0'; 32]));
    for (form, detail) in [(None, Detail::UnknownUser), (Some(Form::Empty), Detail::EmptySecret)] {
        let (login, request) = asked(Method::Md5, form, Mock::Md5);
        assert_eq!(request, Request::Md5Password(OWN.md5_salt));
        let answer = md5::answer(&standing_in, "joe", OWN.md5_salt).unwrap();
        let State::Md5(mock, salt) = &login.state else { panic!() };
        assert!(md5::is_answer(mock.secret(), "joe", *salt, answer.as_bytes()), "it is the right one");
        let error = login.on_response(format!("{answer}\0").as_bytes()).unwrap_err();
        assert_eq!(error.detail(), &detail);
    }
}

/// What a plain password's users see must not tell them from users who don't exist: same salt at every login.
#[test]
fn a_users_salt_stays_the_same() {
    let salt = |user: &str, secret| {
        let settings = settings(Mock::Scram);
        let first = Login::start(Method::ScramSha256, user, secret, &settings, OWN);
        let Ok(Step::Continue(login, _)) = first else { panic!() };
        match login.on_response(&initial(b"n,,n=,r=x")) {
            Ok(Step::Continue(_, Request::SaslContinue(data))) => data,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(salt("joe", None), salt("joe", None));
    assert_eq!(salt("joe", None), salt("joe", Some(stored(Form::Plain))));
    assert_ne!(salt("joe", None), salt("eve", None));
}

/// CVE-2026-107350: the identity is that of the startup packet, whatever SCRAM's user name says.
#[test]
fn the_scram_user_name_is_ignored() {
    let (login, _) = asked(Method::ScramSha256, Some(Form::Scram), Mock::Scram);
    assert_eq!(login.user(), "joe");
    let Ok(Step::Continue(login, _)) = login.on_response(&initial(b"n,,n=postgres,r=x")) else { panic!() };
    assert_eq!(login.user(), "joe");
    let error = login.on_response(b"c=biws,r=x,p=").unwrap_err();
    assert!(error.to_string().contains("\"joe\""), "{error}");
}

#[test]
fn a_client_may_leave_its_initial_response_out_once() {
    let (login, _) = asked(Method::ScramSha256, Some(Form::Scram), Mock::Scram);
    let none = b"SCRAM-SHA-256\0\xff\xff\xff\xff";
    let Ok(Step::Continue(login, request)) = login.on_response(none) else { panic!() };
    assert_eq!(request, Request::SaslContinue(Vec::new()));
    let secret = ClientSecret::Password(Zeroizing::new(b"pencil".to_vec()));
    let (client, first) =
        ClientExchange::new(secret, Nonce::from_random([1; 18]), ChannelBinding::Unsupported);
    let Ok(Step::Continue(login, Request::SaslContinue(data))) = login.on_response(&first) else { panic!() };
    let (client, last) = client.server_first(&data).unwrap();
    let Ok(Step::Done { last: Some(Request::SaslFinal(data)), .. }) = login.on_response(&last) else {
        panic!()
    };
    assert_eq!(client.server_final(&data), Ok(()));

    let (login, _) = asked(Method::ScramSha256, Some(Form::Scram), Mock::Scram);
    let Ok(Step::Continue(login, _)) = login.on_response(none) else { panic!() };
    assert_eq!(login.on_response(b"").unwrap_err().sqlstate(), "08P01");
}

#[test]
fn broken_responses_are_protocol_violations_for_everybody() {
    for form in [None, Some(Form::Scram)] {
        for (body, message) in [
            (&b""[..], "invalid SASLInitialResponse"),
            (b"secret\0", "client selected an invalid SASL authentication mechanism"),
            (b"SCRAM-SHA-256-PLUS\0\0\0\0\x00", "client selected an invalid SASL authentication mechanism"),
            (b"SCRAM-SHA-256\0\x7f\xff\xff\xff", "invalid SASLInitialResponse"),
            (
                &initial(b"p=tls-server-end-point,,n=,r=x"),
                "malformed SCRAM client-first-message: it has channel binding, for SCRAM-SHA-256",
            ),
            (&initial(b"n,a=postgres,n=,r=x"), "an authorization identity is not supported"),
            (&initial(b""), "malformed SCRAM client-first-message: it is empty"),
            (&vec![0; MAX_RESPONSE + 1], "the response is too long"),
        ] {
            let (login, _) = asked(Method::ScramSha256, form, Mock::Scram);
            let error = login.on_response(body).unwrap_err();
            let code = if message.ends_with("identity is not supported") { "0A000" } else { "08P01" };
            assert_eq!((error.sqlstate(), &*error.client_message()), (code, message));
        }
        let (login, _) = asked(Method::ScramSha256, form, Mock::Scram);
        let Ok(Step::Continue(login, _)) = login.on_response(&initial(b"n,,n=,r=x")) else { panic!() };
        let error = login.on_response(b"c=biws,r=other,p=AAAA").unwrap_err();
        assert_eq!(error.sqlstate(), "08P01");
    }
}

#[test]
fn an_empty_password_is_told_as_such_to_anybody() {
    for form in [None, Some(Form::Empty), Some(Form::Plain), Some(Form::Scram)] {
        let (login, _) = asked(Method::Password, form, Mock::Md5);
        let error = login.on_response(b"\0").unwrap_err();
        assert_eq!((error.sqlstate(), error.detail()), ("28P01", &Detail::EmptyPassword), "{form:?}");
        assert_eq!(error.client_message(), "empty password returned by client");
    }
}

#[test]
fn a_wrong_password_costs_the_same_whatever_it_is_held_against() {
    for unknown in [Mock::Md5, Mock::Scram] {
        for form in [None, Some(Form::Plain), Some(Form::Md5), Some(Form::Scram)] {
            let (login, _) = asked(Method::Password, form, unknown);
            let before = DERIVATIONS.get();
            assert!(login.on_response(b"wrong\0").is_err());
            assert_eq!(DERIVATIONS.get() - before, 1, "{form:?}");
        }
    }
}

#[test]
fn only_what_runs_pbkdf2_is_heavy() {
    let heavy = |method, form| asked(method, form, Mock::Scram).0.is_heavy();
    assert!(heavy(Method::Password, Some(Form::Scram)));
    assert!(heavy(Method::Password, None) && heavy(Method::Password, Some(Form::Md5)), "if it is wrong");
    assert!(heavy(Method::ScramSha256, Some(Form::Plain)));
    assert!(!heavy(Method::Md5, Some(Form::Scram)));
    assert!(!heavy(Method::ScramSha256, None));

    let plain = stored(Form::Plain);
    assert!(run(start(Method::ScramSha256, Some(plain.clone()), Mock::Scram), "pencil").0.is_ok());
    let Ok(Step::Continue(login, _)) = start(Method::ScramSha256, Some(plain), Mock::Scram) else { panic!() };
    assert!(!login.is_heavy(), "derived once");
}

#[test]
fn a_passed_through_login_reaches_a_server_with_the_same_secret() {
    let secret = stored(Form::Scram);
    let (proof, _) = run(start(Method::ScramSha256, Some(secret.clone()), Mock::Scram), "pencil");
    let Ok(Proof::PassThrough(pass)) = proof else { panic!() };
    let Secret::Scram(scram) = secret.secret() else { panic!() };
    let nonce = |seed| Nonce::from_random([seed; 18]);
    let (client, first) =
        ClientExchange::new(ClientSecret::PassThrough(pass), nonce(1), ChannelBinding::Unsupported);
    let (server, data) = OtherServer::new(scram.clone(), nonce(2)).client_first(&first).unwrap();
    let (client, last) = client.server_first(&data).unwrap();
    assert_eq!(client.server_final(&server.client_final(&last).unwrap().server_final), Ok(()));
}

#[test]
fn the_log_tells_the_truth_and_no_secret() {
    let (outcome, _) = run(start(Method::ScramSha256, Some(stored(Form::Md5)), Mock::Md5), "pencil");
    let shown = outcome.unwrap_err().to_string();
    assert_eq!(
        shown,
        "login of user \"joe\" failed: the stored secret is an MD5 hash, which scram-sha-256 can't use"
    );
    let (login, request) = asked(Method::Password, Some(Form::Plain), Mock::Md5);
    assert!(!format!("{login:?} {request:?}").contains("pencil"));
    let (proof, _) = run(start(Method::Password, Some(stored(Form::Plain)), Mock::Md5), "pencil");
    assert!(!format!("{proof:?}").contains("112"), "no byte of the password");
}

/// A login in each of its states, for users who exist and users who don't.
fn states() -> Vec<Login> {
    let mut all = Vec::new();
    for form in [None, Some(Form::Empty), Some(Form::Plain), Some(Form::Md5), Some(Form::Scram)] {
        for method in [Method::Password, Method::Md5, Method::ScramSha256] {
            all.push(asked(method, form, Mock::Scram).0);
        }
        for body in [&b"SCRAM-SHA-256\0\xff\xff\xff\xff"[..], &initial(b"n,,n=,r=x")] {
            let (login, _) = asked(Method::ScramSha256, form, Mock::Scram);
            let Ok(Step::Continue(login, _)) = login.on_response(body) else { panic!() };
            all.push(login);
        }
    }
    all
}

fn p_message_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"SCRAM-SHA-256\0".to_vec()),
        Just(b"n,,n=,r=x".to_vec()),
        Just(b"c=biws,r=x,p=".to_vec()),
        Just(b"\0".to_vec()),
        any::<u32>().prop_map(|n| n.to_be_bytes().to_vec()),
        (0..20u32).prop_map(|n| n.to_be_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// CVE-2015-4054, CVE-2026-6664: any bytes in any state are an answer or an error, and never let anybody in.
    #[test]
    fn any_bytes_in_any_state(bodies in prop::collection::vec(p_message_like(), 1..4)) {
        for login in states() {
            let mut waiting = Some(login);
            for body in &bodies {
                waiting = match waiting.map(|login| login.on_response(body)) {
                    Some(Ok(Step::Continue(next, _))) => Some(next),
                    Some(Ok(Step::Done { .. })) => panic!("let in by {bodies:?}"),
                    Some(Err(error)) => {
                        prop_assert!(["28P01", "08P01"].contains(&error.sqlstate()));
                        None
                    }
                    None => None,
                };
            }
        }
    }
}

#[test]
fn over_tls_the_client_may_bind_and_may_not_be_led_astray() {
    let start = || {
        let own = Circumstances { end_point: EndPoint::new(&[7; 32]), ..OWN };
        let secret = Some(stored(Form::Scram));
        Login::start(Method::ScramSha256, "joe", secret, &settings(Mock::Scram), own)
    };
    let Ok(Step::Continue(login, Request::Sasl(offered))) = start() else { panic!() };
    assert_eq!(offered, ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
    let error = login.on_response(&initial(b"y,,n=,r=x")).unwrap_err();
    assert_eq!(&*error.client_message(), "SCRAM channel binding negotiation error");
    let Ok(Step::Continue(login, _)) = start() else { panic!() };
    assert!(login.on_response(&initial(b"n,,n=,r=x")).is_ok());
    for (seen, fine) in [([7; 32], true), ([8; 32], false)] {
        let Ok(Step::Continue(login, _)) = start() else { panic!() };
        let binding = sasl::ChannelBinding::tls_server_end_point(seen.to_vec());
        let mut scram = sasl::ScramSha256::new(b"pencil", binding);
        let length = u32::try_from(scram.message().len()).unwrap().to_be_bytes();
        let body = [b"SCRAM-SHA-256-PLUS\0", &length[..], scram.message()].concat();
        let Ok(Step::Continue(login, Request::SaslContinue(first))) = login.on_response(&body) else {
            panic!()
        };
        scram.update(&first).unwrap();
        assert_eq!(login.on_response(scram.message()).is_ok(), fine);
    }
}
