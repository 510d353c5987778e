//! Tables: what each unit takes, what it becomes, what it refuses.
use super::*;
use proptest::prelude::*;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

fn read<U: Unit>(toml: &str) -> Result<U::Value, Refusal> {
    U::from_toml(DeValue::parse(toml).expect("the test is TOML"))
}

fn takes<U: Unit>(table: &[(&str, U::Value)])
where
    U::Value: Debug,
{
    for (toml, expected) in table {
        assert_eq!(read::<U>(toml).as_ref(), Ok(expected), "{toml}");
        let shown = U::show(expected);
        if !U::SECRET {
            assert_eq!(read::<U>(&shown).as_ref(), Ok(expected), "{toml} shown as {shown}");
        }
    }
}

fn refuses<U: Unit>(table: &[&str])
where
    U::Value: Debug,
{
    for toml in table {
        assert!(read::<U>(toml).is_err(), "{toml} became {:?}", read::<U>(toml));
    }
}

#[test]
fn durations() {
    let table = [
        ("5", Duration::from_secs(5)),
        ("0.25", Duration::from_millis(250)),
        ("\"250ms\"", Duration::from_millis(250)),
        ("\"5s\"", Duration::from_secs(5)),
        ("\"5 s\"", Duration::from_secs(5)),
        ("\"1m\"", Duration::from_secs(60)),
        ("\"1min\"", Duration::from_secs(60)),
        ("\"1.5h\"", Duration::from_secs(5400)),
        ("\"2d\"", Duration::from_secs(172_800)),
        ("\"7\"", Duration::from_secs(7)),
        ("\"0\"", Duration::ZERO),
        ("0", Duration::ZERO),
    ];
    takes::<Seconds>(&table);
    let or_off: Vec<_> = table.map(|(toml, time)| (toml, Some(time).filter(|time| !time.is_zero()))).into();
    takes::<SecondsOrOff>(&or_off);
    let not = [
        "-1",
        "-0.5",
        "nan",
        "inf",
        "-inf",
        "true",
        "\"\"",
        "\"s\"",
        "\"5 parsecs\"",
        "\"-5s\"",
        "\"1e3\"",
        "\"1h30m\"",
        "9223372036854775807",
        "1e300",
        "99999999999999999999",
        "[5]",
        "1979-05-27",
        "\".\"",
        "\"1..5\"",
    ];
    refuses::<Seconds>(&not);
    refuses::<SecondsOrOff>(&not);
    takes::<SecondsOrSession>(&or_off);
    takes::<SecondsOrSession>(&[("\"session\"", Some(WHOLE_SESSION))]);
    refuses::<SecondsOrSession>(&not);
}

#[test]
fn durations_of_the_kernel() {
    takes::<MillisecondsOrOff>(&[
        ("0", None),
        ("1500", Some(Duration::from_millis(1500))),
        ("\"5s\"", Some(Duration::from_secs(5))),
        ("\"1500\"", Some(Duration::from_millis(1500))),
    ]);
    refuses::<MillisecondsOrOff>(&["-1", "0.5", "2147483648", "\"30d\""]);
    takes::<KeepaliveSeconds>(&[("0", None), ("\"1m\"", Some(Duration::from_secs(60)))]);
    refuses::<KeepaliveSeconds>(&["0.5", "\"250ms\"", "32768"]);
}

#[test]
fn numbers() {
    takes::<Number<1, 10>>(&[("1", 1), ("10", 10), ("0xa", 10)]);
    refuses::<Number<1, 10>>(&["0", "11", "-1", "5.0", "\"5\"", "true", "99999999999999999999"]);
    takes::<TcpPort>(&[("1", 1), ("65535", 65535)]);
    refuses::<TcpPort>(&["0", "65536", "70000", "-1", "\"6432\""]);
    takes::<Size>(&[("0", Limit::UNLIMITED), ("20", Limit::new(20))]);
    refuses::<Size>(&["-1", "1000001", "\"20\""]);
    takes::<PositiveOrNone<5>>(&[("0", None), ("5", NonZeroU32::new(5))]);
    refuses::<PositiveOrNone<5>>(&["6", "-1"]);
}

