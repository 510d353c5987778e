//! Random scripts: session state changed and looked at in every form there is, in and out of transactions.

use proptest::prelude::*;

use crate::script::{CLIENTS, Family, Op, Script, Step};
use crate::texts;

/// What fills a placeholder.
fn fill(template: &str, at: usize) -> String {
    const ZONES: [&str; 3] = ["Europe/Berlin", "Asia/Tokyo", "America/New_York"];
    const SCHEMAS: [&str; 3] = ["s1", "s2, public", "s2"];
    const VALUES: [&str; 3] = ["blue", "it is long, so to speak", ""];
    let text = template.replace("%d", &(at + 1).to_string()).replace("%z", ZONES[at]);
    text.replace("%s", SCHEMAS[at]).replace("%v", VALUES[at])
}

fn filled(templates: &'static [&'static str]) -> BoxedStrategy<String> {
    (prop::sample::select(templates), 0..3usize).prop_map(|(t, at)| fill(t, at)).boxed()
}

/// Whether a parameter goes back to its default.
fn resets(sql: &str) -> bool {
    let sql = sql.to_lowercase();
    ["reset", "discard", "default", "local", "names", "null"].iter().any(|word| sql.contains(word))
}

/// What one request may be made of, if clients begin with values of their own: what a reset sets is the server's value until the
/// request is over, and what several statements reset isn't always known.
fn looked_at_later(families: &[Family], mut texts: Vec<String>) -> Vec<String> {
    if families.contains(&Family::Startup)
        && let Some(last) = texts.iter().position(|sql| resets(sql))
    {
        texts.truncate(last.max(1));
    }
    texts
}

/// Any one statement.
fn text(families: &[Family]) -> BoxedStrategy<String> {
    let mut choices = vec![(12, filled(texts::TRANSACTIONS))];
    let moving = [Family::Startup, Family::Parameters, Family::Roles, Family::Sequences];
    if families.iter().any(|f| !moving.contains(f)) {
        choices.push((4, Just(texts::LET_GO.to_owned()).boxed()));
    }
    let each = 30 / u32::try_from(families.len()).expect("few").max(1);
    for family in families {
        let kinds = [texts::changes(*family), texts::looks(*family)].into_iter().filter(|k| !k.is_empty());
        choices.extend(kinds.map(|kind| (each + 1, filled(kind))));
    }
    let startup = families.contains(&Family::Startup);
    let any = prop::strategy::Union::new_weighted(choices);
    any.prop_filter("it returns the server's default", move |sql| !startup || !sql.contains("NULL")).boxed()
}

fn bound(families: &[Family]) -> BoxedStrategy<Op> {
    let own = families.iter().flat_map(|f| texts::bound(*f));
    let templates: Vec<_> = texts::PREPARED.iter().chain(own).collect();
    let filled = move |(name, (sql, values), at): (_, &(&str, &[&str]), usize)| {
        let values = values.iter().map(|v| fill(v, at)).collect();
        Op::Extended(name, fill(sql, at), values)
    };
    (name(families), prop::sample::select(templates), 0..3usize).prop_map(filled).boxed()
}

/// Mostly unnamed.
fn name(families: &[Family]) -> BoxedStrategy<&'static str> {
    let of_sql = if families.contains(&Family::Mixed) { 2 } else { 0 };
    prop_oneof![4 => Just(""), 2 => Just("a"), 1 => Just("b"), of_sql => Just("p1"), of_sql => Just("p2")]
        .boxed()
}

/// No name for transaction control: SQL's EXECUTE of `ROLLBACK TO` is an internal error of PostgreSQL's, and fatal. Nor one for
/// EXECUTE, PREPARE and DEALLOCATE: statements that execute each other, and, by EXECUTE, make and drop each other.
fn fit(name: &'static str, sql: &str) -> &'static str {
    let word = sql.split(' ').next().unwrap_or_default();
    let control = word != "SELECT" && texts::TRANSACTIONS.iter().any(|t| t.split(' ').next() == Some(word));
    if control || matches!(word, "EXECUTE" | "PREPARE" | "DEALLOCATE") { "" } else { name }
}

/// A statement as plpgsql has it.
fn performed(sql: &str) -> String {
    match sql.strip_prefix("SELECT ") {
        Some(rest) => format!("PERFORM {rest}"),
        None => sql.to_owned(),
    }
}

fn one(families: &[Family]) -> BoxedStrategy<Op> {
    let text = || text(families);
    let texts = || {
        let families = families.to_vec();
        prop::collection::vec(text(), 2..4).prop_map(move |texts| looked_at_later(&families, texts))
    };
    let several = texts().prop_map(|texts| Op::Query(texts.join("; ")));
    let block = text().prop_map(|sql| Op::Query(format!("DO $do$BEGIN {}; END$do$", performed(&sql))));
    let function =
        text().prop_map(|sql| Op::Query(format!("SELECT public.f_run('{}')", sql.replace('\'', "''"))));
    let functions = u32::from(families.contains(&Family::Functions)) * 3;
    let values = prop_oneof![3 => Just(vec![]), 1 => Just(vec!["7".to_owned()])];
    prop_oneof![
        12 => text().prop_map(Op::Query),
        3 => several,
        2 => block,
        functions => function,
        4 => (name(families), text()).prop_map(|(name, sql)| Op::Extended(fit(name, &sql), sql, vec![])),
        1 => texts().prop_map(Op::Batch),
        3 => bound(families),
        1 => (name(families), text()).prop_map(|(name, sql)| Op::Parse(fit(name, &sql), sql)),
        2 => (name(families), values).prop_map(|(name, values)| Op::Use(name, values)),
        1 => name(families).prop_map(Op::CloseStatement),
    ]
    .boxed()
}

fn op(families: &[Family]) -> BoxedStrategy<Op> {
    prop_oneof![
        24 => one(families),
        2 => prop::collection::vec(one(families), 2..4).prop_map(Op::Pipeline),
        1 => Just(Op::Reconnect),
    ]
    .boxed()
}

/// Interleaved steps of all clients, some of one in a row. Shrinks by leaving steps out only.
pub(crate) fn script(families: &[Family]) -> impl Strategy<Value = Script> + use<> {
    let burst = ((0..CLIENTS).no_shrink(), prop::collection::vec(op(families).no_shrink(), 1..5));
    (any::<bool>(), prop::collection::vec(burst, 1..30)).prop_map(|(switch, bursts)| {
        let steps = |(client, ops): (usize, Vec<Op>)| {
            ops.into_iter().map(move |op| Step { client, op: op.of(client) })
        };
        Script { switch, steps: bursts.into_iter().flat_map(steps).collect() }
    })
}

/// What every client is asked when all is over: every trace there could be.
pub(crate) fn last_looks(families: &[Family]) -> Vec<Op> {
    let mut looks: Vec<_> = families.iter().filter_map(|family| texts::last_look(*family)).collect();
    looks.dedup();
    let looks = looks.into_iter().map(str::to_owned);
    ["ROLLBACK".to_owned()].into_iter().chain(looks).map(Op::Query).collect()
}
