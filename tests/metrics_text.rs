//! The text Prometheus gets, held against a strict reading of the format, and the alert rules held against the text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pgweir::metrics::{
    CancelOutcome, Certificate, CloseReason, Exposition, FAMILIES, Gauges, Kind, LoginFailure, Metrics,
    Notifications, PinReason, PoolGauges, Refusal,
};

type Labels = Vec<(String, String)>;

#[derive(Debug, Default)]
struct Text {
    help: BTreeMap<String, String>,
    kind: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Text {
    /// Everything the format demands: HELP and TYPE before the samples, families not interleaved, each series once.
    fn parse(text: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut family = String::new();
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
                    return Err(format!("short comment: {line}"));
                };
                let map = match word {
                    "HELP" => &mut parsed.help,
                    "TYPE" => &mut parsed.kind,
                    _ => return Err(format!("unknown comment: {line}")),
                };
                if map.insert(name.to_owned(), rest.to_owned()).is_some() {
                    return Err(format!("{word} twice: {name}"));
                }
                family = name.to_owned();
                continue;
            }
            let (name, labels, value) = sample(line)?;
            if !parsed.kind.contains_key(&family) || !parsed.help.contains_key(&family) {
                return Err(format!("no HELP or TYPE before: {line}"));
            }
            if base(&name, &parsed.kind[&family]) != family {
                return Err(format!("not of family {family}: {line}"));
            }
            if parsed.samples.insert((name, labels), value).is_some() {
                return Err(format!("series twice: {line}"));
            }
        }
        Ok(parsed)
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let key = (name.to_owned(), labels);
        *self.samples.get(&key).unwrap_or_else(|| panic!("no {key:?}"))
    }
}

fn base<'a>(name: &'a str, kind: &str) -> &'a str {
    let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or("")
}

fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let wrong = |what: &str| format!("{what}: {line}");
    let end = line.find(['{', ' ']).ok_or_else(|| wrong("no value"))?;
    let (name, mut rest) = line.split_at(end);
    if !legal(name) {
        return Err(wrong("name"));
    }
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or_else(|| wrong("label"))?;
            let (value, after) = quoted(after).ok_or_else(|| wrong("label value"))?;
            if !legal(label) || labels.iter().any(|(known, _)| known == label) {
                return Err(wrong("label name"));
            }
            labels.push((label.to_owned(), value));
            match after.split_at_checked(1) {
                Some((",", more)) => rest = more,
                Some(("}", more)) => {
                    rest = more;
                    break;
                }
                _ => return Err(wrong("after a label")),
            }
        }
    }
    let number = rest.strip_prefix(' ').ok_or_else(|| wrong("blank"))?;
    let value = number.parse().map_err(|_| wrong("number"))?;
    Ok((name.to_owned(), labels, value))
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            (_, '\n') => return None,
            (_, c) => value.push(c),
        }
    }
}

fn legal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

struct Busy;

impl Gauges for Busy {
    fn gauges(&self) -> PoolGauges {
        PoolGauges {
            clients_active: 1,
            clients_waiting: 2,
            clients_idle: 3,
            servers_active: 4,
            servers_idle: 5,
            servers_used: 6,
            servers_login: 7,
            servers_being_canceled: 8,
            reserve_in_use: 2,
            clients_pinned: 3,
            pins: [1; PinReason::ALL.len()],
            waiting_for_pins: 1,
            mode: "transaction",
            paused: false,
            max_wait: Duration::from_millis(1500),
            size_limit: Some(20),
            reserve_limit: 5,
            listening_servers: 1,
            subscriptions: 9,
            notifications: Notifications { delivered: 10, dropped: 11, gaps: 12 },
            held_up: Default::default(),
        }
    }
}

