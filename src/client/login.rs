//! From the StartupMessage to ReadyForQuery: who is it, which pool, what parameters.

use super::context::{PoolContext, Reported, Shared};
use super::fit::{self, FitError};
use super::report::Trouble;
use super::startup::Wish;
use crate::auth::login::{Entropy, Login, MAX_RESPONSE, Method, Proof, Request, Step};
use crate::config::AuthType;
use crate::net::stream::Stream;
use crate::params::set::Set;
use crate::params::tracked;
use crate::pool::{ClientId, CloseReason, Request as PoolRequest, WaitError};
use crate::wire::backend::{self, Authentication};
use crate::wire::frame::{self, HEADER};
use crate::wire::tag::frontend::PASSWORD;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long applying a client's parameters to a server may take at login.
const APPLY_LIMIT: Duration = Duration::from_secs(15);

/// Parameter sets remembered with what servers report for them, per pool.
const CANONICAL_KEPT: usize = 1024;

/// Why a login ended.
#[derive(Debug)]
pub enum LoginEnd {
    /// The client is to be told.
    Tell(Trouble),
    /// The socket failed.
    Lost(io::Error),
}

impl From<io::Error> for LoginEnd {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<Trouble> for LoginEnd {
    fn from(trouble: Trouble) -> Self {
        Self::Tell(trouble)
    }
}

/// Lets the client prove who it is. What is to be sent before AuthenticationOk is appended to `last`. Returns also what
/// the client has sent behind its proof.
pub async fn authenticate(
    stream: &mut Stream,
    shared: &Shared,
    wish: &Wish,
    last: &mut Vec<u8>,
) -> Result<(Proof, Vec<u8>), LoginEnd> {
    let method = match shared.config.load().general.auth_type {
        AuthType::Trust => Method::Trust,
        AuthType::Password => Method::Password,
        AuthType::Md5 => Method::Md5,
        AuthType::ScramSha256 => Method::ScramSha256,
    };
    let secret = shared.store.load().secret(&wish.user);
    let entropy = Entropy { nonce: rand::random(), md5_salt: rand::random() };
    let mut step =
        Login::start(method, &wish.user, secret, &shared.login, entropy).map_err(Trouble::Login)?;
    let mut buffer = Vec::new();
    loop {
        match step {
            Step::Done { last: request, proof } => {
                if let Some(request) = request {
                    encode(&request, last);
                }
                return Ok((proof, buffer));
            }
            Step::Continue(login, request) => {
                let mut out = Vec::new();
                encode(&request, &mut out);
                stream.write_all(&out).await?;
                let body = response(stream, &mut buffer).await?;
                step = if login.is_heavy() {
                    let work = tokio::task::spawn_blocking(move || login.on_response(&body));
                    work.await.map_err(io::Error::other)?.map_err(Trouble::Login)?
                } else {
                    login.on_response(&body).map_err(Trouble::Login)?
                };
            }
        }
    }
}

fn encode(request: &Request, out: &mut Vec<u8>) {
    let list: Vec<u8>;
    let message = match request {
        Request::CleartextPassword => Authentication::CleartextPassword,
        Request::Md5Password(salt) => Authentication::Md5Password(*salt),
        Request::Sasl(mechanisms) => {
            list = mechanisms.iter().flat_map(|m| m.bytes().chain([0])).chain([0]).collect();
            Authentication::Sasl(&list)
        }
        Request::SaslContinue(data) => Authentication::SaslContinue(data),
        Request::SaslFinal(data) => Authentication::SaslFinal(data),
    };
    message.encode(out);
}

/// The body of the next `p` message. Anything else ends the login: a second StartupMessage, too, looks like one.
async fn response(stream: &mut Stream, buffer: &mut Vec<u8>) -> Result<Vec<u8>, LoginEnd> {
    loop {
        if buffer.first().is_some_and(|&tag| tag != PASSWORD) {
            return Err(Trouble::ExpectedPassword.into());
        }
        match frame::header(buffer).map_err(Trouble::Protocol)? {
            Some(header) if header.size > MAX_RESPONSE + HEADER => {
                return Err(Trouble::Protocol(crate::wire::error::WireError::Length).into());
            }
            Some(header) if buffer.len() >= header.size => {
                let body = buffer[HEADER..header.size].to_vec();
                buffer.drain(..header.size);
                return Ok(body);
            }
            _ => {}
        }
        if stream.read_some(buffer, 4096).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// The parameters a client starts with, as a set.
pub fn wanted(shared: &Shared, wish: &Wish) -> Arc<Set> {
    let config = shared.config.load();
    let kept = wish.parameters.iter().filter(|(name, _)| !config.general.ignores_startup_parameter(name));
    shared.sets.intern(kept.map(|(name, value)| (&**name, &**value)))
}

/// What the client is told its parameters are: a real server's, with the client's own applied by a real server.
pub async fn reported(
    context: &Arc<PoolContext>,
    client: u64,
    worker: usize,
    wanted: &Arc<Set>,
) -> Result<Vec<(String, String)>, Trouble> {
    let name = wanted.value("application_name").filter(|name| is_taken_as_it_is(name));
    let checked = if name.is_some() {
        context.shared.sets.with(wanted, "application_name", None)
    } else {
        Arc::clone(wanted)
    };
    let changed =
        if checked.is_empty() { None } else { Some(canonical(context, client, worker, &checked).await?) };
    if context.welcome.load().is_none()
        && let Some(lease) = lease(context, client, worker).await?
    {
        lease.release(Instant::now());
    }
    let mut all = context.welcome.load().as_deref().cloned().unwrap_or_default();
    for (name, value) in changed.iter().flat_map(|c| c.iter()) {
        set(&mut all, name, value);
    }
    if let Some(name) = name {
        set(&mut all, "application_name", name);
    }
    Ok(all)
}

/// Whether PostgreSQL reports this application_name as it was given, so that no server need be asked.
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

async fn canonical(
    context: &Arc<PoolContext>,
    client: u64,
    worker: usize,
    wanted: &Arc<Set>,
) -> Result<Reported, Trouble> {
    let key = Arc::as_ptr(wanted) as usize;
    if let Some((_, reported)) = context.canonical.lock().get(&key) {
        return Ok(Arc::clone(reported));
    }
    let Some(mut lease) = lease(context, client, worker).await? else { return Ok(Vec::new().into()) };
    let applied = timeout(APPLY_LIMIT, apply(&mut lease, context, wanted)).await;
    match applied {
        Ok(Ok(reported)) => {
            lease.release(Instant::now());
            let mut canonical = context.canonical.lock();
            if canonical.len() >= CANONICAL_KEPT {
                canonical.clear();
            }
            canonical.insert(key, (Arc::clone(wanted), Arc::clone(&reported)));
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
async fn apply(
    server: &mut crate::server::Server,
    context: &PoolContext,
    wanted: &Arc<Set>,
) -> Result<Reported, FitError> {
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

async fn lease(
    context: &Arc<PoolContext>,
    client: u64,
    worker: usize,
) -> Result<Option<crate::pool::Lease<crate::server::Server>>, Trouble> {
    let request = PoolRequest { client: ClientId(client), worker, hint: None, now: Instant::now() };
    match context.pool.acquire(request).await {
        Ok(lease) => Ok(Some(lease)),
        Err(error) => {
            let behind =
                matches!(error, WaitError::Timeout).then(|| context.pool.last_open_error()).flatten();
            Err(Trouble::NoServer(error, behind.map(|e| e.to_string())))
        }
    }
}

/// Appends the bytes from AuthenticationOk to ReadyForQuery.
pub fn welcome(out: &mut Vec<u8>, parameters: &[(String, String)], pid: u32, secret: &[u8]) {
    Authentication::Ok.encode(out);
    for (name, value) in parameters {
        backend::parameter_status(out, name.as_bytes(), value.as_bytes());
    }
    backend::backend_key_data(out, pid, secret);
    out.extend_from_slice(backend::READY_IDLE);
}
