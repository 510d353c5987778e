//! The listening server: opened when the first client listens, kept a while after the last has stopped, opened again when lost.

use super::super::context::PoolContext;
use crate::clock::Instant;
use crate::metrics::CloseReason;
use crate::pool::Place;
use crate::server::Server;
use crate::server::connect::{hang_up, refusal};
use crate::wire::backend::Notification;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;
use crate::wire::tag::backend as b;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the listening server stays when nobody listens any more.
const LINGER: Duration = Duration::from_secs(10);

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A failure this long after the connection was made begins with the first pause again.
const LASTING: Duration = Duration::from_secs(10);

/// Most bytes read from it at once.
const READ: usize = 32 * 1024;

/// Nothing of the role or the database may end it or what it does; who looks at pg_stat_activity shall know what it is.
const PREPARE: &str = "SELECT pg_catalog.set_config(name, \
    CASE name WHEN 'application_name' THEN 'pgweir listens' ELSE '0' END, false) \
    FROM pg_catalog.pg_settings WHERE name IN ('application_name', 'idle_session_timeout', 'lock_timeout', \
    'statement_timeout', 'transaction_timeout'); ";

/// Listens for the clients of a pool until nobody has listened for a while.
pub(super) async fn run(context: Arc<PoolContext>) {
    let mut pause = FIRST_PAUSE;
    while !is_over(&context) {
        context.hub.state.lock().obsolete = false;
        let begun = Instant::now();
        let Some(place) = context.pool.place_beside() else {
            sleep(FIRST_PAUSE).await;
            continue;
        };
        let why = match Arc::clone(&context.opener).open().await {
            Ok(server) => match listen(&context, server, place).await {
                Ok(()) => continue,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let key = context.pool.key();
        let (database, user) = (&*key.database, &*key.user);
        tracing::warn!(database, user, "no listening server: {}", super::super::report::printable(&why));
        pause = if begun.elapsed() >= LASTING { FIRST_PAUSE } else { pause };
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the task ends, nobody listening; then the next who listens starts another.
fn is_over(context: &PoolContext) -> bool {
    let mut state = context.hub.state.lock();
    state.runs = !state.books.is_idle();
    !state.runs
}

/// Serves on one connection until nobody listens any more or servers are to be elsewhere; fails when it is lost.
async fn listen(context: &Arc<PoolContext>, mut server: Server, place: Place) -> io::Result<()> {
    context.hub.state.lock().books.connected();
    let served = serve(context, &mut server).await;
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

async fn serve(context: &PoolContext, server: &mut Server) -> io::Result<()> {
    let (mut input, mut prepare) = (Vec::new(), PREPARE);
    let mut chunk = vec![0; READ];
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
            frontend::query(&mut message, [prepare, &sql].concat().as_bytes());
            server.stream.write_all(&message).await?;
            prepare = "";
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
