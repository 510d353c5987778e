//! The listening server: opened when the first client listens, kept a while after the last has stopped, opened again when lost.

use super::super::context::PoolContext;
use super::super::report::printable;
use super::Task;
use crate::clock::Instant;
use crate::metrics::CloseReason;
use crate::pool::Place;
use crate::server::Server;
use crate::server::connect::{hang_up, refusal};
use crate::timer::{sleep, timeout};
use crate::wire::backend::Notification;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;
use crate::wire::tag::backend as b;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// How long the listening server stays when nobody listens any more.
const LINGER: Duration = Duration::from_secs(10);

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often a place is tried for, and with what in between: an idle server that makes room takes a moment to close.
const TRIES: u32 = 10;
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// How often is looked whether a pause is over.
const RESUMED: Duration = Duration::from_millis(100);

/// A failure this long after the connection was made begins with the first pause again.
const LASTING: Duration = Duration::from_secs(10);

/// Most bytes read from it at once.
const READ: usize = 32 * 1024;

/// Nothing of the role or the database may end it or what it does; who looks at pg_stat_activity shall know what it is.
const PREPARE: &str = "SELECT pg_catalog.set_config(name, \
    CASE name WHEN 'application_name' THEN 'pgweir listens' ELSE '0' END, false) \
    FROM pg_catalog.pg_settings WHERE name IN ('application_name', 'idle_session_timeout', 'lock_timeout', \
    'statement_timeout', 'transaction_timeout'); ";

/// The same of a server that was a client's, and listens already.
const PREPARE_GIVEN: &str = "RESET SESSION AUTHORIZATION; RESET ALL; DEALLOCATE ALL; ";

/// Listens for the clients of a pool until nobody has listened for a while.
pub(super) async fn run(context: Arc<PoolContext>) {
    let key = context.pool.key();
    let (database, user) = (&*key.database, &*key.user);
    let mut pause = FIRST_PAUSE;
    while !is_over(&context) {
        while is_held_off(&context) {
            sleep(RESUMED).await;
        }
        let begun = Instant::now();
        let why = match once(&context).await {
            Ok(()) => continue,
            Err(why) => why,
        };
        let first = pause == FIRST_PAUSE || begun.elapsed() >= LASTING;
        pause = if first { FIRST_PAUSE } else { pause };
        let news = context.hub.state.lock().told.is_news(&why, Instant::now());
        match news {
            true => tracing::warn!(database, user, "no listening server: {}", printable(&why)),
            false => tracing::debug!(database, user, "still no listening server: {}", printable(&why)),
        }
        without(&context, pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Has one listening server until it needs none or has lost it, which is told.
async fn once(context: &Arc<PoolContext>) -> Result<(), String> {
    let given = begin(context);
    let (server, place, prepare) = match given {
        Some((server, place)) => (server, place, [PREPARE_GIVEN, PREPARE].concat()),
        None => {
            let place = place(context)
                .await
                .ok_or("no place under max_db_connections, max_user_connections or max_server_connections")?;
            let server = Arc::clone(&context.opener).open().await.map_err(|error| error.to_string())?;
            context.hub.state.lock().books.connected();
            (server, place, PREPARE.to_owned())
        }
    };
    context.hub.state.lock().told.forget();
    listen(context, (server, place), prepare).await.map_err(|error| error.to_string())
}

fn want(context: &PoolContext) {
    let mut state = context.hub.state.lock();
    state.task = Task::Wants;
    let wanting: Vec<_> = state.books.wanting().map(Arc::clone).collect();
    drop(state);
    wanting.iter().for_each(|client| client.knock());
}

/// The server a client has given.
fn begin(context: &PoolContext) -> Option<(Server, Place)> {
    let mut state = context.hub.state.lock();
    state.obsolete = false;
    state.given.take()
}

/// A place, if one is to be had soon.
async fn place(context: &PoolContext) -> Option<Place> {
    for _ in 0..TRIES {
        if let Some(place) = context.pool.place_beside() {
            return Some(place);
        }
        sleep(TRY_AGAIN).await;
    }
    context.pool.place_beside()
}

/// Waits for the next try, or until a client gives its server.
async fn without(context: &PoolContext, pause: Duration) {
    want(context);
    let given = async {
        while context.hub.state.lock().given.is_none() {
            context.hub.news.notified().await;
        }
    };
    let _ = timeout(pause, given).await;
    context.hub.state.lock().task = Task::Runs;
}

/// Whether the task ends, nobody listening; then the next who listens starts another.
fn is_over(context: &PoolContext) -> bool {
    let mut state = context.hub.state.lock();
    let is_over = state.books.is_idle() && state.given.is_none();
    state.task = if is_over { Task::None } else { Task::Runs };
    is_over
}

/// Whether the pool is paused and has no server any more: before, a client may keep its own until there is one that listens.
fn is_held_off(context: &PoolContext) -> bool {
    let numbers = context.pool.numbers();
    numbers.paused && numbers.connections == 0
}

/// Serves on one connection until nobody listens any more or servers are to be elsewhere; fails when it is lost.
async fn listen(
    context: &Arc<PoolContext>,
    (mut server, place): (Server, Place),
    prepare: String,
) -> io::Result<()> {
    let served = serve(context, &mut server, prepare).await;
    context.hub.state.lock().books.lost();
    let reason = if served.is_ok() { CloseReason::IdleTimeout } else { CloseReason::ServerLost };
    context.metrics.server_closed(reason);
    if served.is_ok() {
        hang_up(&mut server).await;
    }
    drop(server);
    drop(place);
    served
}

async fn serve(context: &PoolContext, server: &mut Server, mut prepare: String) -> io::Result<()> {
    let (mut input, mut chunk) = (Vec::new(), vec![0; READ]);
    loop {
        let (statement, idle, obsolete) = {
            let mut state = context.hub.state.lock();
            (state.books.next_statement(), state.books.is_idle(), state.obsolete)
        };
        if obsolete {
            return Ok(());
        }
        if let Some(sql) = statement {
            let mut message = Vec::new();
            frontend::query(&mut message, [mem::take(&mut prepare), sql].concat().as_bytes());
            server.stream.write_all(&message).await?;
        }
        let limit = if idle { LINGER } else { Duration::MAX };
        let news = async {
            tokio::select! {
                read = poll_fn(|cx| server.stream.poll_read(cx, &mut chunk)) => read.map(Some),
                () = context.hub.news.notified() => Ok(None),
            }
        };
        match timeout(limit, news).await {
            Err(_) => return Ok(()),
            Ok(news) => match news? {
                None => {}
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(read) => {
                    input.extend_from_slice(&chunk[..read]);
                    take(context, &mut input)?;
                }
            },
        }
    }
}

/// Deals with the whole messages that are here.
fn take(context: &PoolContext, input: &mut Vec<u8>) -> io::Result<()> {
    let (mut at, mut wake) = (0, Vec::new());
    let mut state = context.hub.state.lock();
    let broken = |e| io::Error::other(format!("the server broke the protocol: {e}"));
    while let Some(header) = frame::header(&input[at..]).map_err(broken)?
        && let Some(message) = input.get(at..at + header.size)
    {
        let body = &message[HEADER..];
        match header.tag {
            b::NOTIFICATION => state.books.heard(&Notification::parse(body).map_err(broken)?, &mut wake),
            b::READY => state.books.confirmed(&mut wake),
            b::ERROR => return Err(io::Error::other(refusal(body).message)),
            _ => {}
        }
        at += header.size;
    }
    drop(state);
    input.drain(..at);
    wake.iter().for_each(|client| client.knock());
    Ok(())
}