#[test]
fn limits_allow() {
    assert!(Limit::UNLIMITED.allows_another(u32::MAX));
    assert!(Limit::new(2).allows_another(1));
    assert!(!Limit::new(2).allows_another(2));
}

#[test]
fn file_modes_are_octal() {
    takes::<FileMode>(&[("0o777", 0o777), ("\"0777\"", 0o777), ("\"700\"", 0o700), ("\"0000\"", 0)]);
    refuses::<FileMode>(&[
        "777",
        "400",
        "0",
        "\"0o777\"",
        "\"888\"",
        "\"\"",
        "\"+7\"",
        "\"1777\"",
        "0o1000",
        "-1",
    ]);
}

#[test]
fn switches() {
    takes::<Switch>(&[("true", Switch::On), ("1", Switch::On), ("false", Switch::Off), ("0", Switch::Off)]);
    refuses::<Switch>(&["2", "-1", "\"true\"", "1.0"]);
}

#[test]
fn words() {
    takes::<OneOf<PoolMode>>(&[
        ("\"transaction\"", PoolMode::Transaction),
        ("\"Session\"", PoolMode::Session),
        ("\"statement\"", PoolMode::Statement),
    ]);
    takes::<OneOf<AuthType>>(&[
        ("\"plain\"", AuthType::Password),
        ("\"password\"", AuthType::Password),
        ("\"md5\"", AuthType::Md5),
        ("\"trust\"", AuthType::Trust),
        ("\"scram-sha-256\"", AuthType::ScramSha256),
        ("\"HBA\"", AuthType::Hba),
        ("\"cert\"", AuthType::Cert),
        ("\"peer\"", AuthType::Peer),
        ("\"any\"", AuthType::Any),
    ]);
    let hint = |toml| read::<OneOf<PoolMode>>(toml).expect_err("refused").hint;
    assert_eq!(hint("\"transation\"").as_deref(), Some("did you mean \"transaction\"?"));
    assert_eq!(hint("\"pipeline\""), None);
    assert_eq!(hint("1"), None);
}

#[test]
fn lists() {
    let ab = || vec!["a".to_owned(), "b".to_owned()];
    takes::<TextList>(&[
        ("\"\"", vec![]),
        ("[]", vec![]),
        ("\"a, b\"", ab()),
        ("\" a ,,b,\"", ab()),
        ("[\"a\", \" b\"]", ab()),
    ]);
    refuses::<TextList>(&["[1]", "[\"a\", 1]", "[\"\"]", "1", "\"a\\u0000b\"", "[[\"a\"]]"]);
}

#[test]
fn listen_addresses() {
    let v4 = || ListenAddr::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let v6 = || ListenAddr::Ip("::1".parse().expect("an address"));
    takes::<ListenAddrs>(&[
        ("\"\"", vec![]),
        ("\"127.0.0.1\"", vec![v4()]),
        ("\"127.0.0.1, ::1, 127.0.0.1\"", vec![v4(), v6()]),
        ("[\"127.0.0.1\", \"::1\"]", vec![v4(), v6()]),
        ("\"127.0.0.1,*\"", vec![ListenAddr::All]),
        ("\"localhost\"", vec![ListenAddr::Name("localhost".to_owned())]),
    ]);
    refuses::<ListenAddrs>(&[
        "\"127.0.0\"",
        "\"1.2.3.4:80\"",
        "\"256.1.1.1\"",
        "\"a b\"",
        "\"[::1]\"",
        "\"-x\"",
        "1",
    ]);
    takes::<SocketAddress>(&[
        ("\"\"", None),
        ("\"127.0.0.1:9127\"", "127.0.0.1:9127".parse().ok()),
        ("\"[::1]:1\"", "[::1]:1".parse().ok()),
    ]);
    refuses::<SocketAddress>(&["\"127.0.0.1\"", "\"127.0.0.1:0\"", "\":9127\"", "9127", "\"::1:9127x\""]);
}

