//! SHOW ADVICE: whether each pool has the right size, in one sentence, and what that goes by.

use super::Rows;
use crate::admin::realm::Realm;
use crate::admin::table::Type::{Int4, Int8, Text};
use crate::admin::table::{Column, Value, row};
use crate::advice::{ASSUMPTIONS, PoolAdvice};

pub(super) const COLUMNS: [Column; 22] = [
    ("database", Text),
    ("user", Text),
    ("verdict", Text),
    ("pool_size", Int4),
    ("recommended", Int4),
    ("advice", Text),
    ("period", Int4),
    ("transactions", Int8),
    ("xact_us", Int8),
    ("xact_scv", Text),
    ("busy", Text),
    ("clients", Int4),
    ("reserve_in_use", Int4),
    ("pinned", Int4),
    ("timeouts", Int8),
    ("wait_us", Int8),
    ("wait_p99_us", Int8),
    ("expected_wait_us", Int8),
    ("expected_wait_p99_us", Int8),
    ("recommended_wait_us", Int8),
    ("recommended_wait_p99_us", Int8),
    ("assumptions", Text),
];

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

fn pool(told: PoolAdvice) -> Vec<Value> {
    let (m, advice) = (&told.measured, &told.advice);
    let (now, then) = (advice.now.as_ref(), advice.then.as_ref());
    row![
        &*told.database,
        &*told.user,
        advice.verdict.label(),
        m.end.size,
        advice.recommended,
        told.words(),
        m.seconds.round() as u64,
        m.transactions,
        micros(m.service),
        format!("{:.2}", m.scv),
        format!("{:.2}", m.busy()),
        m.end.clients,
        m.end.reserve_in_use,
        m.end.pinned,
        m.timeouts,
        micros(m.wait),
        micros(m.wait_p99),
        now.map(|now| micros(now.mean)),
        now.map(|now| micros(now.p99)),
        then.map(|then| micros(then.mean)),
        then.map(|then| micros(then.p99)),
        ASSUMPTIONS,
    ]
}

pub(super) fn rows(realm: &dyn Realm) -> Rows {
    realm.desk().advice.advice(realm.metrics()).into_iter().map(pool).collect()
}
