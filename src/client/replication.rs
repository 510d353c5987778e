//! A client that replicates: a server connection of its own, beside those of the pool, for as long as it stays, and bytes both
//! ways as they come.

use super::context::{PoolContext, Shared};
use super::opener::told;
use super::report::{Trouble, printable};
use super::startup::{Wish, is_setting};
use crate::admin;
use crate::audit;
use crate::clock::Instant;
use crate::net::kept::Kept;
use crate::net::stream::{Stream, yield_to_others};
use crate::pool::{self, WaitError};
use crate::roster::{self, Admission, ClientAddress, Entry, Kick, Phase, Told};
use crate::server::Server;
use crate::server::cancel::cancel;
use crate::server::connect::hang_up;
use crate::timer::{sleep, timeout};
use crate::tls::Channel;
use crate::wire::backend::{self, Authentication, READY_IDLE, Severity};
use crate::wire::frame::{self, HEADER};
use std::future::poll_fn;
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Bytes read at once, in each direction.
const CHUNK: usize = 64 * 1024;

/// Reads of one direction before others have their turn.
const ROUNDS: usize = 16;

/// How often a place is tried for, and with what in between: an idle server that makes room takes a moment to close.
const TRIES: u32 = 50;
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// How long a parting word may take to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server connection for one client, and its place under the shared caps.
#[derive(Debug)]
pub struct Own {
    server: Server,
    place: pool::Place,
}

/// Opens the client's own server connection, with the parameters it has brought. Cancel safe.
///
/// # Errors
/// Why there is none.
pub(super) async fn open(context: &Arc<PoolContext>, wish: &Wish) -> Result<Own, Trouble> {
    let shared = &context.shared;
    let mut tries = 0;
    let place = loop {
        let paused = shared.pools.is_paused(&context.pool.key().database);
        if let (false, Some(place)) = (paused, context.pool.place_beside()) {
            break place;
        }
        tries += u32::from(!paused);
        if tries > TRIES {
            return Err(Trouble::NoPlace);
        }
        sleep(TRY_AGAIN).await;
    };
    let general = &shared.config.load_full().general;
    // The last of a name counts: the client's must not stand behind what the pool logs in by.
    let may_pass = |name: &str| is_setting(name) && !general.ignores_startup_parameter(name);
    let kept = wish.parameters.iter().filter(|(name, _)| may_pass(name));
    let kind = if wish.is_logical { "database" } else { "true" };
    let parameters = kept.chain([("replication", kind)]);
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let opened = context.opener.open_apart(shared, parameters).await;
    let server = opened.map_err(|error| Trouble::NoServer(WaitError::Open(told(error)), None))?;
    Ok(Own { server, place })
}

/// A client that has logged in and has not been told so.
pub(super) struct Replica {
    pub(super) stream: Stream,
    pub(super) address: ClientAddress,
    pub(super) wish: Wish,
    pub(super) context: Arc<PoolContext>,
    pub(super) admission: Admission,
    pub(super) own: Own,
    /// The rule that let it in.
    pub(super) rule: Option<Box<audit::Rule>>,
    /// What is to be sent before AuthenticationOk.
    pub(super) before: Vec<u8>,
    /// What it has sent already.
    pub(super) early: Vec<u8>,
}

/// Why a replica ends.
enum End {
    Client,
    Server,
    Kicked(Kick),
}

/// What the console shows of a connection while there is one.
struct Shown<'a> {
    shared: &'a Shared,
    client: u64,
}

impl Shown<'_> {
    fn show(&self, replica: admin::Replica) {
        self.shared.desk.replicas.lock().insert(self.client, replica);
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.shared.desk.replicas.lock().remove(&self.client);
    }
}

/// Serves it until either side goes, or it is sent away. A task of its own.
pub(super) async fn serve(replica: Replica) {
    let Replica { stream, address, wish, context, admission, own, rule, mut before, early } = replica;
    let member = admission.enter(roster::Newcomer {
        id: context.shared.roster.next_id(),
        address,
        place: context.place(&wish.user),
        size: wish.secret_size(),
        waker: poll_fn(|cx| Poll::Ready(cx.waker().clone())).await,
    });
    let entry = Arc::clone(member.entry());
    let kind = if wish.is_logical { "logical" } else { "physical" };
    let (client, database, user, server) = (entry.id, &*wish.database, &*wish.user, own.server.id);
    tracing::info!(client, %address, database, user, server, "login for {kind} replication");
    let tls = stream.tls().map(Channel::version);
    let auth_type = context.shared.config.load().general.auth_type.as_str();
    let (method, rule) = audit::Login::method(rule.as_deref(), auth_type);
    let what = audit::Login { client, user, database, tls, method, rule, kind: "replication" };
    audit::login(address, &what);
    let shown = Shown { shared: &context.shared, client };
    shown.show(admin::Replica {
        key: context.pool.key().clone(),
        about: own.server.about(),
        opened: Instant::now(),
        application_name: wish.parameter("application_name").unwrap_or_default().to_owned(),
    });
    entry.set_phase(Phase::Active, context.shared.roster.at(Instant::now()));
    welcome(&mut before, &own.server, &entry);
    let Own { server, place } = own;
    let mut session = Session { stream, server, entry, kind, wish: &wish, told: Frames::default() };
    let end = session.run(&context.shared, &before, &early).await;
    let why = match &end {
        Ok(End::Client) => "client closed".to_owned(),
        Ok(End::Server) => "server closed".to_owned(),
        Ok(End::Kicked(kick)) => Trouble::Kicked(*kick).log_line(),
        Err(error) => printable(&error.to_string()),
    };
    tracing::info!(client, database, user, "disconnect from {kind} replication: {why}");
    session.part(end).await;
    // Only now: until PostgreSQL has let go of it, the connection counts.
    drop((place, shown));
}

