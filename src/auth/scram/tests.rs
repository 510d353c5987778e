//! Both sides against RFC 7677, against another implementation, against each other, and against hostile peers.

use std::sync::Arc;

use postgres_protocol::authentication::sasl;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::client::{self, ClientExchange, ClientSecret};
use super::messages::{
    ChannelBinding, ClientFinal, ClientFirst, EndPoint, Flag, Message, Nonce, ServerFinal, ServerFirst,
};
use super::secret::{Derived, MockKey, PassThrough, ScramSecret, hmac, xor};
use super::server::Offer;
use super::server::{self, ServerExchange};
use super::*;

/// The exchange of RFC 7677, section 3: user "user", password "pencil".
mod rfc {
    pub(super) const SECRET: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    pub(super) const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    pub(super) const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    pub(super) const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    pub(super) const WITHOUT_PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    pub(super) const PROOF: &str = ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    pub(super) const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
}

fn rfc_secret() -> Arc<ScramSecret> {
    Arc::new(ScramSecret::parse(rfc::SECRET).unwrap())
}

fn nonce(seed: u8) -> Nonce {
    Nonce::from_random([seed; 18])
}

fn password(text: &str) -> ClientSecret {
    ClientSecret::Password(Zeroizing::new(text.as_bytes().to_vec()))
}

/// A client's first message and state, and what the server made of it.
fn begun(
    secret: ClientSecret,
    server: ServerExchange,
) -> (Result<(client::WaitsForFinal, Vec<u8>), ScramError>, server::WaitsForFinal) {
    let (client, first) = ClientExchange::new(secret, nonce(1), ChannelBinding::Unsupported);
    let (server, server_first) = server.client_first(&first).unwrap();
    (client.server_first(&server_first), server)
}

#[test]
fn the_server_replays_rfc_7677() {
    let server = ServerExchange::new(rfc_secret(), Nonce::literal(rfc::SERVER_NONCE));
    let (server, first) = server.client_first(rfc::CLIENT_FIRST.as_bytes()).unwrap();
    assert_eq!(first, rfc::SERVER_FIRST.as_bytes());
    let proven = server.client_final([rfc::WITHOUT_PROOF, rfc::PROOF].concat().as_bytes()).unwrap();
    assert_eq!(proven.server_final, rfc::SERVER_FINAL.as_bytes());
    assert!(PassThrough::new(proven.client_key, rfc_secret()).is_some());
}

#[test]
fn the_clients_keys_sign_as_in_rfc_7677() {
    let first = ServerFirst::parse(rfc::SERVER_FIRST.as_bytes()).unwrap();
    let keys = Derived::new(b"pencil", first.iterations, &first.salt);
    let signed = [&rfc::CLIENT_FIRST[3..], rfc::SERVER_FIRST, rfc::WITHOUT_PROOF].join(",");
    let mut message = rfc::WITHOUT_PROOF.as_bytes().to_vec();
    let proof = xor(&keys.client_key, &hmac(&keys.stored_key, signed.as_bytes()));
    ClientFinal::append_proof(&mut message, &proof);
    assert_eq!(message, [rfc::WITHOUT_PROOF, rfc::PROOF].concat().into_bytes());
    let signature = hmac(&keys.server_key, signed.as_bytes());
    assert_eq!(ServerFinal::encode_signature(&signature), rfc::SERVER_FINAL.as_bytes());
}

