//! What is let in, and what isn't: messages, tokens, keys.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

/// Made by OpenSSL: a modulus, and two tokens signed by its key.
const MODULUS: &str = concat!(
    "kf_ExIPVb49HdxrZ7KENAM0UnlaqTbfZJvDja3sol0HGci8h7FPZn0oPNjiOEG2evbVcwzI0dqQhrmggo8o8db6qNaLgHq0m",
    "XWSq_cC8CiX8A-UVD6In-cXMOmvsQQfM_2dxZNyzHL3x7bO4JiP0voChbUt07Stm0u-ZSmuFhuSh84uT5lfSMnh3w-f7QpJV",
    "sQCMNLBiD4TUV1uwcn8F5FqzVgl7os-8hRHBPEUur4RdydVEvnYfX_i-anGtIiRDziJYMfF0o3YYTkvZqi3neQF8mxzQl5F1",
    "vfK7K6PmCWXugYTQFF86RHjJJnwGXAX0fYmR8llxVBYadZ-V9i8BDw",
);
const BY_RS256: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoicGd3ZWlyI",
    "iwiZXhwIjoyMDAwLCJzY29wZSI6Im9wZW5pZCBkYiIsInN1YiI6ImpvZSJ9.P-e2EKElwjcgxRGv8JRsZ4KtqqIxpdvJ7dW7",
    "AI8GgiDbGDUpNq-_EikFLMIJhRrfg93qkfICfB93xi2ulegQjrXhozu9JKTRtvFR2Cw-XY6pB_IiLb5ZuuNbJxaVEbJ2m5hn",
    "3bBUmieJpR5O-QJFclhSHfKuD9vZoT125wacxtmIE-S4MYvCBJ1ac514KQPo8n0PC2HrwNKdItPwnosVsxFRGMGQ9IZjK8xL",
    "urQJal3hU0qbVOk3nAzpAkLPqyDOZiD8v5nXhm7PHd2pk5_4tpFvPiUQvxYnrJmEjOfeSsd4b_fjpdpYHXbtIIogxCmz5lLP",
    "porpSRtc8zVL_Lq1EA",
);
const BY_PS256: &str = concat!(
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InIifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoicGd3ZWlyI",
    "iwiZXhwIjoyMDAwLCJzY29wZSI6Im9wZW5pZCBkYiIsInN1YiI6ImpvZSJ9.Sju84JuIWOSdliAscdLjPB4_s808UAFRNaFL",
    "yC4QGbaOTLdf_GemSTNW8w47Nu5arW-VdlZUcKCoQIc2Ajy3rJHiFTvzlBX8Qy2z3JmSAi4rxyWI0Ph4AYBuXA-utVoxiz6e",
    "ZMPW_KhIUSIpApZPTRdh_96w3KMfMlr-NYeRBOm6D0EO1ciFASeXVmbLbhc0TU6yfQ_QJKDjEbheYzZ5aVAqDE-R_UiHUrW9",
    "olE3cF9X4OevOSPqDqaau3tTldI_FO-9nXhzcveeMq0QjYworvHeLYSmS_hHrlylRzGBsSDXkqmVlbqROgQC7fvaPXTrpohn",
    "tGiKfVp4Vy32kCC9Gg",
);

const NOW: u64 = 1000;

fn oauth() -> OAuth {
    OAuth {
        issuer: "https://issuer.example".into(),
        scope: "openid db".into(),
        audience: vec!["pgweir".into(), "other".into()],
        claim: "sub".into(),
        algorithms: Algorithm::ALL.map(|(_, algorithm)| algorithm).to_vec(),
        keys: KeySource::File("keys".into()),
        is_delegated: false,
        is_loopback_allowed: false,
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": ["x", "pgweir"], "exp": 2000, "nbf": 900, "scope": "db openid email",
        "sub": "joe", "roles": ["a", "b"],
    })
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

static SIGNER: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap()
});

fn signed(header: &Value, claims: &Value) -> String {
    let body = format!("{}.{}", encoded(header), encoded(claims));
    let signature = SIGNER.sign(&SystemRandom::new(), body.as_bytes()).unwrap();
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "e", "typ": "at+jwt"})
}