fn welcome(out: &mut Vec<u8>, server: &Server, entry: &Entry) {
    Authentication::Ok.encode(out);
    for (name, value) in &server.welcome {
        backend::parameter_status(out, name.as_bytes(), value.as_bytes());
    }
    backend::backend_key_data(out, entry.pid(), entry.secret());
    out.extend_from_slice(READY_IDLE);
}

struct Session<'a> {
    stream: Stream,
    server: Server,
    entry: Arc<Entry>,
    kind: &'static str,
    wish: &'a Wish,
    /// Where the messages to the client are.
    told: Frames,
}

impl Session<'_> {
    async fn run(&mut self, shared: &Shared, welcome: &[u8], early: &[u8]) -> io::Result<End> {
        self.stream.write_all(welcome).await?;
        self.server.stream.write_all(early).await?;
        self.server.key.aim.at_client();
        let (mut up, mut down) = (Way::default(), Way::default());
        loop {
            let end = poll_fn(|cx| self.poll(cx, &mut up, &mut down)).await?;
            match end {
                End::Kicked(Kick::Cancel) => {
                    self.entry.forgive();
                    let limit = shared.config.load().general.cancel_wait_timeout.unwrap_or(Duration::MAX);
                    // A signal that doesn't arrive is the client's to send again.
                    let _ = timeout(limit, cancel(&self.server.key)).await;
                }
                End::Kicked(Kick::Ask) => self.tell(shared),
                // It is never idle, and what it asks is meant to last.
                End::Kicked(kick) if kick.is_passing() => self.entry.forgive(),
                End::Client => {
                    let _ = timeout(FAREWELL, self.server.stream.drain(up.pending)).await;
                    return Ok(end);
                }
                End::Server => {
                    let _ = timeout(FAREWELL, self.stream.drain(down.pending)).await;
                    return Ok(end);
                }
                // What is half sent goes first, or the client would take the parting word for a part of it.
                End::Kicked(_) => {
                    let _ = timeout(FAREWELL, self.stream.drain(down.pending)).await;
                    return Ok(end);
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, up: &mut Way, down: &mut Way) -> Poll<io::Result<End>> {
        if let Some(kick) = self.entry.kicked() {
            return Poll::Ready(Ok(End::Kicked(kick)));
        }
        let frames = &mut self.told;
        if down.poll(cx, &mut self.server.stream, &mut self.stream, |bytes| frames.pass(bytes))?.is_ready() {
            return Poll::Ready(Ok(End::Server));
        }
        if up.poll(cx, &mut self.stream, &mut self.server.stream, |_| {})?.is_ready() {
            return Poll::Ready(Ok(End::Client));
        }
        Poll::Pending
    }

    fn tell(&self, shared: &Shared) {
        let name = self.wish.parameter("application_name").unwrap_or_default();
        if shared.roster.asks_for_names() {
            shared.roster.tell_name(&self.entry, name, false);
            return self.entry.forgive();
        }
        let told = Told {
            application_name: name.to_owned(),
            local: self.stream.local_address(),
            tls: self.stream.tls().map_or("", Channel::version),
            replication: self.kind,
            ..Told::default()
        };
        shared.roster.tell(self.entry.id, told);
        self.entry.forgive();
    }

    async fn part(mut self, end: io::Result<End>) {
        if let (Ok(End::Kicked(kick)), true) = (&end, self.told.is_between()) {
            let mut out = Vec::new();
            Trouble::Kicked(*kick).encode(&mut out, Severity::Fatal);
            let _ = timeout(FAREWELL, self.stream.write_all(&out)).await;
        }
        self.stream.shutdown();
        hang_up(&mut self.server).await;
    }
}

/// One direction.
struct Way {
    pending: Kept,
    buffer: Box<[u8]>,
}

impl Default for Way {
    fn default() -> Self {
        Self { pending: Kept::default(), buffer: vec![0; CHUNK].into() }
    }
}

impl Way {
    /// Ready when nothing more comes. No more is read before what was read is on its way.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        mut seen: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        for _ in 0..ROUNDS {
            if !self.pending.is_empty() {
                ready!(to.poll_drain(cx, &mut self.pending))?;
            }
            let read = ready!(from.poll_read(cx, &mut self.buffer))?;
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            seen(&self.buffer[..read]);
            to.write_or_keep(cx, &self.buffer[..read], &mut self.pending)?;
        }
        yield_to_others(cx);
        Poll::Pending
    }
}

/// Where messages begin and end in bytes that pass.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let here = self.left.min(bytes.len());
            self.left -= here;
            bytes = &bytes[here..];
            let here = (HEADER - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            if self.head.len() == HEADER {
                // After a length that is none nothing is known any more.
                let size = frame::header(&mem::take(&mut self.head)).ok().flatten().map(|header| header.size);
                self.left = size.map_or(usize::MAX, |size| size - HEADER);
            }
        }
    }

    fn is_between(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_where_they_end() {
        let whole = [b"Z\0\0\0\x05I".as_slice(), b"1\0\0\0\x04", b"d\0\0\0\x09hello"].concat();
        let ends = [0, 6, 11, 21];
        for step in 1..=whole.len() {
            let (mut frames, mut at) = (Frames::default(), 0);
            for chunk in whole.chunks(step) {
                frames.pass(chunk);
                at += chunk.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{step}: {at}");
            }
        }
        let mut broken = Frames::default();
        broken.pass(b"x\0\0\0\x01more and more");
        assert!(!broken.is_between());
    }
}
