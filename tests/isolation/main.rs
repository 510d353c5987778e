//! In transaction mode a client sees its own session state and nobody else's: random interleavings of 8 clients over 3
//! servers, step by step beside 8 plain connections straight to PostgreSQL.
//!
//! `PGWEIR_ISOLATION=all` (that are right in the test's mode), `none`, or some of startup, parameters, roles, statements, temp, locks, cursors, listen,
//! sequences, mixed, functions, hidden with commas in between: the kinds of state used. `PGWEIR_SEED=n` plays (and shrinks) one case again,
//! `PGWEIR_CASES=n` so many new ones, `PGWEIR_SOAK_MINUTES=n` for so long and tells how it goes; without any of these, the same
//! few cases every time.

mod case;
mod compare;
mod generate;
mod holders;
mod parameters;
mod play;
mod script;
mod setup;
#[path = "../support/mod.rs"]
mod support;
mod texts;

use std::cell::Cell;
use std::time::{Duration, Instant};

use case::{Bench, Between, PATIENT};
use proptest::test_runner::{Config as Settings, RngSeed, TestCaseError, TestError, TestRunner};
use script::{Family, Script};
use support::cluster::{Cluster, Version};

/// The kinds of state that are right in session mode, and in transaction mode with few servers: sequences need more.
const SESSION_MODE: &str =
    "parameters,roles,statements,temp,locks,cursors,listen,sequences,mixed,functions,hidden";
const TRANSACTION_MODE: &str = "parameters,roles,statements,temp,locks,cursors,listen,functions,hidden";

/// Values said at login, which RESET goes back to, apart from the others: what a function resets is the server's own value until
/// the client's next transaction.
const STARTUP_VALUES: &str = "startup,parameters,roles";

/// Last values of sequences, in session mode's company; with servers enough for all, since who takes a value keeps one.
const LAST_VALUES: &str = "sequences,parameters,hidden";

/// Statements of SQL and of the protocol in one name space, apart from functions that prepare what the client's text doesn't name.
const ONE_NAME_SPACE: &str = "mixed,statements,parameters";

/// Also the name of the test.
struct Variant {
    name: &'static str,
    version: Version,
    between: Between,
    families: Vec<Family>,
    cases: u32,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

fn families(right: &str) -> Vec<Family> {
    let asked = std::env::var("PGWEIR_ISOLATION").ok().filter(|asked| asked != "all");
    Family::list(&asked.unwrap_or_else(|| right.to_owned()))
}

fn run(variant: &Variant) {
    let cluster = Cluster::with_settings(variant.version, &["lock_timeout=40ms"]);
    let bench = Bench {
        cluster: &cluster,
        between: variant.between,
        families: &variant.families,
        deadline: Cell::new(PATIENT),
    };
    bench.set_up();
    if let Some(seed) = number("PGWEIR_SEED") {
        return one(&bench, variant, seed);
    }
    let seeds = std::iter::repeat_with(rand::random::<u64>);
    let Some(minutes) = number("PGWEIR_SOAK_MINUTES") else {
        return match number("PGWEIR_CASES") {
            None => (0..u64::from(variant.cases)).for_each(|seed| one(&bench, variant, seed)),
            Some(cases) => seeds.take(cases as usize).for_each(|seed| one(&bench, variant, seed)),
        };
    };
    let start = Instant::now();
    let mut told = Duration::ZERO;
    for (cases, seed) in seeds.enumerate() {
        one(&bench, variant, seed);
        let passed = start.elapsed();
        if passed - told > Duration::from_secs(15) {
            eprintln!("{}: {} cases in {} s, no difference", variant.name, cases + 1, passed.as_secs());
            told = passed;
        }
        if passed > Duration::from_secs(60 * minutes) {
            break;
        }
    }
}

/// The case a seed makes; panics with the shortest script that fails and how to play it again.
fn one(bench: &Bench<'_>, variant: &Variant, seed: u64) {
    let settings = Settings {
        cases: 1,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 400,
        max_shrink_time: 120_000,
        ..Settings::default()
    };
    let play = |script: Script| bench.play(&script).map_err(TestCaseError::fail);
    let Err(failure) = TestRunner::new(settings).run(&generate::script(bench.families), play) else { return };
    let (why, switch) = match failure {
        TestError::Fail(why, script) => (why.message().to_owned(), script.switch),
        TestError::Abort(why) => (why.message().to_owned(), false),
    };
    let families: Vec<_> = bench.families.iter().map(|family| family.name()).collect();
    panic!(
        "{why}\n\n{}, PGWEIR_SWITCH_SERVERS {}; accepted would be\n{}\nonce more:\n\n  PGWEIR_SEED={seed} \
         PGWEIR_ISOLATION={} cargo test --test isolation {}\n",
        variant.name,
        if switch { "set" } else { "not set" },
        compare::accepted(),
        families.join(","),
        variant.name,
    );
}

#[test]
fn postgresql_agrees_with_itself() {
    run(&Variant {
        name: "postgresql_agrees_with_itself",
        version: Version::V15,
        between: Between::Nothing,
        families: Family::ALL.to_vec(),
        cases: 15,
    });
}

#[test]
fn session_mode() {
    run(&Variant {
        name: "session_mode",
        version: Version::V15,
        between: Between::Pgweir("session", script::CLIENTS),
        families: families(SESSION_MODE),
        cases: 20,
    });
}

#[test]
fn transaction_mode() {
    run(&Variant {
        name: "transaction_mode",
        version: Version::V15,
        between: Between::Pgweir("transaction", 3),
        families: families(TRANSACTION_MODE),
        cases: 40,
    });
}

#[test]
fn startup_values() {
    run(&Variant {
        name: "startup_values",
        version: Version::V15,
        between: Between::Pgweir("transaction", 3),
        families: families(STARTUP_VALUES),
        cases: 15,
    });
}

#[test]
fn one_name_space() {
    run(&Variant {
        name: "one_name_space",
        version: Version::V15,
        between: Between::Pgweir("transaction", 3),
        families: families(ONE_NAME_SPACE),
        cases: 15,
    });
}

#[test]
fn last_values_of_sequences() {
    run(&Variant {
        name: "last_values_of_sequences",
        version: Version::V15,
        between: Between::Pgweir("transaction", script::CLIENTS + 1),
        families: families(LAST_VALUES),
        cases: 10,
    });
}

#[test]
fn startup_values_in_session_mode() {
    run(&Variant {
        name: "startup_values_in_session_mode",
        version: Version::V15,
        between: Between::Pgweir("session", script::CLIENTS),
        families: families(STARTUP_VALUES),
        cases: 10,
    });
}

#[test]
fn transaction_mode_on_postgresql_18() {
    run(&Variant {
        name: "transaction_mode_on_postgresql_18",
        version: Version::V18,
        between: Between::Pgweir("transaction", 3),
        families: families(TRANSACTION_MODE),
        cases: 20,
    });
}
