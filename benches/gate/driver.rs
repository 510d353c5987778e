//! Clients and PostgreSQL around a pgweir, in steps that leave nothing to chance: a request is sent when the one before
//! it has arrived at PostgreSQL, an answer is given when the one before it has arrived at its client. So pgweir finds
//! exactly one socket ready whenever it looks, and does the same work however busy the machine is.

use std::time::Duration;

use super::postgres::{Postgres, Request};
use super::support::messages::terminate;
use super::support::pgweir::{Config, Pgweir};
use super::support::raw::Client;
use super::workload::{Step, Workload};

/// Clients that have a transaction open at the same time; `Login` has one at a time.
pub(crate) const CLIENTS: usize = 8;

/// The SCRAM secret of user `app`, whose password is `secret-app`, as PostgreSQL stores it.
const VERIFIER: &str = "SCRAM-SHA-256$4096:cGd3ZWlyLWdhdGUtc2FsdA==$\
    KxzGdGllocgOS/dSimFZEx7i4o0PQC2yTxD5LYnWIKc=:KjQtfsVaQlERYy+p9ITzbb7E/7oMu/WEAEir0MGwQ0w=";

/// Names another `session_state` than the one that is recorded.
const STATE: &str = "PGWEIR_GATE_SESSION_STATE";

/// What pgweir is started with: one worker, no listener but the clients', nothing that happens by itself.
pub(crate) fn configuration(workload: Workload, postgres: &Postgres) -> Config {
    let auth_type = if workload == Workload::Login { "scram-sha-256" } else { "trust" };
    let mut config = Config::to(postgres.address())
        .set("workers", 1)
        .set("auth_type", auth_type)
        .set("default_pool_size", i64::try_from(CLIENTS).expect("few"))
        .set("max_prepared_statements", 200)
        .set("server_idle_timeout", 0)
        .set("log_connections", false)
        .set("log_disconnections", false)
        .set("session_state", &*std::env::var(STATE).unwrap_or_else(|_| "transparent".to_owned()))
        .put("users.app", "password", VERIFIER)
        .put("metrics", "listen", "")
        .without("databases.other");
    for other in ["md5user", "plainuser", "trusty"] {
        config = config.without(&format!("users.{other}"));
    }
    config
}

/// Plays so many transactions of a workload, a multiple of [`CLIENTS`]; panics at the first wrong answer.
pub(crate) fn play(workload: Workload, pgweir: &Pgweir, postgres: &Postgres, transactions: usize) {
    assert_eq!(transactions % CLIENTS, 0, "all clients do the same");
    let aid = |number: usize| u32::try_from(10_000 + number % 80_000).expect("small");
    if workload == Workload::Login {
        for number in 0..transactions {
            let mut client = pgweir.client();
            together(std::slice::from_mut(&mut client), postgres, &[workload.steps(aid(number))]);
            leave(client);
        }
        return;
    }
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| pgweir.client()).collect();
    if workload.preparation().is_some() {
        let steps: Vec<Vec<Step>> =
            clients.iter().map(|_| workload.preparation().into_iter().collect()).collect();
        together(&mut clients, postgres, &steps);
    }
    for round in 0..transactions / CLIENTS {
        let steps: Vec<Vec<Step>> =
            (0..CLIENTS).map(|client| workload.steps(aid(round * CLIENTS + client))).collect();
        together(&mut clients, postgres, &steps);
    }
    clients.into_iter().for_each(leave);
    assert_eq!(postgres.connections(), CLIENTS, "each client has had one server, and no server was replaced");
}

/// Clients that have had a transaction each, and then rest.
pub(crate) fn rest(pgweir: &Pgweir, postgres: &Postgres, time: Duration) {
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| pgweir.client()).collect();
    let steps: Vec<Vec<Step>> = clients.iter().map(|_| Workload::Simple.steps(1)).collect();
    together(&mut clients, postgres, &steps);
    std::thread::sleep(time);
    clients.into_iter().for_each(leave);
}

/// Gone when this returns, as far as a client can see.
fn leave(mut client: Client) {
    client.send(&terminate());
    assert_eq!(client.read_to_end(), [], "nothing is said to a client that leaves");
}

/// The clients go through their steps side by side: all requests in turn, then all answers in turn.
pub(crate) fn together(clients: &mut [Client], postgres: &Postgres, steps: &[Vec<Step>]) {
    for at in 0..steps[0].len() {
        let mut open: Vec<Request> = Vec::new();
        for (client, steps) in clients.iter_mut().zip(steps) {
            client.send(&steps[at].request);
            open.push(postgres.request());
        }
        for ((client, steps), request) in clients.iter_mut().zip(steps).zip(open) {
            request.answer();
            assert_eq!(client.read_until_ready(), steps[at].reply, "a wrong answer in step {at}");
        }
    }
}
