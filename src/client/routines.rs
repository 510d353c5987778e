//! Reading the catalogs for functions that leave session state: when a pool's first server opens, when some were made, and
//! once a minute while there is work.

use super::fit::drain;
use super::report::printable;
use crate::params::catalog::{self, Found, ROUNDS};
use crate::params::routines::{Names, Reading, Routines};
use crate::params::traces::Traces;
use crate::server::Server;
use crate::server::conversation::LONGEST_OF_FUNCTIONS;
use crate::server::exchange::{Action, Reply};
use crate::timer::timeout;
use crate::wire::backend;
use crate::wire::error::WireError;
use crate::wire::frontend;
use std::io;
use std::time::Duration;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Names in the log at most.
const TOLD: usize = 20;

/// Why nothing was learned.
enum Unread {
    /// The server is of no more use.
    Lost(io::Error),
    /// PostgreSQL refused, or said something else.
    Refused(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<WireError> for Unread {
    fn from(error: WireError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Reads them by an idle server, if they are to be read and nobody does. What can't be read is told, and counts as empty
/// until it is tried again. Returns whether sessions begin otherwise than those that were opened before.
///
/// # Errors
/// When the server was lost. Not cancel safe: dropped half way, the server must be closed.
pub async fn learn(server: &mut Server, routines: &Routines, database: &str) -> io::Result<bool> {
    let Some(reading) = routines.begin() else { return Ok(false) };
    let read = timeout(LIMIT, read(server, &reading, database)).await;
    reading.done();
    let (lost, why) = match read {
        Ok(Ok(others)) => return Ok(others),
        Ok(Err(Unread::Refused(why))) => (None, why),
        Ok(Err(Unread::Lost(error))) => (Some(error), "the server was lost".to_owned()),
        Err(_) => (Some(io::ErrorKind::TimedOut.into()), format!("no answer in {} s", LIMIT.as_secs())),
    };
    if routines.is_news() {
        tracing::warn!(database, "functions that change session state can't be told from others: {why}");
    }
    lost.map_or(Ok(false), Err)
}

async fn read(server: &mut Server, reading: &Reading<'_>, database: &str) -> Result<bool, Unread> {
    let sequences = reading.wants_sequences();
    let found = catalog::read_fingerprint(&ask(server, &catalog::fingerprint()).await?)?;
    let (others, mut fingerprint) = (reading.are_others(found.defaults), found.catalogs);
    fingerprint.push(u8::from(sequences));
    if reading.is_known(&fingerprint) {
        return Ok(others);
    }
    let mut found = Found::default();
    found.take_sources(&ask(server, &catalog::sources(sequences)).await?, sequences)?;
    found.take_direct(&ask(server, &catalog::direct()).await?)?;
    for _ in 0..ROUNDS {
        let Some(query) = found.next_query() else { break };
        found.take_users(&ask(server, &query).await?)?;
    }
    let names = found.into_names();
    tell(&names, database);
    reading.learned(fingerprint, names);
    Ok(others)
}

/// For an operator: after a statement with one of these names PostgreSQL is asked for what it has left.
fn tell(names: &Names, database: &str) {
    let changing = || names.names.iter().filter(|(_, leaves, _)| *leaves != Traces::ADVANCES);
    let count = changing().count();
    if count == 0 {
        return;
    }
    let some = changing().take(TOLD).map(|(name, ..)| printable(&String::from_utf8_lossy(name)));
    let some = some.collect::<Vec<_>>().join(", ");
    let more = if count > TOLD { ", …" } else { "" };
    tracing::info!(database, count, "functions that change session state, and what calls them: {some}{more}");
}

async fn ask(server: &mut Server, query: &str) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    frontend::query(&mut bytes, query.as_bytes());
    let talk = &mut server.talk;
    talk.exchange.expect(Reply::Query, Action::Prelude);
    talk.unnamed = None;
    talk.begin_long_answer(LONGEST_OF_FUNCTIONS);
    server.stream.write_all(&bytes).await?;
    drain(server).await?;
    let talk = &mut server.talk;
    let reply = talk.take_long_answer();
    talk.heard.parameters.clear();
    match talk.heard.prelude_error.take() {
        Some(error) => {
            let why = backend::field(&error, b'M').unwrap_or(b"?");
            Err(Unread::Refused(String::from_utf8_lossy(why).into_owned()))
        }
        None => Ok(reply),
    }
}
