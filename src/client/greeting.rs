//! What a client is told its parameters are when it logs in.

use super::context::{PoolContext, Reported};
use super::fit::{self, FitError};
use super::in_the_way::InTheWay;
use super::report::Trouble;
use crate::clock::Instant;
use crate::params::set::Set;
use crate::params::tracked;
use crate::pool::{ClientId, CloseReason, Lease, Request as PoolRequest};
use crate::server::Server;
use crate::timer::timeout;
use crate::wire::backend::parameter_status;
use parking_lot::{MappedMutexGuard, MutexGuard};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const APPLICATION_NAME: &str = "application_name";

/// How long applying a client's parameters to a server may take at login.
const APPLY_LIMIT: Duration = Duration::from_secs(15);

/// Parameter sets remembered with what servers report for them, per pool.
const CANONICAL_KEPT: usize = 1024;

/// ParameterStatus values by name, as a server's login reported them.
pub type Welcome = Arc<Vec<(String, String)>>;

/// A parameter set as servers see it.
#[derive(Debug)]
pub struct Canonical {
    /// Kept, so that its address stays its own.
    set: Arc<Set>,
    /// What servers reported after it was applied to them.
    reported: Reported,
    greeting: Option<Arc<Greeting>>,
}

/// What clients with the same parameters, application_name aside, are told: encoded once.
#[derive(Debug)]
pub struct Greeting {
    /// What it was made from.
    welcome: Option<Welcome>,
    statuses: Vec<u8>,
    application_name: Option<String>,
}

impl Greeting {
    fn new(welcome: Option<Welcome>, changed: &[(String, String)]) -> Self {
        let mut all = welcome.as_deref().cloned().unwrap_or_default();
        for (name, value) in changed {
            set(&mut all, name, value);
        }
        let named = |name: &str| name.eq_ignore_ascii_case(APPLICATION_NAME);
        let (mut statuses, mut application_name) = (Vec::new(), None);
        for (name, value) in all {
            if named(&name) {
                application_name = Some(value);
            } else {
                parameter_status(&mut statuses, name.as_bytes(), value.as_bytes());
            }
        }
        Self { welcome, statuses, application_name }
    }

    /// Appends the ParameterStatus messages for a client that wants these parameters.
    pub fn encode(&self, out: &mut Vec<u8>, wanted: &Set) {
        out.extend_from_slice(&self.statuses);
        if let Some(name) = given_name(wanted).or(self.application_name.as_deref()) {
            parameter_status(out, APPLICATION_NAME.as_bytes(), name.as_bytes());
        }
    }
}

/// What the client is told its parameters are: a real server's, with the client's own applied by a real server.
pub async fn greeting(
    context: &Arc<PoolContext>,
    client: u64,
    wanted: &Arc<Set>,
) -> Result<Arc<Greeting>, Trouble> {
    let checked = match given_name(wanted) {
        Some(_) => context.shared.sets.with(wanted, APPLICATION_NAME, None),
        None => Arc::clone(wanted),
    };
    if let Some(greeting) = known(context, &checked) {
        return Ok(greeting);
    }
    if let Some(unchecked) = without_a_server(context, &checked) {
        return Ok(unchecked);
    }
    let changed =
        if checked.is_empty() { Reported::default() } else { canonical(context, client, &checked).await? };
    if context.welcome.load().is_none() {
        lease(context, client).await?.release(Instant::now());
    }
    let greeting = Arc::new(Greeting::new(context.welcome.load_full(), &changed));
    remember(context, &checked, &changed).greeting = Some(Arc::clone(&greeting));
    Ok(greeting)
}

/// The greeting with the values as they were asked for, while there is no server that could check them and none can be had: what is
/// wrong with them is told when the first request has one.
fn without_a_server(context: &PoolContext, set: &Set) -> Option<Arc<Greeting>> {
    let welcome = context.welcome.load_full()?;
    let numbers = context.pool.numbers();
    let has_none = numbers.active + numbers.idle + numbers.dirty_idle == 0;
    let is_down = has_none && context.pool.last_open_error().is_some();
    if !numbers.paused && !is_down {
        return None;
    }
    let asked: Vec<_> = set.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Arc::new(Greeting::new(Some(welcome), &asked)))
}

