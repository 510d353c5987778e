//! What the console's commands do. Those that wait look again and again: they are rare, and nobody else has to tell them.

use super::command::{Command, Failure};
use super::dialogue::{Notice, Reply};
use super::realm::{Order, Realm};
use super::select::Select;
use super::show;
use super::table::{Columns, Table, row};
use crate::config::RESERVED_DATABASES;
use crate::lifecycle::{self, Phase};
use crate::roster::Kick;
use crate::timer::sleep;
use crate::wire::sqlstate;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::oneshot;

/// Between two looks at what a command waits for.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a command of somebody who may. Cancel safe; what it has begun by then stays, see [`give_up`].
pub(super) async fn run(realm: &dyn Realm, command: &Command) -> Result<Reply, Failure> {
    match command {
        Command::Empty => Ok(Reply::Empty),
        Command::Show(show) => Ok(show::reply(*show, realm).await),
        Command::ShowSession(session) => {
            let columns = Columns::Fixed(&session.columns);
            Ok(Reply::Rows(Table { columns, rows: vec![row![session.value]] }))
        }
        Command::Select(query) => Ok(Reply::Rows(select(realm, query).await?)),
        Command::SetSession => {
            Ok(Reply::Done("SET".to_owned(), Some(Notice { message: "SET ignored", detail: None })))
        }
        Command::Begin(tag) | Command::End(tag) => Ok(Reply::done(*tag)),
        Command::Deallocate(_) => Ok(Reply::done("DEALLOCATE")),
        Command::Set { key, value } => set(realm, key, value).await,
        Command::Reload => reload(realm).await,
        Command::Pause(database) => pause(realm, database.as_deref()).await,
        Command::Resume(database) => resume(realm, database.as_deref()),
        Command::Disable(database) => switch(realm, database.as_deref(), false),
        Command::Enable(database) => switch(realm, database.as_deref(), true),
        Command::Reconnect(database) => {
            known(realm, database.as_deref(), "reconnect")?;
            realm.reconnect(database.as_deref());
            Ok(Reply::done("RECONNECT"))
        }
        Command::Kill(database) => kill(realm, database.as_deref()),
        Command::KillClient(id) => kill_client(realm, *id),
        Command::WaitClose(database) => wait_close(realm, database.as_deref()).await,
        Command::Shutdown(how) => {
            ordered(realm, lifecycle::Command::Shutdown(*how)).await.map_err(Failure::new)?;
            Ok(Reply::done("SHUTDOWN"))
        }
    }
}

async fn select(realm: &dyn Realm, query: &Select) -> Result<Table, Failure> {
    let Some(show) = query.show else { return query.run(vec![Vec::new()]) };
    match show::reply(show, realm).await {
        Reply::Rows(table) => query.run(table.rows),
        Reply::Empty | Reply::Done(..) => query.run(Vec::new()),
    }
}

/// A command that waits is cancelled: a pause nobody waits for any more is taken back, as in PgBouncer.
pub(super) fn give_up(realm: &dyn Realm, command: &Command) {
    if let Command::Pause(database) = command {
        realm.pools().resume(database.as_deref());
    }
}

/// Has the process do something, and waits for what comes of it.
async fn ordered(realm: &dyn Realm, command: lifecycle::Command) -> Result<Vec<String>, String> {
    let (reply, outcome) = oneshot::channel();
    realm.order(Order { command, reply });
    outcome.await.unwrap_or_else(|_| Err("pooler is shutting down".to_owned()))
}

async fn set(realm: &dyn Realm, key: &str, value: &str) -> Result<Reply, Failure> {
    let command = lifecycle::Command::Set { key: key.to_owned(), value: value.to_owned() };
    match ordered(realm, command).await {
        Ok(_) => Ok(Reply::done(format!("SET {key}={value}"))),
        Err(why) => Err(Failure { detail: Some(sentence(&why, key)), ..Failure::new("SET failed") }),
    }
}

async fn reload(realm: &dyn Realm) -> Result<Reply, Failure> {
    match ordered(realm, lifecycle::Command::Reload).await {
        Ok(waiting) if waiting.is_empty() => Ok(Reply::done("RELOAD")),
        Ok(waiting) => {
            let detail = Some(waiting.join("\n").into());
            let notice = Notice { message: "some changes wait for a restart", detail };
            Ok(Reply::Done("RELOAD".to_owned(), Some(notice)))
        }
        Err(why) => Err(Failure {
            code: sqlstate::CONFIG_FILE_ERROR,
            message: "RELOAD failed, see logs for additional details".to_owned(),
            detail: Some(why),
        }),
    }
}

/// With a full stop, and a capital letter unless it begins with the name of a setting.
fn sentence(text: &str, key: &str) -> String {
    let stop = if text.ends_with(['.', '?']) { "" } else { "." };
    let mut letters = text.chars();
    if text.split(' ').next().is_some_and(|word| word.contains('_') || word.eq_ignore_ascii_case(key)) {
        return format!("{text}{stop}");
    }
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}{stop}", letters.as_str())
}

