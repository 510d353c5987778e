//! What the operator asks of the process, by signal or in the console.

use super::error::AppError;
use super::reload::Change;
use super::systemd;
use super::watch::Watch;
use crate::admin::Order;
use crate::lifecycle::{Command, Shutdown};
use crate::tasks::signals::{Request, Signals};
use tokio::sync::mpsc::UnboundedReceiver;

/// How the process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// TERM: when no transaction runs any more, or shutdown_timeout is over.
    Drain,
    /// INT, QUIT, SHUTDOWN and what else the console says.
    By(Shutdown),
}

/// Hears the operator.
pub(super) struct Operator<'a> {
    signals: Signals,
    orders: UnboundedReceiver<Order>,
    change: Change<'a>,
    watch: Watch,
}

impl<'a> Operator<'a> {
    pub(super) fn new(signals: Signals, orders: UnboundedReceiver<Order>, change: Change<'a>) -> Self {
        Self { signals, orders, change, watch: Watch::default() }
    }

    /// Waits until the process is to end, and does meanwhile what else is asked. Cancel safe.
    pub(super) async fn ending(&mut self) -> Ending {
        loop {
            let ending = tokio::select! {
                request = self.signals.next() => match request {
                    Request::Reload => {
                        // It has said in the log what is wrong.
                        let _ = self.reload();
                        None
                    }
                    Request::Pause => self.pause(),
                    Request::Resume => self.resume(),
                    Request::Drain => Some(Ending::Drain),
                    Request::Stop => Some(Ending::By(Shutdown::Immediate)),
                },
                Some(order) = self.orders.recv() => self.obey(order),
                () = self.watch.changed(self.change.source, || self.change.shared.config.load_full()) => {
                    tracing::info!("a file of the configuration has changed");
                    let _ = self.reload();
                    None
                }
            };
            if let Some(ending) = ending {
                return ending;
            }
        }
    }

    /// As the console's PAUSE, but nobody waits until all servers are free.
    fn pause(&self) -> Option<Ending> {
        let pools = &self.change.shared.pools;
        if pools.is_all_paused() {
            tracing::info!("USR1: all databases are paused already; USR2 or RESUME ends it");
        } else {
            pools.pause(None);
            tracing::info!(
                "USR1: all databases are paused: transactions finish, then clients wait until USR2 or RESUME"
            );
        }
        None
    }

    fn resume(&self) -> Option<Ending> {
        match self.change.shared.pools.resume(None) {
            true => tracing::info!("USR2: the pause is over"),
            false => tracing::info!("USR2: there is no pause of all databases to end"),
        }
        None
    }

    fn reload(&self) -> Result<Vec<String>, AppError> {
        systemd::reloading();
        let outcome = self.change.reload();
        systemd::ready();
        outcome
    }

    fn obey(&self, order: Order) -> Option<Ending> {
        let (outcome, ending) = match &order.command {
            Command::Reload => (self.reload().map_err(|error| error.to_string()), None),
            Command::Set { key, value } => (self.change.set(key, value).map(|()| Vec::new()), None),
            Command::Shutdown(how) => (Ok(Vec::new()), Some(Ending::By(*how))),
        };
        let _ = order.reply.send(outcome);
        ending
    }
}
