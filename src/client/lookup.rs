//! The secret of who logs in: as configured, else as PostgreSQL says (auth_query). What is asked for a lookup runs as auth_user
//! in a session that has nothing of any client's.

use super::context::{PoolContext, Shared};
use super::fit::{FitError, drain, fit};
use super::report::printable;
use crate::auth::login::Proof;
use crate::auth::secret::{Secret, StoredSecret};
use crate::clock::Instant;
use crate::config::AuthQuery;
use crate::credentials::auth_query;
use crate::credentials::cache::{Answer, Found, Key};
use crate::credentials::lookups::{Flight, Look, LookupError};
use crate::params::set::Set;
use crate::pool::{ClientId, CloseReason, Request, WaitError};
use crate::server::Server;
use crate::server::connect::refusal;
use crate::server::exchange::Reply;
use crate::timer::timeout;
use crate::wire::sqlstate;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

/// How long a lookup may take when server_connect_timeout doesn't say.
const LIMIT: Duration = Duration::from_secs(15);

/// Lookups of one place under way at the same time; others wait for their turn.
const AT_ONCE: usize = 4;

/// Those of them that may be for names not known to be anybody's: so who invents names has no user known wait for his turn.
const OF_STRANGERS: usize = AT_ONCE - 1;

/// What makes a session forget whatever it was used for.
const CLEAN: &str = "DISCARD ALL";

/// Whose lookups are under way, in one place.
#[derive(Debug)]
pub struct Turns {
    all: Semaphore,
    strangers: Semaphore,
}

/// The right to ask. Given back in this order.
#[derive(Debug)]
struct Turn<'a> {
    _one: SemaphorePermit<'a>,
    _of_strangers: Option<SemaphorePermit<'a>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: Semaphore::new(AT_ONCE), strangers: Semaphore::new(OF_STRANGERS) }
    }
}

impl Turns {
    /// Whether lookups are under way, or wait for their turn.
    pub fn is_asked(&self) -> bool {
        self.all.available_permits() < AT_ONCE || self.strangers.available_permits() < OF_STRANGERS
    }

    async fn take(&self, is_known: bool) -> Option<Turn<'_>> {
        let of_strangers = if is_known { None } else { Some(self.strangers.acquire().await.ok()?) };
        Some(Turn { _one: self.all.acquire().await.ok()?, _of_strangers: of_strangers })
    }
}

/// A secret, and where it is from.
#[derive(Debug)]
pub struct Known {
    /// The secret; `None`: nobody gets in by that name.
    pub secret: Found,
    /// Set if it was looked up.
    pub source: Option<Key>,
}

impl Known {
    /// What a server login can use beside what the client gave away: a looked up secret that is no SCRAM secret.
    pub fn prove(&self, proof: Proof) -> Proof {
        match (proof, &self.secret, &self.source) {
            (Proof::Nothing, Some(secret), Some(_)) if !matches!(secret.secret(), Secret::Scram(_)) => {
                Proof::Stored(secret.secret().clone())
            }
            (proof, ..) => proof,
        }
    }
}

/// The secret of a user who wants to log in to a database. Cancel safe: a lookup goes on for others.
///
/// # Errors
/// When it could not be found out; then nobody may be let in.
pub async fn secret(shared: &Arc<Shared>, user: &str, database: &str) -> Result<Known, LookupError> {
    let listed = shared.store.load().secret(user);
    let config = shared.config.load();
    let source = if listed.is_some() { None } else { config.auth_query(database) };
    let Some(source) = source else { return Ok(Known { secret: listed, source: None }) };
    let key = Key {
        database: source.database.name.as_str().into(),
        by: source.user.as_str().into(),
        query: source.query.as_str().into(),
        user: user.into(),
    };
    let keep = config.general.auth_query_cache.unwrap_or_default();
    drop(config);
    let begin = |flight| drop(shared.runtime.spawn(fly(Arc::clone(shared), source, flight)));
    let secret = match shared.lookups.look(&key, Instant::now(), keep) {
        Look::Known(found) => found,
        Look::Aging(found, flight) => {
            begin(flight);
            found
        }
        Look::Wait(waiting) => waiting.answer().await?,
        Look::Begin(flight, waiting) => {
            begin(flight);
            waiting.answer().await?
        }
    };
    Ok(Known { secret, source: Some(key) })
}

