//! The series of prometheus-community's pgbouncer_exporter, made from the tables it reads, for dashboards and alerts that are there
//! already.

use super::sockets::phase;
use super::{config, databases, lists, pools, process, stats};
use crate::admin::realm::Realm;
use crate::admin::table::{Column, Value};
use crate::metrics::{push_escaped, push_number};
use crate::roster::{Entry, Named};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

/// A column that becomes a series: its name there, and what its values are multiplied by.
type Mapped = (&'static str, &'static str, f64);

/// A table whose columns are series and whose rows are told apart by labels.
struct Mapping {
    prefix: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    columns: &'static [Mapped],
}

const POOLS: Mapping = Mapping {
    prefix: "pools",
    kind: "gauge",
    labels: &["database", "user"],
    columns: &[
        ("cl_active", "client_active_connections", 1.0),
        ("cl_waiting", "client_waiting_connections", 1.0),
        ("cl_active_cancel_req", "client_active_cancel_connections", 1.0),
        ("cl_waiting_cancel_req", "client_waiting_cancel_connections", 1.0),
        ("sv_active", "server_active_connections", 1.0),
        ("sv_active_cancel", "server_active_cancel_connections", 1.0),
        ("sv_being_canceled", "server_being_canceled_connections", 1.0),
        ("sv_idle", "server_idle_connections", 1.0),
        ("sv_used", "server_used_connections", 1.0),
        ("sv_tested", "server_testing_connections", 1.0),
        ("sv_login", "server_login_connections", 1.0),
        ("maxwait", "client_maxwait_seconds", 1.0),
    ],
};

const DATABASES: Mapping = Mapping {
    prefix: "databases",
    kind: "gauge",
    labels: &["name", "host", "port", "database", "force_user", "pool_mode"],
    columns: &[
        ("pool_size", "pool_size", 1.0),
        ("reserve_pool_size", "reserve_pool", 1.0),
        ("max_connections", "max_connections", 1.0),
        ("current_connections", "current_connections", 1.0),
        ("paused", "paused", 1.0),
        ("disabled", "disabled", 1.0),
    ],
};

const STATS: Mapping = Mapping {
    prefix: "stats_totals",
    kind: "counter",
    labels: &["database"],
    columns: &[
        ("server_assignment_count", "server_assignments_total", 1.0),
        ("xact_count", "sql_transactions_pooled_total", 1.0),
        ("query_count", "queries_pooled_total", 1.0),
        ("bytes_received", "received_bytes_total", 1.0),
        ("bytes_sent", "sent_bytes_total", 1.0),
        ("xact_time", "server_in_transaction_seconds_total", 1e-6),
        ("query_time", "queries_duration_seconds_total", 1e-6),
        ("wait_time", "client_wait_seconds_total", 1e-6),
        ("client_parse_count", "client_parses_total", 1.0),
        ("server_parse_count", "server_parses_total", 1.0),
        ("bind_count", "binds_total", 1.0),
    ],
};

const LISTS: [(&str, &str); 11] = [
    ("databases", "databases"),
    ("users", "users"),
    ("pools", "pools"),
    ("free_clients", "free_clients"),
    ("used_clients", "used_clients"),
    ("login_clients", "login_clients"),
    ("free_servers", "free_servers"),
    ("used_servers", "used_servers"),
    ("dns_names", "cached_dns_names"),
    ("dns_zones", "cached_dns_zones"),
    ("dns_queries", "in_flight_dns_queries"),
];

const CONFIG: [(&str, &str); 2] =
    [("max_client_conn", "max_client_connections"), ("max_user_connections", "max_user_connections")];

/// Names of applications are chosen by clients: those beyond this many series are counted under none.
const APPLICATIONS_MAX: usize = 1_000;

/// About how many bytes a line takes.
const LINE: usize = 128;

/// All of it, in Prometheus' text format; `clients` are all there are, with what their sessions have said of themselves.
pub(in crate::admin) fn exposition(realm: &dyn Realm, clients: &[Named]) -> String {
    // Once for all tables: making them takes longer than writing what they are made for.
    let (views, listed) =
        (realm.views(), clients.iter().map(|(entry, _)| Arc::clone(entry)).collect::<Vec<_>>());
    let (databases, totals) = (databases::rows_of(realm, &views), stats::totals_by_database(realm));
    let lines = views.len() * (POOLS.columns.len() + 1)
        + databases.len() * DATABASES.columns.len()
        + totals.len() * STATS.columns.len();
    let mut out = Text(String::with_capacity(lines * LINE));
    out.family("up", "gauge", "Always 1: these series are pgweir's own.");
    out.sample("up", &[], 1.0);
    out.family("version_info", "gauge", "The version, as SHOW VERSION tells it.");
    if let Some(Value::Text(version)) = process::version().into_iter().flatten().next() {
        out.sample("version_info", &[("version", &version)], 1.0);
    }
    out.table(&POOLS, &pools::COLUMNS, &pools::rows_of(realm, &views));
    out.table(&DATABASES, &databases::COLUMNS, &databases);
    out.table(&STATS, &stats::STATS_TOTALS, &totals);
    out.named("", &LISTS, &lists::rows_of(realm, &views, &listed));
    out.named("config_", &CONFIG, &config::rows(realm));
    out.connections(realm, clients);
    out.0
}