/// Makes every family have a sample; gives back what has to live for the gauges.
fn exercise(metrics: &Metrics, database: &str, user: &str) -> Arc<dyn Gauges> {
    let pool = metrics.pool(database, user);
    let busy: Arc<dyn Gauges> = Arc::new(Busy);
    pool.observe(Arc::downgrade(&busy));
    let cells = pool.worker(0);
    cells.transaction(3_000_000);
    cells.query(100_000);
    cells.queries(4);
    cells.wait(250_000_000_000);
    cells.assigned();
    cells.client_bytes(1, 2);
    cells.server_bytes(3, 4);
    cells.client_error(*b"57");
    cells.server_error(*b"23");
    cells.pinned(PinReason::TempTable);
    pool.login_ok(2_000_000);
    pool.login_failed(LoginFailure::Credentials);
    pool.server_connected(5_000_000);
    pool.server_connect_failed();
    pool.server_closed(CloseReason::Lifetime);
    pool.cancel(CancelOutcome::Sent);
    metrics.client_accepted();
    metrics.client_refused(Refusal::MaxClientConn);
    metrics.cancel_request();
    let file = "server.pem".to_owned();
    metrics.set_certificates(vec![Certificate { setting: "client_tls_cert_file", file, until: 9 }]);
    busy
}

fn render(metrics: &Arc<Metrics>) -> Text {
    let text = Exposition::new(Arc::clone(metrics)).render().expect("the table is legal");
    Text::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn the_strict_parser_is_strict() {
    let good = "# HELP a_total x y\n# TYPE a_total counter\na_total{b=\"c\\\"\\\\\\n\",d=\"\"} 1\n";
    let parsed = Text::parse(good).unwrap();
    assert_eq!(parsed.value("a_total", &[("b", "c\"\\\n"), ("d", "")]), 1.0);
    for (from, to) in [
        ("# HELP a_total x y\n", ""),
        ("# TYPE a_total counter\n", ""),
        ("counter\na_total", "counter\nb_total"),
        ("\\n", "\\t"),
        ("\\\"", "\""),
        (" 1\n", " one\n"),
        (" 1\n", " 1"),
        ("} 1", " 1"),
        ("d=", "b="),
        ("d=", "d-e="),
        ("# TYPE", "# KIND"),
    ] {
        assert!(Text::parse(&good.replace(from, to)).is_err(), "{from:?} -> {to:?}");
    }
    let line = "a_total{b=\"c\"} 1\n";
    assert!(Text::parse(&format!("# HELP a_total x\n# TYPE a_total counter\n{line}{line}")).is_err());
}

#[test]
fn every_family_is_told_as_described() {
    let metrics = Arc::new(Metrics::new(1));
    let _pool = exercise(&metrics, "app", "alice");
    let text = render(&metrics);
    for family in FAMILIES {
        assert_eq!(text.help.get(family.name).map(String::as_str), Some(family.help));
        let kind = format!("{:?}", family.kind).to_lowercase();
        assert_eq!(text.kind.get(family.name), Some(&kind), "{}", family.name);
        let mut any = false;
        for (name, labels) in text.samples.keys().filter(|(name, _)| base(name, &kind) == family.name) {
            let told: Vec<_> = labels.iter().map(|(name, _)| name.as_str()).filter(|n| *n != "le").collect();
            assert_eq!(told, family.labels, "{name}");
            any = true;
        }
        assert!(any, "{} has no sample", family.name);
    }
    assert_eq!(text.kind.len(), FAMILIES.len(), "nothing undescribed");
}

/// Name after `pgweir_pool_`, labels after the pool's, value.
type Case = (&'static str, &'static [(&'static str, &'static str)], f64);

#[test]
fn values_are_what_was_counted() {
    let metrics = Arc::new(Metrics::new(1));
    let _pool = exercise(&metrics, "app", "alice");
    let text = render(&metrics);
    let cases: &[Case] = &[
        ("transactions_total", &[], 1.0),
        ("queries_total", &[], 5.0),
        ("assignments_total", &[], 2.0),
        ("client_bytes_total", &[("direction", "in")], 1.0),
        ("client_bytes_total", &[("direction", "out")], 2.0),
        ("server_bytes_total", &[("direction", "in")], 3.0),
        ("server_bytes_total", &[("direction", "out")], 4.0),
        ("errors_total", &[("source", "pgweir"), ("class", "57")], 1.0),
        ("errors_total", &[("source", "postgresql"), ("class", "23")], 1.0),
        ("pins_total", &[("reason", "temp_table")], 1.0),
        ("logins_total", &[], 1.0),
        ("server_connects_total", &[("result", "ok")], 1.0),
        ("server_connects_total", &[("result", "failed")], 1.0),
        ("server_closes_total", &[("reason", "lifetime")], 1.0),
        ("server_closes_total", &[("reason", "server_lost")], 0.0),
        ("cancels_total", &[("outcome", "sent")], 1.0),
        ("cancels_total", &[("outcome", "ignored")], 0.0),
        ("clients", &[("state", "waiting")], 2.0),
        ("servers", &[("state", "being_canceled")], 8.0),
        ("max_wait_seconds", &[], 1.5),
        ("size_limit", &[("kind", "normal")], 20.0),
        ("size_limit", &[("kind", "reserve")], 5.0),
        ("transaction_seconds_bucket", &[("le", "0.002")], 0.0),
        ("transaction_seconds_bucket", &[("le", "0.005")], 1.0),
        ("transaction_seconds_sum", &[], 0.003),
        ("query_seconds_bucket", &[("le", "0.00005")], 0.0),
        ("query_seconds_bucket", &[("le", "0.0001")], 1.0),
        ("wait_seconds_bucket", &[("le", "200")], 0.0),
        ("wait_seconds_bucket", &[("le", "+Inf")], 1.0),
        ("login_seconds_bucket", &[("le", "0.002")], 1.0),
        ("connect_seconds_count", &[], 1.0),
    ];
    for (name, more, expected) in cases {
        let labels: Vec<_> = [("database", "app"), ("user", "alice")].iter().chain(*more).copied().collect();
        assert_eq!(text.value(&format!("pgweir_pool_{name}"), &labels), *expected, "{name} {more:?}");
    }
    assert_eq!(text.value("pgweir_login_failures_total", &[("reason", "credentials")]), 1.0);
    assert_eq!(text.value("pgweir_client_connections_refused_total", &[("reason", "max_client_conn")]), 1.0);
}

#[test]
fn histograms_are_cumulative_bounded_and_end_in_inf() {
    let metrics = Arc::new(Metrics::new(1));
    let pool = metrics.pool("app", "alice");
    for exponent in 0..64 {
        pool.worker(0).query(1 << exponent);
        pool.login_ok(1 << exponent);
    }
    let text = render(&metrics);
    for family in FAMILIES.iter().filter(|family| family.kind == Kind::Histogram) {
        let bucket = format!("{}_bucket", family.name);
        let buckets = text.samples.iter().filter(|((name, _), _)| *name == bucket);
        let mut buckets: Vec<(f64, f64)> =
            buckets.map(|((_, labels), n)| (labels.last().unwrap().1.parse().unwrap(), *n)).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!((12..=26).contains(&buckets.len()), "{}", family.name);
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{}", family.name);
        let count = text.value(&format!("{}_count", family.name), &[("database", "app"), ("user", "alice")]);
        assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, count), "{}", family.name);
    }
}

