//! From an address to a logged-in server, one step a function: look up, connect, log in.

use super::cancel::CancelKey;
use super::conversation::Conversation;
use super::error::{ConnectError, Refusal};
use super::login::{Encryption, Login, Next, ServerSecret};
use super::{NOBODY, Server, cancel, direct};
use crate::clock::Instant;
use crate::config::RequireAuth;
use crate::net::files::check_room_for_server;
use crate::net::options::TcpOptions;
use crate::net::stream::Stream;
use crate::params::set::Set;
use crate::timer::timeout;
use crate::tls::{Channel, Connector};
use crate::wire::backend;
use crate::wire::frame::{self, HEADER};
use crate::wire::sqlstate::{self, SqlState};
use crate::wire::startup;
use crate::wire::tag::backend as b;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixSocket, UnixStream, lookup_host};
use tokio::task::spawn_blocking;

/// Longest login message taken from a server, in bytes.
const LONGEST: usize = 64 * 1024;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host name or address, port, options.
    Tcp(Arc<str>, u16),
    /// Path of a Unix-domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What to connect to, and as whom.
#[derive(Debug)]
pub struct Target {
    /// Where.
    pub address: Address,
    /// What TLS is begun with, if it is wanted at all.
    pub tls: Option<Arc<Connector>>,
    /// Socket options.
    pub tcp: TcpOptions,
    /// Database by PostgreSQL's name.
    pub database: String,
    /// User.
    pub user: String,
    /// What proves the user.
    pub secret: ServerSecret,
    /// What the server may ask for.
    pub require_auth: RequireAuth,
    /// Startup parameters beside user and database.
    pub parameters: Vec<(String, String)>,
    /// Run once after the login.
    pub connect_query: Option<String>,
    /// Statements to keep prepared.
    pub max_prepared_statements: NonZeroUsize,
    /// The parameters of a session at the server's defaults.
    pub defaults: Arc<Set>,
}

/// What PostgreSQL says to whom no line of pg_hba.conf lets in.
const NO_RULE: SqlState = sqlstate::INVALID_AUTHORIZATION;

/// Counts the servers of the process.
#[derive(Debug, Default)]
pub struct ServerIds(AtomicU64);

impl ServerIds {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Connects a socket. Cancel safe.
pub async fn dial(address: &Address) -> Result<Stream, ConnectError> {
    let failed = |e| ConnectError::Io(address.to_string(), e);
    match address {
        Address::Unix(path) => {
            let socket = unix(path).await.and_then(UnixStream::into_std);
            socket.and_then(Stream::new).map_err(failed)
        }
        Address::Tcp(host, port) => {
            let lookup = lookup_host((&**host, *port)).await;
            let found = lookup.map_err(|e| ConnectError::Lookup(host.to_string(), e))?;
            let candidates: Vec<_> = found.collect();
            let stream = first_of(&candidates).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            stream.into_std().and_then(Stream::new).map_err(failed)
        }
    }
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    let socket = UnixSocket::new_stream()?;
    check_room_for_server(&socket)?;
    socket.connect(path).await
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    check_room_for_server(&socket)?;
    socket.connect(address).await
}

/// How long one of a name's addresses may take before the next is tried beside it.
const NEXT_ADDRESS: Duration = Duration::from_secs(1);

/// The first of these that a connection can be made to, in their order. One that hangs doesn't keep the others from being tried.
/// Cancel safe.
async fn first_of(candidates: &[SocketAddr]) -> io::Result<TcpStream> {
    let Some((first, others)) = candidates.split_first() else { return Err(io::ErrorKind::NotFound.into()) };
    let mut own = pin!(tcp(*first));
    if others.is_empty() {
        return own.await;
    }
    let mut others = Box::pin(first_of(others));
    match timeout(NEXT_ADDRESS, &mut own).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(_)) => return others.await,
        Err(_) => {}
    }
    tokio::select! {
        connected = &mut own => match connected {
            Ok(stream) => Ok(stream),
            Err(_) => others.await,
        },
        connected = &mut others => match connected {
            Ok(stream) => Ok(stream),
            Err(_) => own.await,
        },
    }
}