/// Made by PostgreSQL 15 with `CREATE ROLE … PASSWORD`; the fourth to sixth are not fit for SASLprep.
#[test]
fn secrets_are_those_of_postgresql() {
    for (password, stored) in [
        (
            "pencil",
            "SCRAM-SHA-256$4096:TkG76CrRDbp5ATaLO5E9HQ==$AjCMGxwTKaIJjAPKjiiUxHAbpWOxomxBm69PfNT55xU=:JaM0Pft1X+HXWOPVtKc6B5RFS42e4HfbCKjprBnFI6o=",
        ),
        (
            "I\u{ad}X",
            "SCRAM-SHA-256$4096:NBGUQWNakWdtWLHHHnVy5w==$HDZtt3IstE65QqlFmk0+qqS3eTi6W+pjdC7WwvvDMHI=:ZZENL4QtuV9p1sdJBebMMpciWvRv4lQnw6LQ6u6u/F0=",
        ),
        (
            "\u{aa}\u{2168}",
            "SCRAM-SHA-256$4096:ngLMVySLKj2yaYYFQHLspw==$KyEWGz02vUk+ZmM9o/D1lk/HzqT1gHTtHsko6YTUdpA=:Y5cqAyWXmb56CIKQdaDTDOLghHm/0MbpLl87Bi1mC8Y=",
        ),
        (
            "a\u{7}\u{ad}",
            "SCRAM-SHA-256$4096:3QT91P/QAVEQrPPpv57x2g==$/E8WjNr5N94UK8x5+fEGcFbEF+L7Bmqyb2n8DnY51Zk=:FxtM2cbRknhz4Ayfujr2al1XTm86n3YuMCrotI7ydsM=",
        ),
        (
            "\u{627}1",
            "SCRAM-SHA-256$4096:ofmOx1FHuigy8drs/KrQfQ==$r7NlO/cM3D54GU/NSyg9kMXKod2sXR1C/4CD0ATY6oE=:gQhU8hTJ8XgKfedZEl5Aow+6nilvF8rYRzeLN3JO50U=",
        ),
        (
            "\u{ad}",
            "SCRAM-SHA-256$4096:VsVm6KO6s/ZSQXDqaQioyg==$DfoHN4pXL01mkeSk1MGOcap9wMhkVJISHB4u04X/OCc=:tiE9n2HWi7CRz2Vws4MfSd1BDEsBETWtSJrQe9D/J04=",
        ),
        (
            "p\u{a0}\u{200b}\u{fb01}\u{e9}",
            "SCRAM-SHA-256$4096:5BFhYOAx60LWpAzvFcnzhg==$QzBkuVNErsbVa3YoKQ3bC5/xHfnR3l5AvUnZwDY95Bw=:LWDaLemU3EzcwJdr/CXS+OGdvncsWDwUS3bdzvQZUEY=",
        ),
    ] {
        let parsed = ScramSecret::parse(stored).unwrap();
        assert_eq!(*parsed.stored_text(), stored);
        let made = ScramSecret::from_password(password.as_bytes(), parsed.iterations(), parsed.salt());
        assert!(made.same_as(&parsed), "{}", password.escape_unicode());
        assert!(parsed.is_of(password.as_bytes()) && !parsed.is_of(b"other"));
    }
}

#[test]
fn a_password_that_is_not_utf8_is_taken_as_it_is() {
    let made = |password: &[u8]| ScramSecret::from_password(password, 1, b"salt");
    assert!(made(b"\xff\xad").is_of(b"\xff\xad"));
    assert!(!made(b"\xff\xad").is_of(b"\xff"));
}

#[test]
fn same_as_compares_every_part() {
    let base = rfc_secret();
    let text = base.stored_text();
    for (from, to) in [("4096", "4097"), ("W22Z", "W22Y"), ("WG5d", "WG5e"), ("wfPL", "wfPM")] {
        assert!(!base.same_as(&ScramSecret::parse(&text.replace(from, to)).unwrap()), "{to}");
    }
    assert!(base.same_as(&base.clone()));
}

#[test]
fn another_client_implementation_logs_in() {
    for binding in [sasl::ChannelBinding::unsupported(), sasl::ChannelBinding::unrequested()] {
        let mut client = sasl::ScramSha256::new(b"pencil", binding);
        let server = ServerExchange::new(rfc_secret(), nonce(2));
        let (server, first) = server.client_first(client.message()).unwrap();
        client.update(&first).unwrap();
        let proven = server.client_final(client.message()).unwrap();
        client.finish(&proven.server_final).unwrap();
    }
    let mut client = sasl::ScramSha256::new(b"pencils", sasl::ChannelBinding::unsupported());
    let server = ServerExchange::new(rfc_secret(), nonce(2));
    let (server, first) = server.client_first(client.message()).unwrap();
    client.update(&first).unwrap();
    assert_eq!(server.client_final(client.message()).unwrap_err(), ScramError::WrongProof);
}

#[test]
fn the_client_logs_in_and_checks_the_server() {
    let (client, server) = begun(password("pencil"), ServerExchange::new(rfc_secret(), nonce(2)));
    let (client, last) = client.unwrap();
    let proven = server.client_final(&last).unwrap();
    assert_eq!(client.server_final(&proven.server_final), Ok(()));

    // A server that knows StoredKey but not ServerKey lets us in and is found out.
    let forged = rfc::SECRET.replace("wfPL", "wfPM");
    let forged = Arc::new(ScramSecret::parse(&forged).unwrap());
    let (client, server) = begun(password("pencil"), ServerExchange::new(forged, nonce(2)));
    let (client, last) = client.unwrap();
    let proven = server.client_final(&last).unwrap();
    assert_eq!(client.server_final(&proven.server_final), Err(ScramError::WrongSignature));
}