/// Asks, and tells all who wait.
async fn fly(shared: Arc<Shared>, source: AuthQuery, flight: Flight) {
    let limit = shared.config.load().general.server_connect_timeout.unwrap_or(LIMIT);
    let user = Arc::clone(&flight.key().user);
    let context = shared.context(&source.database, &source.user);
    let asking = async {
        let _turn = turn(&context.lookups, &flight).await?;
        Some(ask(&context, &source.query, &user).await)
    };
    let ended = timeout(limit, asking).await;
    // Only now: a lookup that has its turn keeps the pool.
    shared.forget_invented(&context);
    let answer = match ended {
        Ok(Some(answer)) => answer,
        Ok(None) => return,
        Err(_) => {
            let behind = context.pool.last_open_error().map(|error| error.to_string());
            Err(LookupError::Unreachable(behind.unwrap_or_else(|| "no answer in time".to_owned()).into()))
        }
    };
    if let Err(error) = &answer {
        let (database, by) = (&*source.database.name, &*source.user);
        tracing::warn!(
            database,
            auth_user = by,
            user = printable(&user),
            "{}",
            printable(&error.to_string())
        );
    }
    flight.land(answer, Instant::now());
}

/// The right to ask. None if nobody waits for the answer, so that those in line are no more than clients that log in: what is
/// only to be made sure of is asked at once or not, unless somebody who has to know has joined it.
async fn turn<'a>(lookups: &'a Turns, flight: &Flight) -> Option<Turn<'a>> {
    tokio::select! {
        biased;
        turn = lookups.take(flight.is_known()) => turn,
        () = flight.abandoned() => None,
    }
}

async fn ask(context: &Arc<PoolContext>, query: &str, user: &str) -> Result<Option<Answer>, LookupError> {
    let client = ClientId(context.shared.roster.next_id());
    let request = Request { client, hint: None, now: Instant::now() };
    context.shared.roster.begins();
    let mut lease = match context.pool.acquire(request).await {
        Ok(lease) => lease,
        // There is no such database: so there is nobody who could log in to it.
        Err(WaitError::Open(error)) if error.sqlstate == sqlstate::INVALID_CATALOG_NAME => return Ok(None),
        Err(error) => return Err(LookupError::Unreachable(error.to_string().into())),
    };
    let answer = run(&mut lease, &context.defaults, query, user).await;
    if let Ok(Some(found)) = &answer
        && let Err(why) = Secret::parse(&found.text)
    {
        tracing::warn!(
            user,
            "the secret that auth_query has found can't be used, so nobody is known by it: {why}"
        );
    }
    let is_sound = lease.talk.is_free() && lease.talk.exchange.doubt().is_none();
    match &answer {
        Ok(_) | Err(LookupError::Query(_)) if is_sound => lease.release(Instant::now()),
        _ => lease.close(CloseReason::ResetFailed),
    }
    answer
}

/// From a clean session: whoever used it last, as the same user or as another, has left nothing that names could be found by.
///
/// # Errors
/// When the server was lost, refused, or said what is of no use. Not cancel safe: dropped half way, the server must be closed.
pub async fn run(
    server: &mut Server,
    defaults: &Arc<Set>,
    query: &str,
    user: &str,
) -> Result<Option<Answer>, LookupError> {
    let lost = |error: std::io::Error| LookupError::Unreachable(error.to_string().into());
    let used = server.talk.dirty || server.owner != 0;
    let reset = used.then_some(CLEAN);
    fit(server, reset, defaults, defaults).await.map_err(|error| match error {
        FitError::Refused(refusal) => LookupError::Unreachable(refusal.message.into()),
        FitError::Lost(error) => lost(error),
    })?;
    server.owner = 0;
    let mut bytes = Vec::new();
    auth_query::encode(&mut bytes, query, user);
    let talk = &mut server.talk;
    [Reply::Parse, Reply::Bind, Reply::Execute, Reply::Sync].into_iter().for_each(|r| talk.expect_prelude(r));
    talk.unnamed = None;
    talk.inspection = Some(Vec::new());
    // PostgreSQL reckons from when it began, which is later.
    let asked = Instant::now();
    server.stream.write_all(&bytes).await.map_err(lost)?;
    let drained = drain(server).await;
    let reply = Zeroizing::new(server.talk.inspection.take().unwrap_or_default());
    drained.map_err(lost)?;
    server.talk.heard.parameters.clear();
    if let Some(error) = server.talk.heard.prelude_error.take() {
        let refusal = refusal(&error);
        return Err(LookupError::Query(format!("{} [{}]", refusal.message, refusal.sqlstate).into()));
    }
    let row = auth_query::read(&reply, user).map_err(|error| LookupError::Query(error.to_string().into()))?;
    let until = |good_for: Duration| asked.checked_add(good_for);
    Ok(row.map(|row| Answer { text: row.secret, until: row.good_for.and_then(until) }))
}

