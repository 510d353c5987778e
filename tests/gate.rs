//! The driver behind `make bench-gate`, without valgrind: clients, pgweir and the scripted PostgreSQL must agree on every
//! byte, and the driver must notice when they don't. The gate's own modules bring their tests along.
#![allow(dead_code, reason = "what runs valgrind and strace is not run here")]

mod support;

#[path = "../benches/gate/callgrind.rs"]
mod callgrind;
#[path = "../benches/gate/driver.rs"]
mod driver;
#[path = "../benches/gate/fold.rs"]
mod fold;
#[path = "../benches/gate/machine.rs"]
mod machine;
#[path = "../benches/gate/postgres.rs"]
mod postgres;
#[path = "../benches/gate/profile.rs"]
mod profile;
#[path = "../benches/gate/recorded.rs"]
mod recorded;
#[path = "../benches/gate/strace.rs"]
mod strace;
#[path = "../benches/gate/tool.rs"]
mod tool;
#[path = "../benches/gate/workload.rs"]
mod workload;

use postgres::Postgres;
use support::messages::{bind, execute, parse, query, sync};
use support::pgweir::Pgweir;
use support::raw::{Client, Target};
use workload::Workload;

fn play(workload: Workload, transactions: usize) {
    let postgres = Postgres::start();
    let pgweir = Pgweir::start(&driver::configuration(workload, &postgres));
    driver::play(workload, &pgweir, &postgres, transactions);
    assert!(pgweir.stop().success());
    postgres.finish();
}

#[test]
fn every_workload_is_answered_right() {
    for workload in Workload::ALL {
        play(workload, if workload == Workload::Login { 8 } else { 160 });
    }
}

#[test]
#[should_panic(expected = "a wrong answer")]
fn a_wrong_answer_is_noticed() {
    let postgres = Postgres::start();
    let pgweir = Pgweir::start(&driver::configuration(Workload::Simple, &postgres));
    let mut step = Workload::Simple.steps(1);
    step[0].reply = Workload::Simple.steps(2).remove(0).reply;
    driver::together(&mut [pgweir.client()], &postgres, &[step]);
}

/// Straight at the scripted PostgreSQL: its answers to what pgweir must never send.
#[test]
fn the_scripted_server_is_strict() {
    let postgres = Postgres::start();
    let mut client = Client::connect(&Target::tcp(postgres.address(), "app", "app"));
    let mut ask = |bytes: &[u8], expected: &[&str]| {
        client.send(bytes);
        postgres.request().answer();
        client.expect(expected);
    };
    let bound = |statement| [bind("", statement, &[Some("7")]), execute("", 0), sync()].concat();
    ask(&bound("s"), &["E SERROR|VERROR|C26000|M…", "Z I"]);
    ask(&[parse("s", workload::SELECT), sync()].concat(), &["1", "Z I"]);
    ask(&bound("s"), &["2", "D [Some(\"55433\")]", "C SELECT 1", "Z I"]);
    ask(&[execute("", 0), sync()].concat(), &["E SERROR|VERROR|C34000|M…", "Z I"]);
    ask(&[parse("s", workload::SELECT), sync()].concat(), &["E SERROR|VERROR|C42P05|M…", "Z I"]);
    ask(&[parse("t", "SELECT 2"), sync()].concat(), &["E SERROR|VERROR|C42601|M…", "Z I"]);
    ask(&query("COMMIT"), &["E SERROR|VERROR|C42601|M…", "Z I"]);
    ask(&query("DISCARD ALL"), &["E SERROR|VERROR|C42601|M…", "Z I"]);
}
