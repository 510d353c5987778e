//! From the StartupMessage to ReadyForQuery: who is it, which pool, what parameters.

use super::bearer;
use super::context::Shared;
use super::entry::{Entry, Way};
use super::lookup::{self, Known};
use super::recheck::{Begun, check_encryption, recheck};
use super::report::Trouble;
use super::startup::Wish;
use crate::audit;
use crate::auth::hba::{EntryError, Guess as Likely, Reason};
use crate::auth::login::{
    Circumstances, Login, LoginError, MAX_RESPONSE, Method, Proof, Request, Step, clear_password,
};
use crate::credentials::cache::Found;
use crate::credentials::{ldap, pam};
use crate::net::stream::Stream;
use crate::params::set::Set;
use crate::roster::ClientAddress;
use crate::timer::{timeout, with_keeper};
use crate::tls::Channel;
use crate::wire::backend::{self, Authentication, Report, Severity};
use crate::wire::error::WireError;
use crate::wire::frame::{self, HEADER};
use crate::wire::sqlstate;
use crate::wire::tag::frontend::PASSWORD;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use zeroize::{Zeroize as _, Zeroizing};

/// Why a login ended.
#[derive(Debug)]
pub enum LoginEnd {
    /// The client is to be told.
    Tell(Trouble),
    /// The client is to be told so late: it may have guessed.
    Guessed(Box<Trouble>, Duration),
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

/// How long all servers of a directory together may take, or PAM.
const ELSEWHERE_LIMIT: Duration = Duration::from_secs(20);

/// What a connection may keep here before it has proved who it is: its startup parameters and its answer, in bytes.
const MOST_HELD: usize = MAX_RESPONSE;

/// How much of an answer is read at once, in bytes.
const READ_AT_ONCE: usize = 1024;

/// Room for all pgweir says during a usual login, so that it is taken once.
pub const USUAL_ANSWER: usize = 1024;

/// A client that is who it says, or whose word doesn't count.
#[derive(Debug)]
pub struct Proved {
    /// What server logins can use.
    pub proof: Proof,
    /// It was held against a secret that was looked up: true for who could answer that, and for PostgreSQL to agree to.
    pub is_looked_up: bool,
    /// What the client has sent behind its proof.
    pub early: Vec<u8>,
    /// It has proved nothing (auth_type any): it may only go on as the user that its database is set to.
    pub is_anybody: bool,
    /// The rule that asked for what it has proved.
    pub rule: Option<Box<audit::Rule>>,
}

/// Lets the client prove who it is. What is to be sent before AuthenticationOk is left in `out`, which is empty at the
/// start.
pub async fn authenticate(
    stream: &mut Stream,
    shared: &Arc<Shared>,
    (wish, address): (&Wish, ClientAddress),
    out: &mut Vec<u8>,
) -> Result<Proved, LoginEnd> {
    let mut begun = Begun::now(shared);
    let mut entry = Entry::find(shared, stream, address, wish).map_err(Trouble::Entry)?;
    entry.check_shown(stream, wish).map_err(Trouble::Entry)?;
    let mut proved = Proved {
        proof: Proof::Nothing,
        is_looked_up: false,
        early: Vec::new(),
        is_anybody: entry.way == Way::Anybody,
        rule: entry.rule.take(),
    };
    let mut by = None;
    match &entry.way {
        &Way::Secret(method) => {
            let (known, proof);
            (known, proof, proved.early) = prove(stream, shared, (wish, address, method), out).await?;
            proved.is_looked_up = method != Method::Trust && known.source.is_some();
            proved.proof = known.prove(proof);
            by = Some(known);
        }
        way @ (Way::Directory(_) | Way::Pam(_)) => {
            // Rare, and much larger than all else a login is.
            let asking = Box::pin(ask_elsewhere(stream, shared, (wish, address, way), out));
            (proved.proof, proved.early) = asking.await?;
        }
        Way::Bearer(oauth) => {
            let asking = Box::pin(bearer::prove(stream, shared, (&entry, oauth, wish, address), out));
            proved.early = asking.await?;
        }
        Way::Peer => entry.check_peer(stream, wish).await?,
        Way::Certificate | Way::Anybody => {}
    }
    entry.check_name(stream, wish).map_err(Trouble::Entry)?;
    if matches!(entry.way, Way::Peer | Way::Certificate | Way::Bearer(_)) {
        let known = look_up(stream, shared, wish).await?;
        let is_vouched_for = matches!(entry.way, Way::Bearer(_)) && has_server_login(shared, wish);
        let known = (is_vouched_for || is_known(shared, &known, wish)).then(|| known.prove(Proof::Nothing));
        proved.proof = known.ok_or_else(|| Trouble::Entry(entry.unknown(wish)))?;
    }
    while !begun.is_in_force(shared) {
        begun = Begun::now(shared);
        Box::pin(recheck(stream, shared, (wish, address), (&entry, by.as_ref()))).await?;
    }
    check_encryption(shared, stream, address)?;
    Ok(proved)
}

/// Whether there is such a user: somebody with a secret, or with a section of the configuration.
pub(super) fn is_known(shared: &Shared, known: &Known, wish: &Wish) -> bool {
    known.secret.is_some() || shared.config.load().users.contains_key(&wish.user)
}

/// Whether the database's section alone has what servers are opened with, whoever the client is.
fn has_server_login(shared: &Shared, wish: &Wish) -> bool {
    let config = shared.config.load();
    let database = config.database(&wish.database);
    database.is_some_and(|it| it.user.is_some() || config.server_password(&it, &wish.user).is_some())
}

/// The part with passwords: by which secret, what that gave away, and what the client has sent behind its proof.
async fn prove(
    stream: &mut Stream,
    shared: &Arc<Shared>,
    (wish, address, method): (&Wish, ClientAddress, Method),
    out: &mut Vec<u8>,
) -> Result<(Known, Proof, Vec<u8>), LoginEnd> {
    if method != Method::Trust && shared.guesses_too_much(address) {
        return Err(Trouble::TooManyFailures.into());
    }
    let mut known = look_up(stream, shared, wish).await?;
    if method == Method::Trust && is_known(shared, &known, wish) {
        return Ok((known, Proof::Nothing, Vec::new()));
    }
    let listed = shared.login.load_full();
    // Also where nobody is looked up, so that a database that doesn't exist looks like those that do.
    let looks_up = known.secret.is_none() && shared.config.load().looks_up();
    let asking = looks_up.then(|| listed.asking(shared.lookups.most_look_like()));
    let (settings, own) = (asking.as_ref().unwrap_or(&listed), circumstances(stream));
    let begin = |secret| Login::start(method, &wish.user, secret, settings, own);
    let mut step = begin(known.secret.clone()).map_err(Trouble::Login)?;
    let mut buffer = Zeroizing::new(Vec::new());
    loop {
        match step {
            Step::Done { last: request, proof } => {
                if let Some(request) = request {
                    encode(&request, out);
                }
                return Ok((known, proof, std::mem::take(&mut *buffer)));
            }
            Step::Continue(login, request) => {
                encode(&request, out);
                stream.write_all(out).await?;
                out.clear();
                let read = response(stream, &mut buffer, wish).await;
                let size = read.map_err(|end| in_postgresqls_words(end, &request, wish))?;
                let guess = match shared.guess_at_once(address, login.is_decisive()) {
                    Some(guess) => guess,
                    None => Box::pin(shared.guess(stream, address)).await?,
                };
                let body = &buffer[HEADER..size];
                let outcome = match login.is_heavy() {
                    false => login.on_response(body),
                    // Boxed, as all that is rare, so that others are no larger for it.
                    true => Box::pin(respond(login, body)).await?,
                };
                step = match outcome {
                    Ok(step) => step,
                    Err(error) => {
                        let look = Box::pin(second_look(shared, (&known, wish), &request, (&begin, body)));
                        match look.await? {
                            Some((newer, Ok(step))) => {
                                known = newer;
                                step
                            }
                            Some((_, Err(error))) => return Err(guess.refused(Trouble::Login(error))),
                            None => return Err(guess.refused(Trouble::Login(error))),
                        }
                    }
                };
                wipe(&mut buffer, size);
            }
        }
    }
}

/// Takes the body of a response, elsewhere if that is much work.
async fn respond(login: Login, body: &[u8]) -> io::Result<Result<Step, LoginError>> {
    if !login.is_heavy() {
        return Ok(login.on_response(body));
    }
    let body = Zeroizing::new(body.to_vec());
    tokio::task::spawn_blocking(move || login.on_response(&body)).await.map_err(io::Error::other)
}

/// The user's secret. A client that leaves meanwhile is let go.
pub(super) async fn look_up(
    stream: &mut Stream,
    shared: &Arc<Shared>,
    wish: &Wish,
) -> Result<Known, LoginEnd> {
    tokio::select! {
        biased;
        known = lookup::secret(shared, &wish.user, &wish.database) => Ok(known.map_err(Trouble::Lookup)?),
        () = stream.hung_up() => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// Whether the secret has changed since it was looked up, so that the same answer to the same request may be right; then, what
/// it comes to. With SCRAM it can't be: the request had the old secret's salt, and only the next login has the new one's.
async fn second_look(
    shared: &Arc<Shared>,
    (known, wish): (&Known, &Wish),
    request: &Request,
    (begin, body): (&impl Fn(Found) -> Result<Step, LoginError>, &[u8]),
) -> io::Result<Option<(Known, Result<Step, LoginError>)>> {
    if !matches!(request, Request::CleartextPassword | Request::Md5Password(_)) {
        known.source.iter().for_each(|source| shared.lookups.doubt(source));
        return Ok(None);
    }
    let newer = lookup::changed(shared, known, &wish.user, &wish.database).await;
    let Some(newer) = newer else { return Ok(None) };
    match begin(newer.secret.clone()) {
        Ok(Step::Continue(login, same)) if same == *request => {
            let outcome = respond(login, body).await?;
            Ok(Some((newer, outcome)))
        }
        _ => Ok(None),
    }
}

/// The password, which is asked for in clear, is for a directory or for PAM to check.
async fn ask_elsewhere(
    stream: &mut Stream,
    shared: &Shared,
    (wish, address, way): (&Wish, ClientAddress, &Way),
    out: &mut Vec<u8>,
) -> Result<(Proof, Vec<u8>), LoginEnd> {
    if shared.guesses_too_much(address) {
        return Err(Trouble::TooManyFailures.into());
    }
    encode(&Request::CleartextPassword, out);
    stream.write_all(out).await?;
    out.clear();
    let mut buffer = Zeroizing::new(Vec::new());
    let size = response(stream, &mut buffer, wish).await?;
    let password = clear_password(&wish.user, &buffer[HEADER..size]).map_err(Trouble::Login)?;
    wipe(&mut buffer, size);
    let guess = shared.guess(stream, address).await?;
    let checking = async {
        match way {
            Way::Pam(service) => {
                let newcomer = pam::Newcomer { user: &wish.user, address: remote(address) };
                let checked = pam::check(Arc::clone(service), newcomer, password.clone()).await;
                checked.map_err(|error| (error.to_string(), error.is_wrong_guess()))
            }
            Way::Directory(ldap) => {
                let tls = shared.directory_tls.load_full();
                let checked = with_keeper(ldap::check(ldap, tls, &wish.user, &password)).await;
                checked.map_err(|error| (error.to_string(), error.is_wrong_guess()))
            }
            _ => Err(("nobody is to be asked".to_owned(), false)),
        }
    };
    let late = || (format!("no answer within {} s", ELSEWHERE_LIMIT.as_secs()), false);
    let (why, is_guess) = match timeout(ELSEWHERE_LIMIT, checking).await.unwrap_or_else(|_| Err(late())) {
        Ok(()) => return Ok((Proof::Password(password), std::mem::take(&mut *buffer))),
        Err(refusal) => refusal,
    };
    let likely = if is_guess { Likely::Likely } else { Likely::No };
    let reason =
        if matches!(way, Way::Pam(_)) { Reason::Pam(why, likely) } else { Reason::Directory(why, likely) };
    Err(guess.refused(Trouble::Entry(EntryError::new(&wish.user, reason))))
}

fn remote(address: ClientAddress) -> Option<IpAddr> {
    match address {
        ClientAddress::Tcp(address) => Some(address.ip()),
        ClientAddress::Unix => None,
    }
}

/// Random bytes are from the thread's cryptographic generator.
fn circumstances(stream: &Stream) -> Circumstances {
    let end_point = stream.tls().and_then(Channel::end_point);
    let mut own = Circumstances { nonce: [0; 18], md5_salt: [0; 4], end_point };
    rand::fill(&mut own.nonce);
    rand::fill(&mut own.md5_salt);
    own
}

pub(super) fn encode(request: &Request, out: &mut Vec<u8>) {
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

/// Reads until `buffer` begins with a whole `p` message, and returns its size. Anything else ends the login: a second
/// StartupMessage, too, looks like one.
pub(super) async fn response(
    stream: &mut Stream,
    buffer: &mut Vec<u8>,
    wish: &Wish,
) -> Result<usize, LoginEnd> {
    let most = MOST_HELD.saturating_sub(wish.size());
    loop {
        if buffer.first().is_some_and(|&tag| tag != PASSWORD) {
            return Err(Trouble::ExpectedPassword.into());
        }
        let missing = match frame::header(buffer).map_err(Trouble::Protocol)? {
            Some(header) if header.size > most => {
                return Err(Trouble::Protocol(WireError::Length).into());
            }
            Some(header) if buffer.len() >= header.size => return Ok(header.size),
            Some(header) => header.size - buffer.len(),
            None => READ_AT_ONCE,
        };
        // All at once, so that it never has more room than it needs.
        make_room(buffer, missing);
        let read = stream.read_some(buffer, missing.min(READ_AT_ONCE)).await?;
        stream.wipe_what_passed();
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// A message of impossible length ends a login by SASL as a wrong password does. To others of that kind PostgreSQL says nothing
/// at all; here they are told.
fn in_postgresqls_words(end: LoginEnd, request: &Request, wish: &Wish) -> LoginEnd {
    let is_sasl = !matches!(request, Request::CleartextPassword | Request::Md5Password(_));
    match end {
        LoginEnd::Tell(Trouble::Protocol(WireError::Length)) if is_sasl => {
            Trouble::Login(LoginError::length(&wish.user)).into()
        }
        end => end,
    }
}

/// Makes room for `more` bytes. What moves is left nowhere else: it may be a part of a password.
fn make_room(buffer: &mut Vec<u8>, more: usize) {
    if buffer.capacity() - buffer.len() < more {
        let mut larger = Vec::with_capacity(buffer.len() + more);
        larger.extend_from_slice(buffer);
        buffer.zeroize();
        *buffer = larger;
    }
}

/// Takes a message from the front, of which nothing is left behind: the rest may be kept for long.
pub(super) fn wipe(buffer: &mut Vec<u8>, size: usize) {
    buffer[..size].zeroize();
    buffer.drain(..size);
}

/// The parameters a client starts with, as a set.
pub fn wanted(shared: &Shared, wish: &Wish, address: ClientAddress) -> Arc<Set> {
    let config = shared.config.load();
    if config.general.application_name_add_host.is_on() {
        return wanted_with_host(shared, wish, address);
    }
    let kept = wish.parameters.iter().filter(|(name, _)| !config.general.ignores_startup_parameter(name));
    shared.sets.intern(kept)
}

/// The same with where the client is behind its application_name.
#[cold]
fn wanted_with_host(shared: &Shared, wish: &Wish, address: ClientAddress) -> Arc<Set> {
    const NAME: &str = "application_name";
    let config = shared.config.load();
    let kept = |name: &str| name != NAME && !config.general.ignores_startup_parameter(name);
    let others = wish.parameters.iter().filter(|(name, _)| kept(name));
    let name = format!("{} - {address}", wish.parameter(NAME).unwrap_or("app"));
    let all = others.chain([(NAME, &*name)]);
    shared.sets.intern(all)
}

/// Appends login_notify_message.
pub fn notify(out: &mut Vec<u8>, message: &str) {
    let (severity, code) = (Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION);
    Report { severity, code, message, detail: None, hint: None }.encode(out);
}

/// Appends the bytes from AuthenticationOk to ReadyForQuery; `parameters` appends the ParameterStatus messages.
pub fn welcome(out: &mut Vec<u8>, parameters: impl FnOnce(&mut Vec<u8>), pid: u32, secret: &[u8]) {
    Authentication::Ok.encode(out);
    parameters(out);
    backend::backend_key_data(out, pid, secret);
    out.extend_from_slice(backend::READY_IDLE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_off_the_front() {
        let mut buffer = b"p\0\0\0\x0bsecret\0early".to_vec();
        let more = buffer.capacity() - buffer.len() + 1;
        make_room(&mut buffer, more);
        assert!(buffer.starts_with(b"p\0\0\0\x0bsecret\0"));
        let room = buffer.capacity();
        wipe(&mut buffer, 12);
        assert_eq!((&*buffer, buffer.capacity()), (&b"early"[..], room));
    }
}
