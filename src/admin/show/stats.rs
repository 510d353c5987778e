//! SHOW STATS, STATS_TOTALS, STATS_AVERAGES and TOTALS: what the pools of each database have counted since the start, and a
//! second in the last period.

use super::{Rows, and};
use crate::admin::DATABASE;
use crate::admin::averages::{Sums, by_database};
use crate::admin::realm::Realm;
use crate::admin::table::Type::{Numeric, Text};
use crate::admin::table::{Column, Value, row};
use std::collections::BTreeMap;

pub(super) const STATS: [Column; 25] = [
    ("database", Text),
    ("total_server_assignment_count", Numeric),
    ("total_xact_count", Numeric),
    ("total_query_count", Numeric),
    ("total_received", Numeric),
    ("total_sent", Numeric),
    ("total_xact_time", Numeric),
    ("total_query_time", Numeric),
    ("total_wait_time", Numeric),
    ("total_client_parse_count", Numeric),
    ("total_server_parse_count", Numeric),
    ("total_bind_count", Numeric),
    ("total_client_login_count", Numeric),
    ("avg_server_assignment_count", Numeric),
    ("avg_xact_count", Numeric),
    ("avg_query_count", Numeric),
    ("avg_recv", Numeric),
    ("avg_sent", Numeric),
    ("avg_xact_time", Numeric),
    ("avg_query_time", Numeric),
    ("avg_wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("avg_client_login_count", Numeric),
];

/// As STATS, with a column that PgBouncer had up to 1.7 and that prometheus-pgbouncer-exporter 1.7 asks for.
pub(super) const STATS_OLD: [Column; 26] = and(STATS, ("total_requests", Numeric));

pub(super) const STATS_TOTALS: [Column; 13] = [
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("client_parse_count", Numeric),
    ("server_parse_count", Numeric),
    ("bind_count", Numeric),
    ("client_login_count", Numeric),
];

/// The odd mixture is PgBouncer's.
pub(super) const STATS_AVERAGES: [Column; 13] = [
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("avg_client_login_count", Numeric),
];

pub(super) const TOTALS: [Column; 2] = [("name", Text), ("value", Numeric)];

const NAMES: [&str; 12] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

/// Totals and averages by database, the console's own among them.
fn each(realm: &dyn Realm) -> BTreeMap<Box<str>, (Sums, Sums)> {
    let mut all: BTreeMap<_, _> = by_database(realm.metrics())
        .into_iter()
        .map(|(name, total)| {
            let average = realm.desk().averages.of(&name);
            (name, (total, average))
        })
        .collect();
    all.entry(DATABASE.into()).or_default();
    all
}

fn values(sums: &Sums) -> impl Iterator<Item = Value> {
    sums.all().into_iter().map(Value::from)
}

pub(super) fn stats(realm: &dyn Realm) -> Rows {
    let row = |(name, (total, average)): (Box<str>, (Sums, Sums))| {
        std::iter::once(Value::from(&*name)).chain(values(&total)).chain(values(&average)).collect()
    };
    each(realm).into_iter().map(row).collect()
}

/// A query is what a request was.
pub(super) fn stats_old(realm: &dyn Realm) -> Rows {
    let queries = STATS.iter().position(|(name, _)| *name == "total_query_count");
    let with = |mut row: Vec<Value>| {
        row.extend(queries.map(|at| row[at].clone()));
        row
    };
    stats(realm).into_iter().map(with).collect()
}

pub(super) fn totals_by_database(realm: &dyn Realm) -> Rows {
    let row = |(name, (total, _)): (Box<str>, (Sums, Sums))| {
        std::iter::once(Value::from(&*name)).chain(values(&total)).collect()
    };
    each(realm).into_iter().map(row).collect()
}

pub(super) fn averages_by_database(realm: &dyn Realm) -> Rows {
    let row = |(name, (_, average)): (Box<str>, (Sums, Sums))| {
        std::iter::once(Value::from(&*name)).chain(values(&average)).collect()
    };
    each(realm).into_iter().map(row).collect()
}

pub(super) fn totals(realm: &dyn Realm) -> Rows {
    let mut total = Sums::default();
    each(realm).into_values().for_each(|(own, _)| total += own);
    let average = realm.desk().averages.whole();
    let named = |kind: &'static str, sums: Sums| {
        NAMES.iter().zip(sums.all()).map(move |(name, value)| row![format!("{kind}_{name}"), value])
    };
    named("total", total).chain(named("avg", average)).collect()
}
