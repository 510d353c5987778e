//! The console: the database `pgweir` (or `pgbouncer`), where an operator looks at pgweir and tells it what to do, in
//! PgBouncer's words and columns.
//!
//! * `command`: what a text asks for, pure; `transaction`: what drivers say about those
//! * `dialogue`: the protocol's statements and portals, pure; `session`: the socket
//! * `control`: what the commands do; `show`: what is to be seen, one SHOW a file; `table`: how it is told
//! * `select`: SELECT over the tables of SHOW, pure
//! * `realm`: what the console sees of the process, as a trait that the process implements
//! * `averages`: the numbers per second of the last period
mod averages;
mod command;
mod control;
mod dialogue;
mod realm;
mod select;
mod session;
mod show;
mod table;
mod transaction;

pub use averages::Averages;
pub use command::Rights;
pub use realm::{Desk, Order, Pin, PoolView, Realm};
pub use session::{Guest, serve};

/// What pgbouncer_exporter would make of the console, in Prometheus' text format. Asks every session for its application_name.
pub async fn exporter_series(realm: &dyn Realm) -> String {
    show::exporter::exposition(realm).await
}

/// What the console calls its own database where PgBouncer shows its own.
pub const DATABASE: &str = "pgweir";