#[test]
fn several_hosts() {
    let host = |name: &str| Host::Tcp(name.to_owned());
    takes::<HostNames>(&[
        ("\"a\"", Hosts::from(host("a"))),
        ("\"a,b, ::1\"", Hosts::of([host("a"), host("b"), host("::1")])),
        ("[\"a\", \"/run\"]", Hosts::of([host("a"), Host::Unix(PathBuf::from("/run"))])),
    ]);
    refuses::<HostNames>(&["\"\"", "\",\"", "[]", "\"a,b c\"", "[\"a\", \"\"]", "1"]);
}

#[test]
fn hosts() {
    takes::<HostName>(&[
        ("\"db.example\"", Host::Tcp("db.example".to_owned())),
        ("\"::1\"", Host::Tcp("::1".to_owned())),
        ("\"/run/postgresql\"", Host::Unix(PathBuf::from("/run/postgresql"))),
    ]);
    refuses::<HostName>(&[
        "\"\"",
        "\"a,b\"",
        "\"a b\"",
        "\"a\\u0000\"",
        "\"/a\\u0000\"",
        "\"db:5432\"",
        "\"1.2.3\"",
    ]);
    refuses::<HostName>(&[&format!("\"/{}\"", "x".repeat(90)), &format!("\"{}\"", "x".repeat(254))]);
}

#[test]
fn text() {
    let longest = "x".repeat(63);
    takes::<Name>(&[("\"app\"", "app".to_owned()), (&format!("\"{longest}\""), longest.clone())]);
    refuses::<Name>(&[
        "\"\"",
        "\"a\\u0000\"",
        &format!("\"{longest}x\""),
        &format!("\"{}\"", "é".repeat(32)),
        "1",
    ]);
    takes::<SqlOrNone>(&[
        ("\"\"", None),
        ("\"  \"", None),
        ("\"DISCARD ALL\"", Some("DISCARD ALL".to_owned())),
    ]);
    refuses::<SqlOrNone>(&["\"a\\u0000\"", "true"]);
    refuses::<Sql>(&["\"\""]);
    takes::<SocketDir>(&[("\"\"", None), ("\"/tmp\"", Some(PathBuf::from("/tmp")))]);
    refuses::<SocketDir>(&["\"tmp\"", "\"@abstract\"", &format!("\"/{}\"", "x".repeat(90))]);
    takes::<FilePath>(&[("\"\"", None), ("\"users.txt\"", Some(PathBuf::from("users.txt")))]);
    refuses::<FilePath>(&["\"a\\u0000\""]);
    takes::<Maybe<Name>>(&[("\"app\"", Some("app".to_owned()))]);
}

#[test]
fn secrets_are_never_shown() {
    let secret = read::<Secret>("\"hunter2\"").expect("a password");
    assert_eq!(secret.expose(), "hunter2");
    assert_eq!(Secret::show(&secret), "(secret)");
    assert!(!format!("{secret:?}").contains("hunter2"));
    refuses::<Secret>(&["\"\"", "\"a\\u0000\"", "12345", "\"SCRAM-SHA-256$hunter2\""]);
}

#[test]
fn nearest_words() {
    let known = ["pool_size", "pool_mode", "min_pool_size"];
    for (word, expected) in [
        ("pool_sizee", Some("pool_size")),
        ("Pool_Size", Some("pool_size")),
        ("min-pool-size", Some("min_pool_size")),
        ("poolmode", Some("pool_mode")),
        ("zzz", None),
        ("", None),
    ] {
        assert_eq!(nearest(word, known), expected, "{word}");
    }
}

proptest! {
    #[test]
    fn a_duration_shown_is_read_back(millis in 0_u64..1_000_000_000) {
        let time = Duration::from_millis(millis);
        prop_assert_eq!(read::<Seconds>(&Seconds::show(&time)), Ok(time));
    }

    #[test]
    fn no_text_makes_a_duration_panic(text in "[0-9.]{0,6}[ a-zµ]{0,4}") {
        let written = || TimeWritten::Text(text.clone());
        let seconds = Seconds::accept(written());
        prop_assert_eq!(seconds.is_ok(), SecondsOrOff::accept(written()).is_ok());
    }
}