#[test]
fn a_proved_client_is_passed_through() {
    let (client, server) = begun(password("pencil"), ServerExchange::new(rfc_secret(), nonce(2)));
    let client_key = server.client_final(&client.unwrap().1).unwrap().client_key;
    let proved = PassThrough::new(client_key.clone(), rfc_secret()).unwrap();

    let secret = ClientSecret::PassThrough(proved.clone());
    let (client, server) = begun(secret, ServerExchange::new(rfc_secret(), nonce(3)));
    let (client, last) = client.unwrap();
    assert_eq!(client.server_final(&server.client_final(&last).unwrap().server_final), Ok(()));

    for (from, to) in [("4096", "4097"), ("W22Z", "W22Y")] {
        let other = ScramSecret::parse(&rfc::SECRET.replace(from, to)).unwrap();
        let secret = ClientSecret::PassThrough(proved.clone());
        let (client, _) = begun(secret, ServerExchange::new(Arc::new(other), nonce(3)));
        assert_eq!(client.unwrap_err(), ScramError::SecretDiffers);
    }
    let other = rfc::SECRET.replace("WG5d", "WG5e");
    assert!(PassThrough::new(client_key, Arc::new(ScramSecret::parse(&other).unwrap())).is_none());
}

#[test]
fn a_mock_exchange_looks_real_and_never_succeeds() {
    // Even with the secret's own password.
    let (client, server) = begun(password("pencil"), ServerExchange::mock(rfc_secret(), nonce(2)));
    assert_eq!(server.client_final(&client.unwrap().1).unwrap_err(), ScramError::WrongProof);

    let key = MockKey::new([7; 32]);
    let mock = |user| Arc::new(ScramSecret::mock(&key, user, 4096));
    let first =
        |secret| ServerExchange::mock(secret, nonce(2)).client_first(rfc::CLIENT_FIRST.as_bytes()).unwrap().1;
    assert_eq!(first(mock("joe")), first(mock("joe")), "the same salt each time");
    assert_ne!(first(mock("joe")), first(mock("eve")), "another for each user");
    assert_ne!(key.salt("joe"), MockKey::new([8; 32]).salt("joe"), "and for each process");
    let real = ServerExchange::new(rfc_secret(), nonce(2)).client_first(rfc::CLIENT_FIRST.as_bytes());
    assert_eq!(first(mock("joe")).len(), real.unwrap().1.len());
}

#[test]
fn client_first_headers() {
    let long = "x".repeat(MAX_CLIENT_NONCE + 1);
    let malformed =
        |text: &str| matches!(ClientFirst::parse(text.as_bytes()), Err(ScramError::Malformed { .. }));
    for text in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=",
        "z,,n=,r=x",
        "N,,n=,r=x",
        "p,,n=,r=x",
        "n,b=x,n=,r=x",
        "n,x,n=,r=x",
        "n,,n=,r=",
        "n,,n=,r=a b",
        "n,,n=,r=\u{e9}",
        "n,,n=,r=x,",
        "n,,n=,r=x,y",
        "n,,n=\0,r=x",
        "n,,n,r=x",
        "n,,n=,r=x,1=x",
        "p=tls-unique,,n=,r=x",
        &format!("n,,n=,r={long}"),
        &format!("n,,n=,r=x,x={}", "x".repeat(MAX_MESSAGE)),
    ] {
        assert!(malformed(text), "{text}");
    }
    for text in ["n,a=joe,n=,r=x", "n,,m=x,n=,r=x"] {
        assert!(matches!(ClientFirst::parse(text.as_bytes()), Err(ScramError::Unsupported(_))), "{text}");
    }
    for (text, flag) in [
        ("n,,n=,r=x", Flag::Unsupported),
        ("y,,n=joe,r=x,z=extension", Flag::NotOffered),
        ("p=tls-server-end-point,,n=,r=x", Flag::EndPoint),
        (&format!("n,,n=*,r={}", &long[1..]), Flag::Unsupported),
    ] {
        assert_eq!(ClientFirst::parse(text.as_bytes()).map(|m| m.flag), Ok(flag), "{text}");
    }
    let latin1 = ClientFirst::parse(b"n,,n=\xe9,r=x");
    assert!(latin1.is_ok(), "the user name is ignored, so its encoding is too");
}

