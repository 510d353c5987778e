//! What operators look at: advice on pools' sizes, in the console and by HTTP.

mod support;

use support::cluster::Cluster;
use support::eventually;
use support::messages;
use support::pgweir::{Config, Pgweir};
use support::raw::Client;

fn config() -> Config {
    Config::new(Cluster::shared()).set("stats_users", "trusty").set("stats_period", 1)
}

/// A value of the first row of SHOW ADVICE.
fn told(console: &mut Client, column: &str) -> String {
    let replies = console.query("SHOW ADVICE");
    let mut rest = &replies[0].body[2..];
    let at = (0..).find(|_| {
        let end = rest.iter().position(|byte| *byte == 0).expect("such a column");
        let found = &rest[..end] == column.as_bytes();
        rest = &rest[end + 19..];
        found
    });
    let values = replies[1].columns();
    values[at.expect("found")].clone().unwrap_or_else(|| "-".to_owned())
}

/// Three clients take turns at one server: by Little's law all of it is busy and two wait.
#[test]
fn a_pool_too_small_is_told_so() {
    let pgweir = Pgweir::start(&config().set("default_pool_size", 1));
    let mut console = Client::connect(&pgweir.target("trusty", "pgweir"));
    let mut clients: Vec<_> = (0..4).map(|_| pgweir.client()).collect();
    assert_eq!(told(&mut console, "verdict"), "unknown");
    assert_eq!(told(&mut console, "advice"), "Nothing was asked of it in the last hour.");
    eventually("advice", || {
        for client in &mut clients {
            client.send(&messages::query("SELECT pg_sleep(0.02)"));
        }
        clients.iter_mut().for_each(|client| drop(client.read_until_ready()));
        told(&mut console, "verdict") == "too small"
    });
    assert_eq!(
        (told(&mut console, "pool_size"), told(&mut console, "recommended")),
        ("1".into(), "2".into())
    );
    let sentence = told(&mut console, "advice");
    assert!(sentence.starts_with("Too small: ") && sentence.contains("2 would make it"), "{sentence}");
    let number = |console: &mut Client, column: &str| told(console, column).parse::<f64>().expect("a number");
    assert!(number(&mut console, "xact_us") > 15_000.0 && number(&mut console, "wait_us") > 10_000.0);
    assert!(number(&mut console, "recommended_wait_us") < number(&mut console, "expected_wait_us"));
    assert!(told(&mut console, "assumptions").contains("Allen and Cunneen"));

    let (status, body) = pgweir.http("/advice");
    assert_eq!(status, 200, "{body}");
    let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let pool = &json["pools"][0];
    assert_eq!((pool["database"].as_str(), pool["user"].as_str()), (Some("app"), Some("app")));
    assert_eq!((pool["verdict"].as_str(), pool["recommended"].as_u64()), (Some("too small"), Some(2)));
    assert!(pool["evidence"]["servers_busy"].as_f64() > Some(0.5), "{pool}");
    let (_, text) = pgweir.http("/advice?text");
    assert!(text.starts_with("app app: Too small: ") && text.contains("1 pools."), "{text}");
}