#[test]
fn counters_never_fall() {
    let metrics = Arc::new(Metrics::new(1));
    let mut last = Text::default();
    for _ in 0..3 {
        let pool = exercise(&metrics, "app", "alice");
        let now = render(&metrics);
        drop(pool);
        let mut rising = 0;
        for ((name, labels), value) in &last.samples {
            let gauge = last.kind.get(name).is_some_and(|kind| kind == "gauge");
            let later = now.samples.get(&(name.clone(), labels.clone()));
            assert!(gauge || later.is_some_and(|later| later >= value), "{name} {labels:?}");
            rising += usize::from(!gauge && later.is_some_and(|later| later > value));
        }
        assert!(last.samples.is_empty() || rising > 20, "{rising}");
        last = now;
    }
}

#[test]
fn hostile_names_stay_inside_their_quotes() {
    let metrics = Arc::new(Metrics::new(1));
    let names = ["a\"b", "a\\", "a\nb", "} 1\n# TYPE x counter", "é\u{1F600}\0\r\t", "{a=\"b\"}"];
    let kept: Vec<_> = names.iter().map(|name| exercise(&metrics, name, name)).collect();
    let text = render(&metrics);
    for name in names {
        assert_eq!(text.value("pgweir_pool_queries_total", &[("database", name), ("user", name)]), 5.0);
    }
    assert_eq!(text.value("pgweir_pools", &[]), kept.len() as f64);
}

#[test]
fn a_removed_pool_is_told_no_more() {
    let metrics = Arc::new(Metrics::new(1));
    let _kept = [exercise(&metrics, "app", "alice"), exercise(&metrics, "app", "bob")];
    metrics.remove("app", "alice");
    let text = render(&metrics);
    assert!(text.samples.keys().all(|(_, labels)| !labels.iter().any(|(_, value)| value == "alice")));
    assert_eq!(text.value("pgweir_pool_queries_total", &[("database", "app"), ("user", "bob")]), 5.0);
}