/// Returns when no server is connected any more.
async fn pause(realm: &dyn Realm, database: Option<&str>) -> Result<Reply, Failure> {
    running(realm)?;
    known(realm, database, "pause")?;
    let pools = realm.pools();
    if pools.is_all_paused() && database.is_none_or(|name| pools.is_paused(name)) {
        return Err(Failure::new("already paused"));
    }
    pools.pause(database);
    let is_paused = || match database {
        Some(name) => pools.is_paused(name),
        None => pools.is_all_paused(),
    };
    loop {
        let left = realm.connections_paused(database);
        if !is_paused() {
            let message = "the pause was ended by RESUME".to_owned();
            return Err(Failure { code: sqlstate::QUERY_CANCELED, message, detail: None });
        }
        if left == 0 {
            return Ok(Reply::done("PAUSE"));
        }
        sleep(LOOK).await;
    }
}

fn resume(realm: &dyn Realm, database: Option<&str>) -> Result<Reply, Failure> {
    running(realm)?;
    known(realm, database, "resume")?;
    match (realm.pools().resume(database), database) {
        (true, _) => Ok(Reply::done("RESUME")),
        (false, None) => {
            let of_pools = realm.views().into_iter().map(|view| view.pool.key().database.to_string());
            let known: BTreeSet<_> = realm.config().databases.keys().cloned().chain(of_pools).collect();
            let paused: Vec<_> = known.into_iter().filter(|name| realm.pools().is_paused(name)).collect();
            let detail = (!paused.is_empty()).then(|| format!("Paused by name: {}.", paused.join(", ")));
            Err(Failure { detail, ..Failure::new("pooler is not paused") })
        }
        (false, Some(name)) => Err(Failure::new(format!("database {name} is not paused"))),
    }
}

fn switch(realm: &dyn Realm, database: Option<&str>, on: bool) -> Result<Reply, Failure> {
    let database = database.ok_or_else(|| Failure::new("a database is required"))?;
    known(realm, Some(database), if on { "enable" } else { "disable" })?;
    let mut disabled = realm.desk().disabled.lock();
    if on {
        disabled.remove(database);
    } else {
        disabled.insert(database.to_owned());
    }
    Ok(Reply::done(if on { "ENABLE" } else { "DISABLE" }))
}

/// Pauses, and sends the clients away.
fn kill(realm: &dyn Realm, database: Option<&str>) -> Result<Reply, Failure> {
    running(realm)?;
    known(realm, database, "kill")?;
    realm.pools().pause(database);
    let clients = realm.clients().list().into_iter();
    let those = clients.filter(|entry| database.is_none_or(|name| *entry.place.database == *name));
    those.for_each(|entry| entry.kick(Kick::Killed));
    Ok(Reply::done("KILL"))
}

fn kill_client(realm: &dyn Realm, id: Option<u64>) -> Result<Reply, Failure> {
    let id = id.ok_or_else(|| Failure::new("invalid client pointer supplied"))?;
    let all = [realm.clients(), realm.consoles()];
    let found = all.into_iter().flat_map(|roster| roster.list()).find(|entry| entry.id == id);
    let entry = found.ok_or_else(|| Failure::new("client not found"))?;
    entry.kick(Kick::Forced);
    Ok(Reply::done("KILL_CLIENT"))
}

/// Returns when no server is left that RECONNECT or a reload has made obsolete.
async fn wait_close(realm: &dyn Realm, database: Option<&str>) -> Result<Reply, Failure> {
    known(realm, database, "wait in")?;
    while realm.pools().of(database).iter().any(|pool| pool.numbers().obsolete > 0) {
        sleep(LOOK).await;
    }
    Ok(Reply::done("WAIT_CLOSE"))
}

fn running(realm: &dyn Realm) -> Result<(), Failure> {
    match realm.phase() {
        Phase::Draining => Err(Failure::new("pooler is shutting down")),
        Phase::Starting | Phase::Running => Ok(()),
    }
}

/// Refuses a database that clients can't ask for either and that none uses still, and the console's own.
fn known(realm: &dyn Realm, database: Option<&str>, what: &str) -> Result<(), Failure> {
    let Some(name) = database else { return Ok(()) };
    if RESERVED_DATABASES.contains(&name) {
        return Err(Failure::new(format!("cannot {what} admin db: {name}")));
    }
    match realm.config().database(name).is_some() || !realm.pools().of(Some(name)).is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("no such database: {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_sentences() {
        assert_eq!(sentence("that is wrong", "x"), "That is wrong.");
        assert_eq!(sentence("unknown; did you mean y?", "x"), "Unknown; did you mean y?");
        assert_eq!(sentence("workers must be 1", "Workers"), "workers must be 1.");
        assert_eq!(sentence("pool_mode can't be changed", "x"), "pool_mode can't be changed.");
        assert_eq!(sentence("", "x"), ".");
    }
}