/// The greeting for a set, if no server has reported anything new since it was made.
fn known(context: &PoolContext, set: &Arc<Set>) -> Option<Arc<Greeting>> {
    let canonical = context.canonical.lock();
    let entry = canonical.get(&(Arc::as_ptr(set) as usize)).filter(|entry| Arc::ptr_eq(&entry.set, set))?;
    let greeting = entry.greeting.as_ref()?;
    let now = context.welcome.load();
    let same = Arc::ptr_eq(greeting.welcome.as_ref()?, now.as_ref()?);
    same.then(|| Arc::clone(greeting))
}

/// The entry of a set, made if it isn't there.
fn remember<'a>(
    context: &'a PoolContext,
    set: &Arc<Set>,
    reported: &Reported,
) -> MappedMutexGuard<'a, Canonical> {
    MutexGuard::map(context.canonical.lock(), |all| {
        let key = Arc::as_ptr(set) as usize;
        if all.len() >= CANONICAL_KEPT && !all.contains_key(&key) {
            all.clear();
        }
        all.entry(key).or_insert_with(|| Canonical {
            set: Arc::clone(set),
            reported: Arc::clone(reported),
            greeting: None,
        })
    })
}

/// The client's application_name, if PostgreSQL reports it as it was given, so that no server need be asked.
fn given_name(wanted: &Set) -> Option<&str> {
    wanted.value(APPLICATION_NAME).filter(|name| is_taken_as_it_is(name))
}

fn is_taken_as_it_is(name: &str) -> bool {
    name.len() < 64 && name.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn set(all: &mut Vec<(String, String)>, name: &str, value: &str) {
    match all.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
        Some(pair) => value.clone_into(&mut pair.1),
        None if tracked::follows_client(name) => all.push((name.to_owned(), value.to_owned())),
        None => {}
    }
}

async fn canonical(context: &Arc<PoolContext>, client: u64, wanted: &Arc<Set>) -> Result<Reported, Trouble> {
    let key = Arc::as_ptr(wanted) as usize;
    if let Some(known) = context.canonical.lock().get(&key) {
        return Ok(Arc::clone(&known.reported));
    }
    let mut lease = lease(context, client).await?;
    let applied = timeout(APPLY_LIMIT, apply(&mut lease, context, wanted)).await;
    match applied {
        Ok(Ok(reported)) => {
            lease.release(Instant::now());
            drop(remember(context, wanted, &reported));
            Ok(reported)
        }
        // The SELECT failed as a whole: the session is as it was.
        Ok(Err(FitError::Refused(refusal))) => {
            if lease.talk.is_free() && lease.talk.exchange.doubt().is_none() {
                lease.release(Instant::now());
            } else {
                lease.close(CloseReason::ResetFailed);
            }
            Err(Trouble::Refused(refusal))
        }
        Ok(Err(FitError::Lost(_))) | Err(_) => {
            lease.close(CloseReason::Lost);
            Err(Trouble::ServerLost)
        }
    }
}

/// From a clean session, so that everything that changes is reported.
async fn apply(server: &mut Server, context: &PoolContext, wanted: &Arc<Set>) -> Result<Reported, FitError> {
    let reset = context.reset_query.as_deref().filter(|_| server.talk.dirty);
    let clean = fit::fit(server, reset, &context.defaults, &context.defaults).await;
    clean.map_err(|error| match error {
        FitError::Refused(refusal) => FitError::Lost(io::Error::other(refusal.message)),
        lost @ FitError::Lost(_) => lost,
    })?;
    server.talk.heard = Default::default();
    server.owner = 0;
    let applied = fit::fit(server, None, wanted, &context.defaults).await;
    if applied.is_err() {
        // One statement: it has set all of them or none.
        server.talk.parameters = Arc::clone(&context.defaults);
    }
    applied?;
    let heard = std::mem::take(&mut server.talk.heard).parameters.into_iter();
    // What the server had already it doesn't report; the next may have something else.
    let had = server.welcome.iter().filter(|(name, _)| wanted.value(&name.to_ascii_lowercase()).is_some());
    Ok(had.cloned().chain(heard.map(|(name, value, _)| (name, value))).collect())
}

/// A server for a login, waited for in line. Cancel safe.
pub(super) async fn lease(context: &Arc<PoolContext>, client: u64) -> Result<Lease<Server>, Trouble> {
    let request = PoolRequest { client: ClientId(client), hint: None, now: Instant::now() };
    context.shared.roster.begins();
    match context.pool.acquire(request).await {
        Ok(lease) => Ok(lease),
        Err(error) => {
            let behind = InTheWay::of(context, &error);
            Err(Trouble::NoServer(error, behind))
        }
    }
}