fn keys() -> KeySet {
    let point = SIGNER.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let set = json!({"keys": [
        {"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
        {"kty": "EC", "kid": "enc", "use": "enc", "crv": "P-256", "x": x, "y": y},
        {"kty": "EC", "kid": "ops-enc", "key_ops": ["encrypt"], "crv": "P-256", "x": x, "y": y},
        {"kty": "EC", "kid": "ops-sign", "key_ops": ["sign"], "crv": "P-256", "x": x, "y": y},
        {"kty": "EC", "kid": "ops-none", "key_ops": [], "crv": "P-256", "x": x, "y": y},
        {"kty": "EC", "kid": "ops-text", "key_ops": "verify", "crv": "P-256", "x": x, "y": y},
        {"kty": "EC", "kid": "ops-both", "use": "sig", "key_ops": ["wrapKey"], "crv": "P-256", "x": x, "y": y},
        {"kty": "EC", "kid": "ops", "key_ops": ["sign", "verify"], "crv": "P-256", "x": x, "y": y},
        {"kty": "EC", "kid": "e", "use": "sig", "crv": "P-256", "x": x, "y": y},
        {"kty": "RSA", "kid": "r", "n": MODULUS, "e": "AQAB"},
    ]});
    KeySet::read(set.to_string().as_bytes()).unwrap()
}

fn verdict(token: &str, oauth: &OAuth) -> Result<Names, Rejection> {
    Token::read(token, oauth, NOW)?.verify(&keys())
}

fn with(changes: &[(&str, Value)]) -> String {
    let mut all = claims();
    for (name, value) in changes {
        all[*name] = value.clone();
    }
    signed(&header(), &all)
}

fn without(name: &str) -> String {
    let mut all = claims();
    all.as_object_mut().unwrap().remove(name);
    signed(&header(), &all)
}

fn known_as(name: &str) -> Result<Names, Rejection> {
    Ok(Names::KnownAs(name.to_owned()))
}

#[test]
fn good_tokens() {
    for token in [with(&[]), BY_RS256.to_owned(), BY_PS256.to_owned()] {
        assert_eq!(verdict(&token, &oauth()), known_as("joe"), "{token}");
    }
    assert_eq!(verdict(&with(&[("aud", json!("other"))]), &oauth()), known_as("joe"));
    assert_eq!(verdict(&with(&[("exp", json!(NOW - 29))]), &oauth()), known_as("joe"), "the clocks differ");
    assert_eq!(verdict(&with(&[("nbf", json!(NOW + 30))]), &oauth()), known_as("joe"));
    assert_eq!(verdict(&without("nbf"), &oauth()), known_as("joe"));
    let anybody = OAuth { audience: Vec::new(), ..oauth() };
    assert_eq!(verdict(&without("aud"), &anybody), known_as("joe"));
    let published =
        OAuth { issuer: "https://issuer.example/.well-known/openid-configuration".into(), ..oauth() };
    assert_eq!(verdict(&with(&[]), &published), known_as("joe"));
    let by_list = OAuth { claim: "roles".into(), is_delegated: true, ..oauth() };
    assert_eq!(verdict(&with(&[]), &by_list), Ok(Names::MayBe(vec!["a".to_owned(), "b".to_owned()])));
    let scp = |scp| {
        let mut all = claims();
        all.as_object_mut().unwrap().remove("scope");
        all["scp"] = scp;
        signed(&header(), &all)
    };
    assert_eq!(verdict(&scp(json!(["db", "openid"])), &oauth()), known_as("joe"));
    assert_eq!(verdict(&scp(json!("openid db")), &oauth()), known_as("joe"));
}

#[test]
fn claims_that_let_nobody_in() {
    let claim = |name: &str| Rejection::Claim(name.to_owned());
    let scope = |name: &str| Rejection::Scope(name.to_owned());
    let table = [
        (without("iss"), claim("iss")),
        (with(&[("iss", json!("https://issuer.example/"))]), Rejection::Issuer),
        (without("aud"), claim("aud")),
        (with(&[("aud", json!(["x"]))]), Rejection::Audience),
        (with(&[("aud", json!([1, "pgweir"]))]), claim("aud")),
        (without("exp"), claim("exp")),
        (with(&[("exp", json!("2000"))]), claim("exp")),
        (with(&[("exp", Value::Null)]), claim("exp")),
        (with(&[("exp", json!(NOW - 30))]), Rejection::Expired),
        (with(&[("exp", json!(-1))]), Rejection::Expired),
        // CVE-2026-25537: a claim of the wrong kind is no claim left out.
        (with(&[("nbf", json!("900"))]), claim("nbf")),
        (with(&[("nbf", json!(NOW + 31))]), Rejection::Early),
        (without("scope"), scope("openid")),
        (with(&[("scope", json!("openid dba"))]), scope("db")),
        (with(&[("scope", json!({}))]), claim("scope")),
        (without("sub"), claim("sub")),
        (with(&[("sub", json!(""))]), claim("sub")),
        (with(&[("sub", json!(["joe", "root"]))]), claim("sub")),
        (with(&[("sub", json!(["joe"]))]), claim("sub")),
        (with(&[("sub", json!(1))]), claim("sub")),
    ];
    for (token, expected) in table {
        assert_eq!(verdict(&token, &oauth()), Err(expected), "{token}");
    }
}

#[test]
fn signatures_that_let_nobody_in() {
    let (good, algorithm) = (with(&[]), |name: &str| Err(Rejection::Algorithm(name.to_owned())));
    let (body, signature) = good.rsplit_once('.').unwrap();
    let header_of = |header: Value| signed(&header, &claims());
    assert_eq!(verdict(&format!("{body}."), &oauth()), Err(Rejection::Signature));
    let mut other = URL_SAFE_NO_PAD.decode(signature).unwrap();
    other[9] ^= 1;
    assert_eq!(
        verdict(&format!("{body}.{}", URL_SAFE_NO_PAD.encode(other)), &oauth()),
        Err(Rejection::Signature)
    );
    let claims_of_another = with(&[("sub", json!("root"))]);
    let claims_of_another = claims_of_another.split('.').nth(1).unwrap();
    let mixed = format!("{}.{claims_of_another}.{signature}", body.split('.').next().unwrap());
    assert_eq!(verdict(&mixed, &oauth()), Err(Rejection::Signature));
    for name in ["none", "None", "HS256", "ES256K", "RSA", ""] {
        assert_eq!(verdict(&header_of(json!({"alg": name, "kid": "e"})), &oauth()), algorithm(name));
    }
    // A public key, taken for a secret of both sides.
    assert_eq!(verdict(&header_of(json!({"alg": "HS256", "kid": "o"})), &oauth()), algorithm("HS256"));
    let unknown = |name: Option<&str>| Err(Rejection::UnknownKey(name.map(str::to_owned)));
    assert_eq!(verdict(&header_of(json!({"alg": "ES256", "kid": "x"})), &oauth()), unknown(Some("x")));
    for not_for_it in ["enc", "ops-enc", "ops-sign", "ops-none", "ops-text", "ops-both"] {
        let token = header_of(json!({"alg": "ES256", "kid": not_for_it}));
        assert_eq!(verdict(&token, &oauth()), unknown(Some(not_for_it)));
    }
    assert_eq!(verdict(&header_of(json!({"alg": "ES256", "kid": "ops"})), &oauth()), known_as("joe"));
    assert_eq!(verdict(&header_of(json!({"alg": "RS256", "kid": "e"})), &oauth()), unknown(Some("e")));
    assert_eq!(verdict(&header_of(json!({"alg": "ES384", "kid": "e"})), &oauth()), unknown(Some("e")));
    assert_eq!(verdict(&header_of(json!({"alg": "ES256"})), &oauth()), known_as("joe"));
    let critical = json!({"alg": "ES256", "kid": "e", "crit": ["b64"], "b64": false});
    assert_eq!(verdict(&header_of(critical), &oauth()), Err(Rejection::Critical));
    let only = OAuth { algorithms: vec![Algorithm::Rs256], ..oauth() };
    assert_eq!(verdict(&good, &only), algorithm("ES256"));
    assert_eq!(verdict(BY_RS256, &only), known_as("joe"));
    assert_eq!(verdict(BY_PS256, &only), algorithm("PS256"));
    for broken in ["", "a", "a.b", "a.b.c", "..", &format!("{good}.e30"), &good[1..], &format!("{good}=")] {
        assert_eq!(verdict(broken, &oauth()), Err(Rejection::NoToken), "{broken}");
    }
}

#[test]
fn sets_of_keys() {
    let read = |text: &str| KeySet::read(text.as_bytes()).and_then(|keys| keys.has_any());
    assert_eq!(read("<html>"), Err(BrokenKeys::NoSet));
    assert_eq!(read("{}"), Err(BrokenKeys::NoSet));
    assert_eq!(read(r#"{"keys":[]}"#), Err(BrokenKeys::NoKey));
    assert_eq!(
        read(
            r#"{"keys":[{"kty":"oct","k":"AAAA"},{"kty":1},7,{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#
        ),
        Err(BrokenKeys::NoKey)
    );
    assert_eq!(
        read(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","alg":"HS256"}]}"#),
        Err(BrokenKeys::NoKey)
    );
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x}]}).to_string();
    let body = format!("{}.{}", encoded(&json!({"alg": "EdDSA", "kid": "any"})), encoded(&claims()));
    let token = format!("{body}.{}", URL_SAFE_NO_PAD.encode(pair.sign(body.as_bytes())));
    let keys = KeySet::read(set.as_bytes()).unwrap();
    let token = Token::read(&token, &oauth(), NOW).unwrap();
    assert!(!token.may_be_of(&keys), "a token that names its key is of that key");
    let body = format!("{}.{}", encoded(&json!({"alg": "EdDSA"})), encoded(&claims()));
    let token = format!("{body}.{}", URL_SAFE_NO_PAD.encode(pair.sign(body.as_bytes())));
    assert_eq!(Token::read(&token, &oauth(), NOW).unwrap().verify(&keys), known_as("joe"));
}