/// Connects a socket, with TLS around it if that is wanted and to be had; never on a Unix-domain socket. Cancel safe.
pub async fn reach(address: &Address, tls: Option<&Connector>) -> Result<Stream, ConnectError> {
    let mut stream = dial(address).await?;
    let (Some(connector), Address::Tcp(host, _)) = (tls, address) else { return Ok(stream) };
    match secure(&mut stream, connector, host).await {
        Ok(()) => Ok(stream),
        // As libpq: where TLS is only preferred, a server that can't do it well enough is spoken to without it.
        Err(SecureError::Handshake(e)) if !connector.is_required() => {
            tell_of_clear_text(address, connector, "TLS failed", &e.to_string());
            dial(address).await
        }
        Err(SecureError::Handshake(e)) if connector.is_direct() && direct::was_closed(&e) => {
            drop(stream);
            Err(direct::why_closed(address, e).await)
        }
        Err(SecureError::Handshake(e)) => Err(ConnectError::Tls(address.to_string(), e)),
        Err(SecureError::Unsupported) => Err(ConnectError::NoTls(address.to_string())),
        Err(SecureError::Protocol(what)) => Err(ConnectError::Protocol(what)),
        Err(SecureError::Io(e)) => Err(ConnectError::Io(address.to_string(), e)),
    }
}

#[cold]
fn tell_of_clear_text(server: &Address, connector: &Connector, what: &str, why: &str) {
    let server = server.to_string();
    if connector.note_failure(&server, why, Instant::now()) {
        tracing::warn!(server, "{what}, going on in clear text (see server_tls_sslmode): {why}");
    }
}

