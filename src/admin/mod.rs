//! The console: the database `pgweir` (or `pgbouncer`), where an operator looks at pgweir and tells it what to do, in
//! PgBouncer's words and columns.
//!
//! * `command`: what a text asks for, pure; `said`: how logs quote it; `transaction`: what drivers say about those
//! * `dialogue`: the protocol's statements and portals, `portal`: one of the latter, `replies`: how outcomes are told, pure
//! * `session`: the socket
//! * `parameters`: `$1` of prepared statements, pure
//! * `control`: what the commands do; `show`: what is to be seen, one SHOW a file; `table`: how it is told
//! * `select`: SELECT over the tables of SHOW, pure
//! * `realm`: what the console sees of the process, as a trait that the process implements
//! * `averages`: the numbers per second of the last period
mod averages;
mod command;
mod control;
mod dialogue;
mod parameters;
mod portal;
mod realm;
mod replies;
mod said;
mod select;
mod session;
mod show;
mod table;
mod transaction;

use crate::clock::Instant;
use crate::wire::frame;
use std::sync::Arc;

pub use averages::Averages;
pub use command::Rights;
pub use realm::{Crowd, Desk, Holding, Order, Pin, PoolView, Realm, Replica};
pub use session::{Guest, serve};

/// What pgbouncer_exporter would make of the console, in Prometheus' text format. Asks every session for its application_name that
/// has done anything since it was asked last.
pub async fn exporter_series(realm: Arc<dyn Realm>) -> String {
    let clients = realm.clients().ask_for_names().await;
    // Many pools are many lines: not on the thread that has the janitor's work to do.
    let text = tokio::task::spawn_blocking(move || show::exporter::exposition(&*realm, &clients));
    text.await.unwrap_or_default()
}

/// An earlier moment as the console dates it.
pub fn date(then: Instant) -> String {
    show::time::Now::read().date(then)
}

/// What the console makes of a text and of messages, without doing anything; for tests of hostile ones.
pub fn rehearse(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = command::Command::parse(text);
    }
    let (mut dialogue, mut out, mut rest) = (dialogue::Dialogue::default(), Vec::new(), bytes);
    while let Ok(Some(header)) = frame::header(rest)
        && let Some((message, more)) = rest.split_at_checked(header.size)
    {
        if dialogue.hear(header.tag, &message[frame::HEADER..], &mut out).is_err() {
            return;
        }
        rest = more;
    }
}

/// What the console calls its own database where PgBouncer shows its own.
pub const DATABASE: &str = "pgweir";
