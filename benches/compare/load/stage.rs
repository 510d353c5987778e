//! The fake server, a pooler in front of it and clients of both, each on its cores.

use std::sync::Arc;
use std::time::Duration;

use super::super::cores::Cores;
use super::super::poolers::{Kind, Pooler, Setup, Tls};
use super::super::support::certificates::{self, Certificates};
use super::super::support::raw;
use super::client::{Shape, log_in};
use super::fake::FakeServer;
use super::stamps::Visits;
use super::storm::Storm;
use super::{Load, Seen};
use pgweir::auth::scram::secret::ScramSecret;

/// What is put on the stage.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Clients of all kinds, at most.
    pub(crate) clients: u32,
    pub(crate) databases: u32,
    /// Server connections of each pool.
    pub(crate) servers: u32,
    pub(crate) workers: u32,
    /// How long the server takes to answer.
    pub(crate) delay: Duration,
    /// pgweir's metrics_compat, where its numbers are asked for.
    pub(crate) metrics: Option<&'static str>,
    /// Whether clients may use TLS.
    pub(crate) tls: bool,
    /// Whether what is spent in the pooler is told apart, which then goes before the machine's own threads.
    pub(crate) stamped: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            clients: 1000,
            databases: 1,
            servers: super::super::SERVERS,
            workers: 1,
            delay: Duration::ZERO,
            metrics: None,
            tls: false,
            stamped: false,
        }
    }
}

/// Dropping it ends it all.
pub(crate) struct Stage {
    pub(crate) pooler: Pooler,
    certificates: Certificates,
    _server: FakeServer,
    visits: Option<Arc<Visits>>,
    _cores: Cores,
    plan: Plan,
}

impl Stage {
    /// One worker has a core of its own; more share all cores with the load.
    ///
    /// # Errors
    /// When the fake server can't be started.
    pub(crate) fn set(kind: &Kind, plan: Plan) -> Result<Self, String> {
        let cores = if plan.workers == 1 { Cores::apart()? } else { Cores::shared()? };
        cores.as_load();
        let visits = plan.stamped.then(Arc::default);
        let server =
            FakeServer::start(plan.delay, visits.clone()).map_err(|e| format!("the fake server: {e}"))?;
        // PBKDF2 once instead of 4096 times: it is the clients who'd pay, at 10,000 logins.
        let verifier = ScramSecret::from_password(b"secret-app", 1, b"salt of sixteen.").stored_text();
        let certificates = Certificates::new();
        let tls = match plan.tls {
            true => {
                Tls::SomeClients(certificates.issue("localhost", &certificates::Kind::of(&["localhost"])))
            }
            false => Tls::Nobody,
        };
        let setup = Setup {
            server: server.port,
            socket: None,
            databases: plan.databases,
            servers: plan.servers,
            workers: plan.workers,
            clients: plan.clients,
            verifier: verifier.to_string(),
            metrics: plan.metrics,
            tls,
        };
        cores.as_pooler();
        let pooler = kind.start(&setup);
        cores.as_load();
        if plan.stamped && !pooler.put_first() {
            eprintln!("{} has to share its core with the machine's own threads", kind.name());
        }
        Ok(Self { pooler, certificates, _server: server, visits, _cores: cores, plan })
    }

    /// Clients that will ask, spread over the databases.
    pub(crate) fn load(&self, clients: u32, shape: Shape) -> Result<Load, String> {
        let targets = (0..clients).map(|n| self.pooler.target(n % self.plan.databases));
        let load = Load::connect(targets, shape)?;
        match &self.visits {
            Some(visits) => load.stamped(visits),
            None => Ok(load),
        }
    }

    /// Crowds of so many clients with TLS.
    pub(crate) fn storm(&self, crowd: usize) -> Storm {
        Storm::begin(([127, 0, 0, 1], self.pooler.port).into(), &self.certificates.ca(), crowd)
    }

    /// Clients that have prepared a statement, run it once, and say nothing more.
    pub(crate) fn idlers(&self, clients: u32) -> Result<Vec<raw::Client>, String> {
        let target = |n| self.pooler.target(n % self.plan.databases);
        (0..clients).map(|n| log_in(&target(n), Shape::Prepared)).collect()
    }

    /// Runs the load as fast as it goes; CPU time of the pooler for each transaction, in µs, and what was seen.
    pub(crate) fn cost(&self, load: &mut Load, seconds: f64) -> Result<(f64, Seen), String> {
        let mut used = Vec::new();
        let seen = load.run(Duration::from_secs_f64(seconds), None, &mut || {
            used.push(self.pooler.cpu_time()?);
            Ok(())
        })?;
        let cost = used[1].saturating_sub(used[0]).as_secs_f64() * 1e6 / seen.transactions();
        Ok((cost, seen))
    }
}