/// All sequences of up to four of these attributes.
fn sequences(attributes: &[&'static str]) -> Vec<Vec<&'static str>> {
    let mut all = vec![vec![]];
    let mut longest = all.clone();
    for _ in 0..4 {
        let longer = |sequence: &Vec<&'static str>| -> Vec<Vec<&'static str>> {
            attributes.iter().map(|a| [&sequence[..], &[*a]].concat()).collect()
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend_from_slice(&longest);
    }
    all
}

/// CVE-2026-19888: attributes missing, twice, or in another order, for users who exist and users who don't.
#[test]
fn client_final_takes_only_its_own_order() {
    let names = [
        "c=biws",
        "r=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
        "x=1",
        "m=1",
        rfc::PROOF.trim_start_matches(','),
    ];
    for sequence in sequences(&names) {
        let allowed = sequence == [names[0], names[1], names[4]]
            || sequence == [names[0], names[1], names[2], names[4]];
        let message = sequence.join(",");
        let answer = |kind: fn(Arc<ScramSecret>, Nonce) -> ServerExchange| {
            let server = kind(rfc_secret(), nonce(1));
            let first = ClientFirst::encode(ChannelBinding::Unsupported, &nonce(1));
            server.client_first(&first).unwrap().0.client_final(message.as_bytes()).unwrap_err()
        };
        let real = answer(ServerExchange::new);
        assert_eq!(real == ScramError::WrongProof, allowed, "{message}: {real}");
        assert_eq!(answer(ServerExchange::mock), real, "{message}");
    }
}

#[test]
fn client_first_takes_only_its_own_order() {
    for sequence in sequences(&["n=joe", "r=x", "x=1", "m=1", "a=eve"]) {
        let allowed = sequence == ["n=joe", "r=x"] || sequence == ["n=joe", "r=x", "x=1"];
        let message = format!("n,,{}", sequence.join(","));
        assert_eq!(ClientFirst::parse(message.as_bytes()).is_ok(), allowed, "{message}");
    }
}

#[test]
fn server_messages_take_only_their_own_order() {
    for sequence in sequences(&["r=x", "s=W22Z", "i=1", "m=1", "x=1"]) {
        let allowed = sequence == ["r=x", "s=W22Z", "i=1"];
        assert_eq!(ServerFirst::parse(sequence.join(",").as_bytes()).is_ok(), allowed, "{sequence:?}");
    }
    for sequence in sequences(&[rfc::SERVER_FINAL, "e=other-error", "m=1", "x=1"]) {
        let allowed = sequence == [rfc::SERVER_FINAL] || sequence == ["e=other-error"];
        assert_eq!(ServerFinal::parse(sequence.join(",").as_bytes()).is_ok(), allowed, "{sequence:?}");
    }
}

/// CVE-2026-6665 and CVE-2026-6669: a hostile server's nonce, salt and iteration count.
#[test]
fn a_hostile_server_is_refused_before_any_hashing() {
    let ours = nonce(1);
    let nonce = ours.as_str();
    let long = |n: usize| "x".repeat(n);
    let malformed = |what| ScramError::Malformed { message: Message::ServerFirst, what };
    let bad_nonce = malformed("the nonce is empty or too long");
    let bad_salt = malformed("the salt isn't base64 of an acceptable length");
    let bad_count = malformed("the iteration count is out of bounds");
    for (message, error) in [
        ("r=,s=W22Z,i=1".to_owned(), bad_nonce.clone()),
        (format!("r={nonce}{},s=W22Z,i=1", long(MAX_NONCE)), bad_nonce.clone()),
        (format!("r={nonce}{},s=W22Z,i=1", long(MAX_MESSAGE)), malformed("it is too long")),
        (format!("r={nonce},s=W22Z,i=1"), ScramError::NonceMismatch),
        (format!("r={}x,s=W22Z,i=1", &nonce[1..]), ScramError::NonceMismatch),
        (format!("r=x{nonce},s=W22Z,i=1"), ScramError::NonceMismatch),
        (format!("r={nonce}x,s=,i=1"), bad_salt.clone()),
        (format!("r={nonce}x,s=W22,i=1"), bad_salt.clone()),
        (format!("r={nonce}x,s={},i=1", "AAAA".repeat(MAX_SALT / 3 + 1)), bad_salt),
        (format!("r={nonce}x,s=W22Z,i="), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i=0"), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i=-1"), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i=+1"), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i=1 "), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i={}", MAX_ITERATIONS + 1), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i=2147483647"), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i=4294967297"), bad_count.clone()),
        (format!("r={nonce}x,s=W22Z,i={}", "9".repeat(400)), bad_count),
    ] {
        let (client, _) = ClientExchange::new(password("pencil"), ours.clone(), ChannelBinding::Unsupported);
        assert_eq!(client.server_first(message.as_bytes()).unwrap_err(), error, "{message}");
    }
}

#[test]
fn a_servers_error_is_reported_in_printable_form() {
    let (client, _) = begun(password("pencil"), ServerExchange::new(rfc_secret(), nonce(2)));
    let (client, _) = client.unwrap();
    let message = format!("e=unknown-user\u{1b}[2J{}", "x".repeat(200));
    let Err(ScramError::Refused(reason)) = client.server_final(message.as_bytes()) else { panic!() };
    assert_eq!(reason, format!("unknown-user[2J{}", "x".repeat(49)));
}

#[test]
fn one_changed_byte_anywhere_spoils_the_proof() {
    let (client, _) = begun(password("pencil"), ServerExchange::new(rfc_secret(), nonce(2)));
    let last = client.unwrap().1;
    let (_, first) = ClientExchange::new(password("pencil"), nonce(1), ChannelBinding::Unsupported);
    for at in 0..last.len() {
        for byte in [b'A', b'B', b'=', b',', b'p', 0, 0xff, last[at] ^ 1, last[at] ^ 0x20] {
            let mut changed = last.clone();
            changed[at] = byte;
            let server = ServerExchange::new(rfc_secret(), nonce(2)).client_first(&first).unwrap().0;
            assert_eq!(server.client_final(&changed).is_ok(), changed == last, "{}", changed.escape_ascii());
        }
    }
}

/// A recorded exchange can't be replayed, and its end can't be put on another beginning.
#[test]
fn the_nonce_is_the_one_agreed() {
    let (_, first) = ClientExchange::new(password("pencil"), nonce(1), ChannelBinding::Unsupported);
    let recorded = begun(password("pencil"), ServerExchange::new(rfc_secret(), nonce(2))).0.unwrap().1;
    let server = ServerExchange::new(rfc_secret(), nonce(3)).client_first(&first).unwrap().0;
    assert_eq!(server.client_final(&recorded).unwrap_err(), ScramError::NonceMismatch);
}

#[test]
fn the_binding_header_is_the_one_begun_with() {
    for (first, cbind, error) in [
        ("n,,", "eSws", ScramError::BindingMismatch),
        ("y,,", "biws", ScramError::BindingMismatch),
        ("y,,", "eSws", ScramError::WrongProof),
        ("n,,", "biws", ScramError::WrongProof),
        ("n,,", "biwsAA==", ScramError::BindingMismatch),
    ] {
        let server = ServerExchange::new(rfc_secret(), Nonce::literal("server"));
        let (server, _) = server.client_first(format!("{first}n=,r=client").as_bytes()).unwrap();
        let last = format!("c={cbind},r=clientserver{}", rfc::PROOF);
        assert_eq!(server.client_final(last.as_bytes()).unwrap_err(), error, "{first} {cbind}");
    }
}

#[test]
fn debug_shows_no_key() {
    let (client, server) = begun(password("pencil"), ServerExchange::new(rfc_secret(), nonce(2)));
    let (_, last) = client.unwrap();
    let waiting = format!("{server:?}");
    let shown = format!("{waiting} {:?}", server.client_final(&last).unwrap());
    assert!(!shown.contains("client_key") && !shown.contains("stored_key"), "{shown}");
    let (client, _) = ClientExchange::new(password("pencil"), nonce(1), ChannelBinding::Unsupported);
    assert!(!format!("{client:?}").contains("112"), "no byte of the password");
}

/// Text made of the pieces SCRAM messages are made of.
fn scram_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("n,,".to_owned()),
        "[a-zA-Z]=",
        Just(",".to_owned()),
        Just("=".to_owned()),
        Just("biws".to_owned()),
        Just(nonce(1).as_str().to_owned()),
        Just(rfc::PROOF.to_owned()),
        "[0-9]{1,12}",
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop_oneof![scram_like(), prop::collection::vec(any::<u8>(), 0..200)]) {
        let _ = ClientFirst::parse(&bytes);
        let _ = ServerFirst::parse(&bytes);
        let _ = ClientFinal::parse(&bytes);
        let _ = ServerFinal::parse(&bytes);
        let _ = ScramSecret::parse(&String::from_utf8_lossy(&bytes));
        let server = ServerExchange::new(rfc_secret(), nonce(1)).client_first(rfc::CLIENT_FIRST.as_bytes());
        prop_assert!(server.unwrap().0.client_final(&bytes).is_err());
    }

    #[test]
    fn server_first_survives_the_wire(
        nonce in "[!-+\\--~]{1,100}",
        salt in prop::collection::vec(any::<u8>(), 1..100),
        iterations in 1..=MAX_ITERATIONS,
    ) {
        let wire = ServerFirst::encode(&nonce, &salt, iterations);
        let message = ServerFirst { nonce: &nonce, salt, iterations };
        prop_assert_eq!(ServerFirst::parse(&wire), Ok(message));
    }

    #[test]
    fn any_password_works_and_only_it(a in "\\PC{1,12}", b in "[a-z]{13,16}", salt in any::<[u8; 16]>()) {
        let secret = Arc::new(ScramSecret::from_password(a.as_bytes(), 2, &salt));
        let (client, server) = begun(password(&a), ServerExchange::new(secret.clone(), nonce(2)));
        let (client, last) = client.unwrap();
        prop_assert_eq!(client.server_final(&server.client_final(&last).unwrap().server_final), Ok(()));
        let (client, server) = begun(password(&b), ServerExchange::new(secret, nonce(2)));
        prop_assert_eq!(server.client_final(&client.unwrap().1).unwrap_err(), ScramError::WrongProof);
    }
}