/// The text format under construction.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP pgbouncer_{name} {help}\n# TYPE pgbouncer_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str("pgbouncer_");
        self.0.push_str(name);
        push_braced(&mut self.0, labels);
        self.value(value);
    }

    fn value(&mut self, value: f64) {
        self.0.push(' ');
        push_value(&mut self.0, value);
        self.0.push('\n');
    }

    fn table(&mut self, mapping: &Mapping, columns: &[Column], rows: &[Vec<Value>]) {
        let place = |name: &str| columns.iter().position(|(column, _)| *column == name);
        let named: Vec<_> = mapping.labels.iter().filter_map(|label| Some((*label, place(label)?))).collect();
        let (mut labels, mut ends) = (String::new(), Vec::with_capacity(rows.len()));
        for row in rows {
            let values: Vec<_> = named.iter().map(|(label, at)| (*label, text(&row[*at]))).collect();
            push_braced(&mut labels, &values);
            ends.push(labels.len());
        }
        for (column, series, factor) in mapping.columns {
            let Some(at) = place(column) else { continue };
            let name = format!("{}_{series}", mapping.prefix);
            self.family(&name, mapping.kind, &format!("{column} of SHOW {}.", mapping.prefix.to_uppercase()));
            let mut begin = 0;
            for (row, end) in rows.iter().zip(&ends) {
                self.0.push_str("pgbouncer_");
                self.0.push_str(&name);
                self.0.push_str(&labels[begin..*end]);
                self.value(number(&row[at]) * factor);
                begin = *end;
            }
        }
    }

    /// How many clients each application has; of consoles, too.
    fn connections(&mut self, realm: &dyn Realm, clients: &[Named]) {
        let consoles = realm.consoles().list();
        let guests = realm.desk().guests.lock().clone();
        let consoles = consoles.iter().map(|entry| {
            (entry, guests.get(&entry.id).map_or("", |guest| &*guest.application_name), "active")
        });
        let clients = of_a_kind(clients).into_iter();
        let consoles = consoles.map(|consoles| (consoles, 1));
        let mut connections: BTreeMap<[&str; 4], u32> = BTreeMap::new();
        for ((entry, application, state), n) in clients.chain(consoles) {
            let mut key = [&*entry.place.database, &*entry.place.login, application, state];
            if connections.len() >= APPLICATIONS_MAX && !connections.contains_key(&key) {
                key[2] = "";
            }
            *connections.entry(key).or_insert(0) += n;
        }
        self.family("client_connections", "gauge", "Clients by database, user, application_name and state.");
        for ([database, user, application, state], n) in connections {
            let labels =
                [("database", database), ("user", user), ("application_name", application), ("state", state)];
            self.sample("client_connections", &labels, f64::from(n));
        }
    }

    /// A table of names and values, of which these are series.
    fn named(&mut self, prefix: &str, names: &[(&str, &str)], rows: &[Vec<Value>]) {
        for (known, series) in names {
            let row = rows.iter().find(|row| matches!(&row[0], Value::Text(name) if name == known));
            let Some(value) = row.map(|row| number(&row[1])).filter(|value| value.is_finite()) else {
                continue;
            };
            let name = format!("{prefix}{series}");
            self.family(&name, "gauge", &format!("{known}, as the console shows it."));
            self.sample(&name, &[], value);
        }
    }
}

/// A client, what it calls itself and what it does.
type Kind<'a> = (&'a Arc<Entry>, &'a str, &'static str);

/// Clients that have pool, name and state in common, one of them for all: there are few such kinds, and telling them apart by
/// where a pool's names lie takes less than comparing the names.
fn of_a_kind(clients: &[Named]) -> Vec<(Kind<'_>, u32)> {
    let mut kinds: HashMap<_, (Kind<'_>, u32)> = HashMap::new();
    for (entry, name) in clients {
        let (application, state) = (name.as_deref().unwrap_or_default(), phase(entry.phase().0));
        let kind = (Arc::as_ptr(&entry.place), application, state);
        kinds.entry(kind).or_insert(((entry, application, state), 0)).1 += 1;
    }
    kinds.into_values().collect()
}

/// Labels as they stand behind a name; nothing if there are none.
fn push_braced<V: AsRef<str>>(out: &mut String, labels: &[(&str, V)]) {
    for (at, (label, value)) in labels.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(label);
        out.push_str("=\"");
        push_escaped(out, value.as_ref());
        out.push('"');
    }
    out.push_str(if labels.is_empty() { "" } else { "}" });
}