fn initial(data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [b"OAUTHBEARER\0", &length[..], data].concat()
}

/// What a first message comes to, in a word.
fn heard(data: &[u8]) -> String {
    match Exchange::start().0.on_response(&initial(data)) {
        Ok(Heard::Token(token)) => format!("token {}", *token),
        Ok(Heard::NoToken) => "no token".to_owned(),
        Ok(Heard::Ask(..)) => "ask".to_owned(),
        Ok(Heard::Over) => "over".to_owned(),
        Err(Malformed::Message(why)) => why.to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn first_messages() {
    let table: [(&str, &str); 31] = [
        ("n,,\x01auth=Bearer a.b.c\x01\x01", "token a.b.c"),
        ("y,,\x01host=db\x01port=5432\x01auth=bearer   a-._~+/9==\x01\x01", "token a-._~+/9=="),
        ("n,,\x01auth=\x01\x01", "no token"),
        ("n,,\x01auth=Bearer \x01\x01", "no token"),
        ("n,,\x01auth=Bearer ==\x01\x01", "no token"),
        ("n,,\x01auth=Bearer a b\x01\x01", "no token"),
        ("n,,\x01auth=Bearer a=b\x01\x01", "no token"),
        ("n,,\x01auth=Basic a\x01\x01", "no token"),
        ("n,,\x01auth=Bearer\ta\x01\x01", "no token"),
        ("", "The message is empty."),
        ("n,,\x01auth=Bearer a\x01\x01\0", "Message length does not match input length."),
        (
            "p=tls-server-end-point,,\x01auth=\x01\x01",
            "The server does not support channel binding for OAuth, but the client message includes channel binding data.",
        ),
        ("x", "Unexpected channel-binding flag."),
        ("n", "Comma expected after the channel-binding flag."),
        ("n,a=joe,\x01auth=\x01\x01", "client uses authorization identity, but it is not supported"),
        ("n,b", "Unexpected attribute in client-first-message."),
        ("n,", "Unexpected attribute in client-first-message."),
        ("n,,", "Key-value separator expected."),
        ("n,,auth=\x01\x01", "Key-value separator expected."),
        ("n,,\x01", "Message did not contain a final terminator."),
        ("n,,\x01\x01", "Message does not contain an auth value."),
        ("n,,\x01auth=a", "Message contains an unterminated key/value pair."),
        ("n,,\x01auth=a\x01", "Message did not contain a final terminator."),
        ("n,,\x01auth=a\x01\x01x", "Message contains additional data after the final terminator."),
        ("n,,\x01auth=a\x01auth=a\x01\x01", "Message contains multiple auth values."),
        ("n,,\x01auth\x01\x01", "Message contains a key without a value."),
        ("n,,\x01=a\x01\x01", "Message contains an empty key name."),
        ("n,,\x01a1=a\x01\x01", "Message contains an invalid key name."),
        ("n,,\x01a=\x7f\x01\x01", "Message contains an invalid value."),
        ("n,,\x01a=\u{e9}\x01\x01", "Message contains an invalid value."),
        ("n,,\x01host=db\x01\x01", "Message does not contain an auth value."),
    ];
    for (data, expected) in table {
        assert_eq!(heard(data.as_bytes()), expected, "{data:?}");
    }
}

#[test]
fn the_course_of_an_exchange() {
    let (exchange, request) = Exchange::start();
    assert_eq!(request, Request::Sasl(&["OAUTHBEARER"]));
    let empty = [b"OAUTHBEARER\0", &u32::MAX.to_be_bytes()[..]].concat();
    let Ok(Heard::Ask(exchange, request)) = exchange.on_response(&empty) else {
        panic!("no data is asked for")
    };
    assert_eq!(request, Request::SaslContinue(Vec::new()));
    let token = exchange.on_response(b"n,,\x01auth=Bearer x\x01\x01");
    assert!(matches!(token, Ok(Heard::Token(token)) if *token == "x"));
    let told = |issuer: &str| {
        let (exchange, request) =
            Exchange::fail(&OAuth { issuer: issuer.into(), scope: "a \"b\"".into(), ..oauth() });
        let Request::SaslContinue(json) = request else { panic!("{request:?}") };
        (exchange, String::from_utf8(json).unwrap())
    };
    let (exchange, json) = told("https://i/x");
    let expected = r#"{ "status": "invalid_token", "openid-configuration": "https://i/x/.well-known/openid-configuration", "scope": "a \"b\"" }"#;
    assert_eq!(json, expected);
    assert!(matches!(exchange.on_response(b"\x01"), Ok(Heard::Over)));
    let (exchange, json) = told("https://i/.well-known/oauth-authorization-server/x");
    assert!(json.contains(r#""https://i/.well-known/oauth-authorization-server/x""#), "{json}");
    let again = exchange.on_response(b"n,,\x01auth=Bearer x\x01\x01");
    assert!(matches!(again, Err(Malformed::Message("Client did not send a kvsep response."))));
    for (body, error) in [
        (&b"SCRAM-SHA-256\0\0\0\0\0"[..], Malformed::Mechanism),
        (b"OAUTHBEARER", Malformed::Initial),
        (b"OAUTHBEARER\0\0\0\0", Malformed::Initial),
        (b"OAUTHBEARER\0\0\0\0\x02n", Malformed::Initial),
        (b"OAUTHBEARER\0\xff\xff\xff\xffn", Malformed::Initial),
    ] {
        assert_eq!(Exchange::start().0.on_response(body).unwrap_err(), error, "{}", body.escape_ascii());
    }
}

proptest! {
    /// Nothing that isn't signed gets in, and nothing panics.
    #[test]
    fn any_bytes(body in proptest::collection::vec(any::<u8>(), 0..60), cut in 0..400_usize, with in any::<u8>()) {
        let _ = Exchange::start().0.on_response(&body);
        let _ = Exchange::start().0.on_response(&initial(&body));
        let _ = Exchange(State::First).on_response(&body);
        let _ = Exchange(State::Failed).on_response(&body);
        let _ = KeySet::read(&body);
        prop_assert!(verdict(&String::from_utf8_lossy(&body), &oauth()).is_err());
        let mut bytes = BY_RS256.as_bytes().to_vec();
        let place = cut % bytes.len();
        let before = std::mem::replace(&mut bytes[place], with);
        let is_same = before == with;
        prop_assert!(is_same || verdict(&String::from_utf8_lossy(&bytes), &oauth()).is_err());
    }
}

#[test]
fn issuers_by_what_they_publish() {
    for (address, expected) in [
        ("https://i", Some("https://i")),
        ("https://i/t/", Some("https://i/t/")),
        ("https://i/.well-known/openid-configuration", Some("https://i")),
        ("https://i/t/.well-known/openid-configuration", Some("https://i/t")),
        ("https://i/t/.well-known/oauth-authorization-server", Some("https://i/t")),
        ("https://i/.well-known/oauth-authorization-server/t/u", Some("https://i/t/u")),
        ("https://i/.well-known/openid-configuration/", Some("https://i/")),
        ("https://i/t/.well-known/oauth-authorization-server/u", None),
        ("https://i/.well-known/openid-configurations", None),
        ("https://i/.well-known/", None),
        ("https://i/.well-known/x/openid-configuration", None),
        ("https://i/.well-known/openid-configuration?a", None),
    ] {
        assert_eq!(issuer_at(address).as_deref(), expected, "{address}");
    }
}