/// All words of the rules' expressions.
fn expressions(rules: &str) -> Vec<String> {
    let (mut found, mut block): (Vec<String>, Option<usize>) = (Vec::new(), None);
    for line in rules.lines() {
        let indent = line.len() - line.trim_start().len();
        match (block, line.trim_start().strip_prefix("expr:")) {
            (_, Some(rest)) => {
                found.push(rest.trim().trim_start_matches('|').to_owned());
                block = Some(indent);
            }
            (Some(outer), None) if indent > outer => {
                found.last_mut().into_iter().for_each(|e| e.push_str(line));
            }
            _ => block = None,
        }
    }
    found
}

#[test]
fn alert_rules_use_only_series_that_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus/alerts.yml");
    let rules = std::fs::read_to_string(path).unwrap();
    let metrics = Arc::new(Metrics::new(1));
    let _pool = exercise(&metrics, "app", "alice");
    metrics.pool("app", "alice").server_closed(CloseReason::ServerLost);
    let text = render(&metrics);
    let known: BTreeSet<&str> = text.samples.keys().map(|(name, _)| name.as_str()).collect();
    let expressions = expressions(&rules);
    assert_eq!(expressions.len(), rules.matches("- alert:").count());
    for expression in &expressions {
        let opened = expression.matches(['(', '{', '[']).count();
        assert_eq!(opened, expression.matches([')', '}', ']']).count(), "{expression}");
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<_> = words.filter(|word| word.starts_with("pgweir_")).collect();
        assert!(!names.is_empty() || expression.contains("up{job=\"pgweir\"}"), "{expression}");
        for name in names {
            assert!(known.contains(name), "{name} in {expression}");
        }
        for (label, value) in matchers(expression) {
            let exists =
                text.samples.keys().any(|(_, labels)| labels.contains(&(label.clone(), value.clone())));
            assert!(exists || label == "job", "{label}={value} in {expression}");
        }
    }
    for subject in
        ["ready", "certificate_expiry", "max_wait", "size_limit", "result=\"failed\"", "login_failures"]
    {
        assert!(expressions.iter().any(|expression| expression.contains(subject)), "{subject}");
    }
}

/// The `label="value"` pairs of an expression.
fn matchers(expression: &str) -> Vec<(String, String)> {
    let inside =
        expression.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(inside, _)| inside);
    let pairs = inside.flat_map(|inside| inside.split(',')).filter_map(|pair| pair.split_once("=\""));
    pairs.map(|(l, v)| (l.trim_end_matches('!').to_owned(), v.trim_end_matches('"').to_owned())).collect()
}

/// Prometheus' own check, where it is installed.
#[test]
fn promtool_takes_the_alert_rules() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus/alerts.yml");
    let Ok(checked) = std::process::Command::new("promtool").args(["check", "rules", path]).output() else {
        println!("NOT CHECKED by promtool: there is none; it is in Debian's package prometheus");
        return;
    };
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("SUCCESS"), "{said}");
}

/// Every series the dashboard asks for is one that is served, with the labels it is told apart by.
#[test]
fn the_dashboard_uses_only_series_that_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/grafana/pgweir.json");
    let board: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let metrics = Arc::new(Metrics::new(1));
    let _pool = exercise(&metrics, "app", "alice");
    let text = render(&metrics);
    let mut expressions = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        expressions.extend(
            panel["targets"].as_array().unwrap().iter().map(|t| t["expr"].as_str().unwrap().to_owned()),
        );
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        expressions.push(variable["query"].as_str().unwrap().to_owned());
    }
    assert!(expressions.len() > 20, "{expressions:?}");
    for expression in &expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("pgweir_")) {
            let labels = text.samples.keys().find(|(known, _)| known == name).map(|(_, labels)| labels);
            let labels = labels.unwrap_or_else(|| panic!("{name} in {expression}"));
            let by_database = expression.contains(&format!("{name}{{")) && expression.contains("database=~");
            assert!(
                !by_database || labels.iter().any(|(label, _)| label == "database"),
                "{name} in {expression}"
            );
        }
    }
}