/// What the client sees × what became of the server's offer.
#[test]
fn bound_to_tls() {
    let hash = |byte: u8| EndPoint::new(&[byte; 32]).unwrap();
    let seen = [ChannelBinding::Unsupported, ChannelBinding::NotOffered, ChannelBinding::EndPoint(hash(1))];
    let offers = [Offer::None, Offer::Declined, Offer::Taken(hash(1)), Offer::Taken(hash(2))];
    for binding in seen {
        let outcomes = offers.map(|offer| {
            let (client, first) = ClientExchange::new(password("pencil"), nonce(1), binding);
            let server = ServerExchange::new(rfc_secret(), nonce(2)).offering(offer);
            let (server, answer) = server.client_first(&first)?;
            let (client, last) = client.server_first(&answer)?;
            client.server_final(&server.client_final(&last)?.server_final)
        });
        let malformed =
            |outcome: &Result<(), ScramError>| matches!(outcome, Err(ScramError::Malformed { .. }));
        match binding {
            ChannelBinding::Unsupported => {
                assert_eq!(outcomes[..2], [Ok(()), Ok(())]);
                assert!(outcomes[2..].iter().all(malformed));
            }
            ChannelBinding::NotOffered => {
                assert_eq!(outcomes[..2], [Ok(()), Err(ScramError::Downgrade)]);
                assert!(outcomes[2..].iter().all(malformed));
            }
            ChannelBinding::EndPoint(_) => {
                assert!(outcomes[..2].iter().all(malformed));
                assert_eq!(outcomes[2..], [Ok(()), Err(ScramError::BindingFailed)]);
            }
        }
    }
    assert!(EndPoint::new(&[0; 64]).is_some() && EndPoint::new(&[0; 65]).is_none());
    let mut theirs =
        sasl::ScramSha256::new(b"pencil", sasl::ChannelBinding::tls_server_end_point(vec![1; 32]));
    let server = ServerExchange::new(rfc_secret(), nonce(2)).offering(Offer::Taken(hash(1)));
    let (server, answer) = server.client_first(theirs.message()).unwrap();
    theirs.update(&answer).unwrap();
    theirs.finish(&server.client_final(theirs.message()).unwrap().server_final).unwrap();
}

#[test]
fn salts_of_nobody_stay_with_the_key() {
    let salt = |key: &[u8], user| MockKey::of_key(key).salt(user);
    assert_eq!(salt(b"a", "u"), salt(b"a", "u"));
    assert!(salt(b"a", "u") != salt(b"a", "v") && salt(b"a", "u") != salt(b"b", "u"));
}
