//! One script played on both sides at once, step by step.

use std::cell::Cell;
use std::time::Duration;

use crate::compare;
use crate::generate::last_looks;
use crate::holders::Holders;
use crate::play::{Session, open_all};
use crate::script::{CLIENTS, Family, Op, Script, Step};
use crate::setup;
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::pgweir::{Config, Pgweir};

/// Where the expected replies come from: a database nobody else uses, since advisory locks and channels are a database's.
const ORACLE: &str = "other";
const POOLED: &str = "app";

/// What stands between the clients and PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    Nothing,
    /// pgweir, its mode and its number of servers.
    Pgweir(&'static str, usize),
}

pub(crate) struct Bench<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) between: Between,
    pub(crate) families: &'a [Family],
    /// How long a step may take.
    pub(crate) deadline: Cell<Duration>,
}

/// Generous: a step waits for nobody longer than `lock_timeout`. Once a case has failed, shrinking it is in a hurry.
pub(crate) const PATIENT: Duration = Duration::from_secs(15);
const IN_A_HURRY: Duration = Duration::from_secs(3);

impl Bench<'_> {
    /// All databases as they are before any case.
    pub(crate) fn set_up(&self) {
        self.cluster.sql("postgres", setup::ROLES);
        for database in [ORACLE, POOLED] {
            self.cluster.sql(database, &setup::objects());
        }
    }

    /// Plays a script; says what differs and after which steps.
    pub(crate) fn play(&self, script: &Script) -> Result<(), String> {
        for database in [ORACLE, POOLED] {
            eventually(&format!("all sessions of {database} have ended"), || {
                self.cluster.connections(&format!("datname = '{database}'")) == 0
            });
            self.cluster.sql(database, &setup::restart());
        }
        let pgweir = match self.between {
            Between::Nothing => None,
            Between::Pgweir(mode, servers) => Some(self.start(script, mode, servers)),
        };
        let target = match &pgweir {
            Some(pgweir) => pgweir.target("trusty", POOLED),
            None => self.cluster.target("trusty", POOLED),
        };
        let limit = match self.between {
            Between::Pgweir("transaction", servers) => servers - 1,
            _ => CLIENTS,
        };
        let oracle = open_all(&self.cluster.target("trusty", ORACLE), self.families, self.deadline.get())?;
        let pooled = open_all(&target, self.families, self.deadline.get())?;
        let mut pair = Pair { oracle, pooled, listen: self.families.contains(&Family::Listen) };
        for client in 0..CLIENTS {
            pair.compare_sessions(client).map_err(|why| format!("client {client}, login\n{why}"))?;
        }
        let played = pair.play(script, self.families, Holders::new(limit));
        if played.is_err() {
            self.deadline.set(IN_A_HURRY);
        }
        for session in &mut pair.oracle {
            session.leave()?;
        }
        played
    }

    fn start(&self, script: &Script, mode: &'static str, servers: usize) -> Pgweir {
        let config = Config::new(self.cluster)
            .set("auth_type", "trust")
            .set("pool_mode", mode)
            .set("workers", 2)
            .set("default_pool_size", i64::try_from(servers).expect("few"));
        let config = if servers > CLIENTS { config.set("sequence_hold", "session") } else { config };
        Pgweir::start(&if script.switch { config.environment("PGWEIR_SWITCH_SERVERS", "1") } else { config })
    }
}

/// Both sides' sessions, by client.
struct Pair {
    oracle: Vec<Session>,
    pooled: Vec<Session>,
    listen: bool,
}

impl Pair {
    fn play(&mut self, script: &Script, families: &[Family], mut holders: Holders) -> Result<(), String> {
        let mut done: Vec<String> = Vec::new();
        for step in &script.steps {
            if !holders.admit(step.client, &step.op, &self.oracle[step.client]) {
                continue;
            }
            done.push(format!("{}: {:?}", step.client, step.op));
            let replies = self.step(step).map_err(|why| failure(&done, &why))?;
            holders.note(step.client, &step.op, &replies, &self.oracle[step.client]);
        }
        for client in 0..CLIENTS {
            for op in last_looks(families) {
                let step = Step { client, op: op.of(client) };
                self.step(&step)
                    .map_err(|why| failure(&done, &format!("at the end, {client}: {:?}\n{why}", step.op)))?;
            }
        }
        (0..CLIENTS).try_for_each(|client| self.compare_sessions(client)).map_err(|why| failure(&done, &why))
    }

    /// The oracle's replies, which the other side's must be.
    fn step(&mut self, step: &Step) -> Result<Vec<String>, String> {
        let expected = self.oracle[step.client].step(&step.op).map_err(|e| format!("PostgreSQL: {e}"))?;
        let found = self.pooled[step.client]
            .step(&step.op)
            .map_err(|e| format!("{e}\nwhere PostgreSQL says {expected:#?}"))?;
        if let Some(difference) = compare::replies(step, &expected, &found) {
            return Err(difference);
        }
        if self.listen && self.oracle[step.client].status == b'I' && !matches!(step.op, Op::Reconnect) {
            self.notified()?;
        }
        self.compare_sessions(step.client)?;
        Ok(expected)
    }

    /// Waits until everybody has been told what PostgreSQL tells by now.
    fn notified(&mut self) -> Result<(), String> {
        for (client, (oracle, pooled)) in self.oracle.iter_mut().zip(&mut self.pooled).enumerate() {
            if oracle.status == b'I' {
                oracle.fence()?;
            }
            pooled
                .wait_for_notifications(oracle.notified.len())
                .map_err(|e| format!("client {client}: {e}"))?;
            if let Some(difference) = compare::sessions(oracle, pooled) {
                return Err(format!("client {client} is told otherwise\n{difference}"));
            }
        }
        Ok(())
    }

    fn compare_sessions(&self, client: usize) -> Result<(), String> {
        compare::sessions(&self.oracle[client], &self.pooled[client]).map_or(Ok(()), Err)
    }
}

fn failure(done: &[String], why: &str) -> String {
    format!("played\n  {}\nand there it differs (- PostgreSQL, + pgweir)\n{why}", done.join("\n  "))
}