/// A login has failed. If that was by a remembered secret and PostgreSQL has another by now, that one.
pub async fn changed(shared: &Arc<Shared>, known: &Known, user: &str, database: &str) -> Option<Known> {
    let key = known.source.as_ref()?;
    shared.lookups.doubt(key);
    // Else it was asked for just now.
    shared.config.load().general.auth_query_cache?;
    let now = secret(shared, user, database).await.ok()?;
    let same = |old: &Arc<StoredSecret>| now.secret.as_ref().is_some_and(|new| Arc::ptr_eq(old, new));
    let is_new = now.secret.is_some() && !known.secret.as_ref().is_some_and(same);
    is_new.then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::lookups::Lookups;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    const KEEP: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_refresh_waits_for_who_has_joined_it() {
        let key = Key { database: "d".into(), by: "b".into(), query: "q".into(), user: "u".into() };
        let (lookups, now) = (Arc::new(Lookups::default()), Instant::now());
        let (full, later) = (Turns { all: Semaphore::new(0), ..Turns::default() }, now + KEEP * 2 / 3);
        let Look::Begin(flight, _) = lookups.look(&key, now, KEEP) else { panic!("nothing is known") };
        flight.land(Ok(Some(Answer::of("x"))), now);
        let Look::Aging(_, refresh) = lookups.look(&key, later, KEEP) else { panic!("it is aging") };
        assert!(turn(&full, &refresh).await.is_none(), "nobody waits for it");
        drop(refresh);

        let Look::Aging(_, refresh) = lookups.look(&key, later, KEEP) else { panic!("it is aging") };
        lookups.doubt(&key);
        let Look::Wait(joined) = lookups.look(&key, later, KEEP) else { panic!("it is being asked for") };
        let mut turn = pin!(turn(&full, &refresh));
        let waits = poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx).is_pending())).await;
        assert!(waits, "somebody has to know");
        drop(joined);
        assert!(turn.await.is_none());
    }

    #[tokio::test]
    async fn invented_names_leave_a_turn_to_known_users() {
        let key =
            |user: &str| Key { database: "d".into(), by: "b".into(), query: "q".into(), user: user.into() };
        let (lookups, now, turns) = (Arc::new(Lookups::default()), Instant::now(), Turns::default());
        let begin = |user: &str, now| match lookups.look(&key(user), now, KEEP) {
            Look::Begin(flight, waiting) => (flight, waiting),
            other => panic!("{other:?}"),
        };
        begin("known", now).0.land(Ok(Some(Answer::of("x"))), now);
        let names = ["a", "b", "c", "d"].map(|name| begin(name, now));
        let mut taken = Vec::new();
        for (flight, _) in &names[..OF_STRANGERS] {
            taken.push(turn(&turns, flight).await.expect("there is room"));
        }
        let mut one_more = pin!(turn(&turns, &names[OF_STRANGERS].0));
        assert!(poll_fn(|cx| Poll::Ready(one_more.as_mut().poll(cx).is_pending())).await);
        let Look::Aging(_, refresh) = lookups.look(&key("known"), now + KEEP / 2, KEEP) else {
            panic!("it is aging")
        };
        assert!(turn(&turns, &refresh).await.is_some(), "a renewal goes ahead");
        drop(refresh);
        let expired = begin("known", now + KEEP * 2);
        let last = turn(&turns, &expired.0).await.expect("so does a login");
        assert!(turns.is_asked());
        drop((last, taken));
        assert!(one_more.await.is_some());
    }
}