/// As its Display; most are whole numbers, which are written faster as such.
fn push_value(out: &mut String, value: f64) {
    let whole = value as u64;
    if whole < 1 << 53 && whole as f64 == value && value.is_sign_positive() {
        push_number(out, whole);
    } else {
        let _ = write!(out, "{value}");
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Text(text) => Cow::Borrowed(text),
        Value::Number(number) => number.to_string().into(),
        Value::Ratio(sum, count) => (*sum as f64 / *count as f64).to_string().into(),
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Null => f64::NAN,
        Value::Text(text) => text.parse().unwrap_or(f64::NAN),
        Value::Number(number) => *number as f64,
        Value::Ratio(sum, count) => *sum as f64 / *count as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every column of a mapping is one of its table.
    #[test]
    fn columns_exist() {
        for (mapping, columns) in [
            (POOLS, &pools::COLUMNS[..]),
            (DATABASES, &databases::COLUMNS[..]),
            (STATS, &stats::STATS_TOTALS[..]),
        ] {
            let names = mapping.labels.iter().chain(mapping.columns.iter().map(|(column, ..)| column));
            for name in names {
                assert!(columns.iter().any(|(column, _)| column == name), "{}: {name}", mapping.prefix);
            }
        }
    }

    #[test]
    fn values_are_written_as_numbers_are_displayed() {
        let wholes = [0, 1, 9, 10, 1_000, 999_999_999, (1 << 53) - 1, 1 << 53, 1 << 60, u64::MAX];
        let values = wholes.iter().flat_map(|n| [*n as f64, *n as f64 * 1e-6, -(*n as f64)]);
        for value in values.chain([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, 1e300, 1e-300]) {
            let mut out = String::new();
            push_value(&mut out, value);
            assert_eq!(out, value.to_string());
        }
    }

    /// Whatever is done about their cost, these bytes are what dashboards have been told so far.
    #[test]
    fn rows_are_written_to_the_byte() {
        use crate::admin::table::Type::{Int4, Text as T};
        let mut out = Text::default();
        out.family("up", "gauge", "Always 1.");
        out.sample("up", &[], 1.0);
        let mapping = Mapping {
            prefix: "t",
            kind: "gauge",
            labels: &["name", "port"],
            columns: &[("n", "many", 1.0), ("gone", "gone", 1.0), ("us", "seconds", 1e-6)],
        };
        let rows = [
            vec![Value::from("a"), Value::from(5432_u32), Value::from(12_345_u32), Value::from(1_u32)],
            vec![Value::from("b\"c"), Value::Null, Value::Null, Value::from("x")],
        ];
        out.table(&mapping, &[("name", T), ("port", Int4), ("n", Int4), ("us", Int4)], &rows);
        assert_eq!(
            out.0,
            "# HELP pgbouncer_up Always 1.\n# TYPE pgbouncer_up gauge\npgbouncer_up 1\n\
             # HELP pgbouncer_t_many n of SHOW T.\n# TYPE pgbouncer_t_many gauge\n\
             pgbouncer_t_many{name=\"a\",port=\"5432\"} 12345\npgbouncer_t_many{name=\"b\\\"c\",port=\"\"} NaN\n\
             # HELP pgbouncer_t_seconds us of SHOW T.\n# TYPE pgbouncer_t_seconds gauge\n\
             pgbouncer_t_seconds{name=\"a\",port=\"5432\"} 0.000001\npgbouncer_t_seconds{name=\"b\\\"c\",port=\"\"} NaN\n"
        );
    }

    #[test]
    fn labels_are_escaped_and_nulls_have_no_value() {
        let mut out = Text::default();
        let rows = [vec![Value::from("a\"b\\c\nd"), Value::Null, Value::from(1_500_000_u64)]];
        let mapping = Mapping {
            prefix: "t",
            kind: "counter",
            labels: &["name", "none"],
            columns: &[("time", "seconds_total", 1e-6)],
        };
        use crate::admin::table::Type::{Numeric, Text as T};
        out.table(&mapping, &[("name", T), ("none", T), ("time", Numeric)], &rows);
        let sample = out.0.lines().last().unwrap_or_default();
        assert_eq!(sample, r#"pgbouncer_t_seconds_total{name="a\"b\\c\nd",none=""} 1.5"#);
    }
}