enum SecureError {
    Io(io::Error),
    Handshake(io::Error),
    Unsupported,
    Protocol(&'static str),
}

/// Asks for TLS and begins it, or begins at once.
async fn secure(stream: &mut Stream, connector: &Connector, host: &str) -> Result<(), SecureError> {
    if connector.is_direct() {
        return direct::begin(stream, connector, host).await.map_err(SecureError::Handshake);
    }
    stream.write_all(startup::SSL_REQUEST).await.map_err(SecureError::Io)?;
    let mut answer = Vec::new();
    if stream.read_some(&mut answer, 16).await.map_err(SecureError::Io)? == 0 {
        return Err(SecureError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    match answer[..] {
        [b'S'] => stream.connect_tls(connector, host).await.map_err(SecureError::Handshake),
        [b'N'] if connector.is_required() => Err(SecureError::Unsupported),
        [b'N'] => Ok(()),
        // Whoever is between could put words into the server's mouth (CVE-2021-23222).
        [b'S' | b'N', ..] => Err(SecureError::Protocol("received unencrypted data after SSL response")),
        _ => Err(SecureError::Protocol("received invalid response to SSL negotiation")),
    }
}

/// Connects and logs in. Cancel safe: dropped at any point, the connection is closed. The caller bounds the time.
pub async fn connect(target: Target, ids: &ServerIds) -> Result<Server, ConnectError> {
    let stream = reach(&target.address, target.tls.as_deref()).await?;
    let (stream, login) = match log_in(stream, &target).await {
        Err(NotIn::AtTheDoor(stream, refusal)) => without_tls(stream, refusal, &target).await?,
        outcome => outcome?,
    };
    let (pid, secret) = login.key;
    let now = Instant::now();
    let tls = target.tls.filter(|_| stream.tls().is_some());
    let mut talk = Conversation::new(target.max_prepared_statements, target.defaults);
    talk.pids.0 = pid;
    Ok(Server {
        stream,
        talk,
        inbound: Vec::new(),
        outbound: Default::default(),
        key: CancelKey { address: target.address, tls, pid, secret, aim: Arc::default() },
        id: ids.next(),
        owner: NOBODY,
        temporary_by: NOBODY,
        roles_made: 0,
        since: now,
        welcome: login.parameters,
        began: now,
        query_began: now,
        check: None,
        traffic: Default::default(),
        bulk: Default::default(),
    })
}

/// Why a login failed.
enum NotIn {
    /// No rule of the server's lets this user in by this connection: it was refused before it was asked for anything.
    AtTheDoor(Stream, Refusal),
    Otherwise(ConnectError),
}

impl From<ConnectError> for NotIn {
    fn from(error: ConnectError) -> Self {
        Self::Otherwise(error)
    }
}

impl From<NotIn> for ConnectError {
    fn from(not_in: NotIn) -> Self {
        match not_in {
            NotIn::AtTheDoor(_, refusal) => Self::Refused(refusal),
            NotIn::Otherwise(error) => error,
        }
    }
}

/// Over TLS the server lets nobody in that is this user. As libpq: where TLS is only preferred, it is tried without; unlike there only
/// if nothing of the user's was asked for by then, so that nothing it proves itself by is told twice. If that is
/// refused at the door, too, the first refusal counts. Cancel safe.
#[cold]
async fn without_tls(
    stream: Stream,
    refusal: Refusal,
    target: &Target,
) -> Result<(Stream, Login), ConnectError> {
    let preferred = target.tls.as_deref().filter(|connector| !connector.is_required());
    let Some(connector) = preferred.filter(|_| stream.tls().is_some()) else {
        return Err(ConnectError::Refused(refusal));
    };
    drop(stream);
    let outcome = log_in(dial(&target.address).await?, target).await;
    if let Err(NotIn::AtTheDoor(..)) = outcome {
        return Err(ConnectError::Refused(refusal));
    }
    let entered = outcome?;
    let why = ConnectError::Refused(refusal).to_string();
    tell_of_clear_text(&target.address, connector, "the login over TLS was refused", &why);
    Ok(entered)
}

/// Logs in, and runs connect_query. Cancel safe.
async fn log_in(mut stream: Stream, target: &Target) -> Result<(Stream, Login), NotIn> {
    let io = |e| ConnectError::within_login(&target.address, e);
    if let (Address::Tcp(..), Some(socket)) = (&target.address, stream.socket()) {
        target.tcp.apply(&socket).map_err(io)?;
    }
    let own = [("user", &*target.user), ("database", &*target.database)];
    let parameters = own.into_iter().chain(target.parameters.iter().map(|(name, value)| (&**name, &**value)));
    let (login, first) = Login::start(&target.user, parameters, target.secret.clone(), encryption(&stream));
    let mut login = login.requiring(target.require_auth);
    stream.write_all(&first).await.map_err(io)?;
    let mut buffer = Vec::new();
    let mut wire = Wire { stream: &mut stream, buffer: &mut buffer, address: &target.address };
    loop {
        let (tag, body) = wire.message().await?;
        if tag == b::ERROR && !login.has_begun() && backend::sqlstate(&body)[..] == *NO_RULE.as_bytes() {
            return Err(NotIn::AtTheDoor(stream, refusal(&body)));
        }
        let next;
        (login, next) = hear(login, tag, body).await?;
        match next {
            Next::Wait => {}
            Next::Send(bytes) => wire.stream.write_all(&bytes).await.map_err(io)?,
            Next::Done => break,
        }
    }
    if let Some(query) = &target.connect_query {
        wire.run(query).await?;
    }
    match buffer.is_empty() {
        true => Ok((stream, login)),
        false => Err(ConnectError::Protocol("the server sent more than a login").into()),
    }
}

/// As [`Login::hear`], elsewhere if that may be much work.
async fn hear(mut login: Login, tag: u8, body: Vec<u8>) -> Result<(Login, Next), ConnectError> {
    if !login.is_heavy(tag) {
        let next = login.hear(tag, &body)?;
        return Ok((login, next));
    }
    let work = spawn_blocking(move || login.hear(tag, &body).map(|next| (login, next)));
    work.await.unwrap_or(Err(ConnectError::Protocol("the work on it broke off")))
}

fn encryption(stream: &Stream) -> Encryption {
    match stream.tls().map(Channel::end_point) {
        None => Encryption::None,
        Some(None) => Encryption::Unbindable,
        Some(Some(end_point)) => Encryption::EndPoint(end_point),
    }
}

/// A connection in login, message by message.
struct Wire<'a> {
    stream: &'a mut Stream,
    buffer: &'a mut Vec<u8>,
    address: &'a Address,
}

impl Wire<'_> {
    async fn message(&mut self) -> Result<(u8, Vec<u8>), ConnectError> {
        loop {
            let header =
                frame::header(self.buffer).map_err(|_| ConnectError::Protocol("invalid message length"))?;
            match header {
                Some(header) if header.size > LONGEST => {
                    return Err(ConnectError::Protocol("message too long"));
                }
                Some(header) if header.size <= self.buffer.len() => {
                    let body = self.buffer[HEADER..header.size].to_vec();
                    self.buffer.drain(..header.size);
                    return Ok((header.tag, body));
                }
                _ => {}
            }
            let io = |e| ConnectError::within_login(self.address, e);
            if self.stream.read_some(self.buffer, 4096).await.map_err(io)? == 0 {
                return Err(io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Runs one query to its end; any error refuses the connection.
    async fn run(&mut self, query: &str) -> Result<(), ConnectError> {
        let mut message = Vec::new();
        crate::wire::frontend::query(&mut message, query.as_bytes());
        let io = |e| ConnectError::within_login(self.address, e);
        self.stream.write_all(&message).await.map_err(io)?;
        loop {
            match self.message().await? {
                (b::ERROR, body) => return Err(ConnectError::Refused(refusal(&body))),
                (b::READY, status) if status == b"I" => return Ok(()),
                (b::READY, _) => {
                    return Err(ConnectError::Protocol("connect_query leaves a transaction open"));
                }
                _ => {}
            }
        }
    }
}

/// The fields of an ErrorResponse.
pub fn refusal(body: &[u8]) -> Refusal {
    let text = |kind| backend::field(body, kind).map(|t| String::from_utf8_lossy(t).into_owned());
    Refusal {
        sqlstate: String::from_utf8_lossy(&backend::sqlstate(body)).into_owned(),
        message: text(b'M').unwrap_or_else(|| "the server refused without a message".to_owned()),
        detail: text(b'D'),
        hint: text(b'H'),
    }
}

/// How long PostgreSQL may take to let go of a connection.
const HANG_UP_LIMIT: Duration = Duration::from_secs(5);

/// Most bytes it may still send meanwhile: more than sockets keep of a reply that was cancelled.
const HANG_UP_BYTES: usize = 32 * 1024 * 1024;

/// Ends a connection in good order: cancels what still runs, says goodbye, and waits until PostgreSQL has closed, so that
/// whoever counts its backends counts this one no more.
pub async fn hang_up(server: &mut Server) {
    server.key.aim.at_last();
    let _ = timeout(HANG_UP_LIMIT, async {
        if !server.talk.exchange.is_drained() {
            let _ = cancel::cancel(&server.key).await;
        }
        if server.talk.sending == 0 && server.outbound.is_empty() {
            let _ = server.stream.write_all(crate::wire::frontend::TERMINATE).await;
        }
        server.stream.shutdown();
        let (mut rest, mut more) = (Vec::new(), HANG_UP_BYTES);
        while more > 0
            && let Ok(read @ 1..) = server.stream.read_some(&mut rest, 4096).await
        {
            more = more.saturating_sub(read);
            rest.clear();
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, TcpListener};

    /// A port whose queue is full, with what fills it: who comes next gets no answer.
    fn hanging() -> (SocketAddr, Vec<Socket>) {
        let stream = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = stream();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        listener.listen(0).expect("listens");
        let address = listener.local_addr().expect("bound").as_socket().expect("IP");
        let mut held = vec![listener];
        for _ in 0..4 {
            let filler = stream();
            filler.set_nonblocking(true).expect("a flag");
            let _ = filler.connect(&address.into());
            held.push(filler);
        }
        (address, held)
    }

    #[test]
    fn an_address_that_hangs_does_not_keep_others_from_being_tried() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ((hangs, _held), good) = (hanging(), TcpListener::bind("127.0.0.1:0").expect("a port"));
        let refused = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let good = good.local_addr().map(|address| (address, good)).expect("bound");
        let found = runtime.block_on(first_of(&[refused, hangs, good.0])).expect("the last");
        assert_eq!(found.peer_addr().expect("connected"), good.0);
        assert!(runtime.block_on(first_of(&[refused])).is_err() && runtime.block_on(first_of(&[])).is_err());
    }
}
