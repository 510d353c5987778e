//! One accepted connection from its first byte to its last.

use super::agreement;
use super::console::{is_console, rights};
use super::context::{PoolContext, Shared};
use super::greeting::greeting;
use super::login::{self, Proved};
use super::refused::{Refused, refuse};
use super::replication::{self, Replica};
use super::report::Trouble;
use super::session::{Session, State};
use super::startup::{self, Encryption, Wants, Wish};
use crate::admin::{self, Guest, Rights};
use crate::audit;
use crate::auth::hba::{EntryError, Reason};
use crate::cancel;
use crate::clock::Instant;
use crate::config::Limit;
use crate::lifecycle::Phase;
use crate::metrics::{LoginFailure, Refusal};
use crate::net::stream::Stream;
use crate::pool::WaitError;
use crate::prepared::client_statements::ClientStatements;
use crate::roster::{self, Admission, ClientAddress, ClientCap, Kick};
use crate::server::login::ServerSecret;
use crate::tls::{Acceptor, Channel};
use crate::wire::backend::{self};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

/// How much a client may send before it has been told that it is logged in, if that takes long.
const MOST_EARLY: usize = 16 * 1024;

/// A connection that has just been accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket, registered with the workers' reactor.
    pub stream: Stream,
    /// Where it comes from.
    pub address: ClientAddress,
    /// The process.
    pub shared: Arc<Shared>,
}

/// Logs a connection in, or refuses it.
pub(super) async fn open(mut arrival: Box<Arrival>) -> Option<Session> {
    arrival.shared.metrics.client_accepted();
    let shared = Arc::clone(&arrival.shared);
    let opening = Opening::begin(&shared);
    if shared.is_crowd(opening.count) && !shared.logins.make_room(arrival.address) {
        shared.metrics.client_refused(Refusal::Resources);
        let refused = Refused::tell(Trouble::TooManyLogins, LoginFailure::Limit);
        refuse(&mut arrival.stream, arrival.address, &shared, &refused).await;
        return None;
    }
    let Arrival { stream, address, shared } = &mut *arrival;
    let outcome = negotiate(stream, address, shared).await;
    match outcome {
        Ok(Outcome::Nothing) => None,
        Ok(Outcome::Session(Opened { state, context, member, early })) => {
            Some(Session::new(arrival.stream, state, context, member).having_sent(early))
        }
        Ok(Outcome::Console(visit)) => {
            let Visit { wish, rights, rule, before, early } = *visit;
            let guest = Guest {
                address: arrival.address,
                stream: arrival.stream,
                size: wish.secret_size(),
                application_name: wish.parameter("application_name").unwrap_or_default().to_owned(),
                user: wish.user,
                database: wish.database,
                rights,
                rule,
                before,
                early,
            };
            // A task of its own: it holds no place among those that log in, nor a session's.
            tokio::spawn(Box::pin(admin::serve(guest, Arc::clone(&arrival.shared) as Arc<dyn admin::Realm>)));
            None
        }
        Ok(Outcome::Replica(replicates)) => {
            let Replicates { wish, context, admission, own, rule, before, early } = *replicates;
            let (stream, address) = (arrival.stream, arrival.address);
            let replica = Replica { stream, address, wish, context, admission, own, rule, before, early };
            tokio::spawn(Box::pin(replication::serve(replica)));
            None
        }
        Err(refused) => {
            refuse(stream, *address, shared, &refused).await;
            None
        }
    }
}

/// A connection that has not logged in yet, counted while it lives.
struct Opening<'a> {
    shared: &'a Shared,
    /// How many there were with this one: a later look might count those that came after it.
    count: usize,
}

impl<'a> Opening<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let count = shared.opening.fetch_add(1, Ordering::Relaxed) + 1;
        Self { shared, count }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.shared.opening.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection came to.
enum Outcome {
    Nothing,
    Session(Opened),
    Console(Box<Visit>),
    Replica(Box<Replicates>),
}

/// Somebody who may replicate.
struct Replicates {
    wish: Wish,
    context: Arc<PoolContext>,
    admission: Admission,
    own: replication::Own,
    rule: Option<Box<audit::Rule>>,
    before: Vec<u8>,
    early: Vec<u8>,
}

/// Somebody who may enter the console.
struct Visit {
    wish: Wish,
    rights: Rights,
    rule: Option<Box<audit::Rule>>,
    /// What is to be sent before AuthenticationOk.
    before: Vec<u8>,
    early: Vec<u8>,
}

struct Opened {
    state: State,
    context: Arc<PoolContext>,
    member: roster::Membership,
    /// What the client has sent before it was told that it is in.
    early: Vec<u8>,
}

async fn negotiate(
    stream: &mut Stream,
    address: &mut ClientAddress,
    shared: &Arc<Shared>,
) -> Result<Outcome, Refused> {
    let limit = shared.config.load().general.client_login_timeout;
    shared.roster.begins();
    let mut patience = shared.logins.begin(limit, *address).await;
    if is_balancers(shared, *address) {
        let origin = async { startup::origin(stream).await.map_err(Refused::from) };
        *address = patience.bound(origin).await?.map_or(*address, ClientAddress::Tcp);
        patience.is_for(*address);
    }
    let address = *address;
    let tls = shared.tls.load().acceptor().filter(|_| matches!(address, ClientAddress::Tcp(_)));
    let encryption = Encryption {
        is_required: tls.as_deref().is_some_and(Acceptor::is_required),
        acceptor: tls,
        aside: &shared.handshakes,
    };
    let receiving = async { startup::receive(stream, &encryption).await.map_err(Refused::from) };
    let wants = patience.bound(receiving).await?;
    let wish = match wants {
        Wants::Session(wish) => wish,
        Wants::Nothing => return Ok(Outcome::Nothing),
        Wants::Cancel(pid, secret) => {
            drop(patience);
            cancel_for(shared, pid, &secret).await;
            stream.shutdown();
            return Ok(Outcome::Nothing);
        }
    };
    let newcomer = Newcomer { stream, address, shared, wish: &wish, since: Instant::now() };
    let opened = patience.bound(newcomer.log_in()).await;
    opened.map_err(|refused| refused.of(shared, &wish))
}

/// Whether a connection from there has to begin with the address of whom it is for.
fn is_balancers(shared: &Shared, address: ClientAddress) -> bool {
    let config = shared.config.load();
    let is_one =
        |peer: SocketAddr| config.general.proxy_protocol_from.iter().any(|net| net.contains(peer.ip()));
    matches!(address, ClientAddress::Tcp(peer) if is_one(peer))
}

/// A client that has said what it wishes.
struct Newcomer<'a> {
    stream: &'a mut Stream,
    address: ClientAddress,
    shared: &'a Arc<Shared>,
    wish: &'a Wish,
    since: Instant,
}

impl Newcomer<'_> {
    async fn log_in(mut self) -> Result<Outcome, Refused> {
        if let Some(options) = &self.wish.negotiate {
            let mut out = Vec::new();
            let names = options.iter().map(|(name, _)| name).collect::<Vec<_>>();
            backend::negotiate_protocol_version(&mut out, self.wish.minor, names.into_iter());
            self.stream.write_all(&out).await.map_err(|_| Refused::lost())?;
        }
        let mut answer = Vec::with_capacity(login::USUAL_ANSWER);
        let who = (self.wish, self.address);
        let proved = login::authenticate(self.stream, self.shared, who, &mut answer).await;
        let Proved { proof, is_looked_up, early, is_anybody, rule } = proved.map_err(Refused::from)?;
        if is_console(&self.wish.database) {
            return self.visit((answer, early), rule);
        }
        let (context, login, admission) = self.place(is_anybody)?;
        if let Some(secret) = context.opener.learn(proof, is_looked_up) {
            Box::pin(self.agree(&context, secret)).await?;
        }
        if self.wish.replication {
            let own = Box::pin(self.server_of_its_own(&context)).await?;
            return Ok(Outcome::Replica(Box::new(Replicates {
                wish: Wish { user: login.as_ref().to_owned(), ..self.wish.clone() },
                context,
                admission,
                own,
                rule,
                before: answer,
                early,
            })));
        }
        let opened = self.enter((context, login, admission), &mut answer, early).await?;
        self.stream.write_all(&answer).await.map_err(|_| Refused::lost())?;
        opened.context.metrics.login_ok(Instant::now().nanos_since(self.since));
        self.tell(opened.member.entry().id, rule.as_deref());
        Ok(Outcome::Session(opened))
    }

    /// PostgreSQL has to take what the client has proved.
    async fn agree(&mut self, context: &Arc<PoolContext>, secret: ServerSecret) -> Result<(), Refused> {
        let client = self.shared.roster.next_id();
        let agreed = tokio::select! {
            biased;
            agreed = agreement::agree(context, client, secret) => agreed,
            () = self.stream.hung_up() => return Err(Refused::lost()),
        };
        agreed.map_err(|trouble| self.without_server(context, trouble))
    }

    fn without_server(&self, context: &Arc<PoolContext>, trouble: Trouble) -> Refused {
        if matches!(trouble, Trouble::NoServer(WaitError::Open(_), _)) {
            self.shared.forget_invented(context);
        }
        let refused = matches!(trouble, Trouble::Refused(_));
        Refused::tell(trouble, if refused { LoginFailure::Parameter } else { LoginFailure::NoServer })
    }

    /// The log that the client is in.
    fn tell(&self, client: u64, rule: Option<&audit::Rule>) {
        let general = &self.shared.config.load().general;
        let (database, user) = (&*self.wish.database, &*self.wish.user);
        let (method, rule) = audit::Login::method(rule, general.auth_type.as_str());
        let tls = self.stream.tls().map(Channel::version);
        if general.log_connections.is_on() {
            tracing::info!(client, address = %self.address, database, user, tls, "login");
        }
        let what = audit::Login { client, user, database, tls, method, rule, kind: "session" };
        audit::login(self.address, &what);
    }

    async fn server_of_its_own(&mut self, context: &Arc<PoolContext>) -> Result<replication::Own, Refused> {
        tokio::select! {
            biased;
            own = replication::open(context, self.wish) => own.map_err(|trouble| {
                self.shared.forget_invented(context);
                Refused::tell(trouble, LoginFailure::NoServer)
            }),
            () = self.stream.hung_up() => Err(Refused::lost()),
        }
    }

    /// Whether the client may enter the console, which has room for everybody.
    fn visit(
        self,
        (before, early): (Vec<u8>, Vec<u8>),
        rule: Option<Box<audit::Rule>>,
    ) -> Result<Outcome, Refused> {
        self.running()?;
        let (wish, rights) = (self.wish.clone(), rights(&self.shared.config.load(), &self.wish.user)?);
        self.replicates_not()?;
        Ok(Outcome::Console(Box::new(Visit { wish, rights, rule, before, early })))
    }

    fn running(&self) -> Result<(), Refused> {
        match self.shared.lifecycle.phase() {
            Phase::Running => Ok(()),
            _ => Err(Refused::tell(Trouble::Kicked(Kick::Shutdown), LoginFailure::Unavailable)),
        }
    }

    fn replicates_not(&self) -> Result<(), Refused> {
        match self.wish.replication {
            true => Err(Refused::tell(Trouble::Replication, LoginFailure::Rejected)),
            false => Ok(()),
        }
    }

    /// Whether there is room for the client, in which pool, and as whom: who has not proved to be somebody is the user that
    /// the database is set to.
    fn place(&mut self, is_anybody: bool) -> Result<(Arc<PoolContext>, Arc<str>, Admission), Refused> {
        let (config, wish) = (self.shared.config.load_full(), self.wish);
        self.running()?;
        let Some(mut admission) = self.shared.roster.admit(config.general.max_client_conn as usize) else {
            self.shared.metrics.client_refused(Refusal::MaxClientConn);
            return Err(Refused::tell(Trouble::TooManyClients, LoginFailure::Limit));
        };
        let Some(database) = config.database(&wish.database) else {
            return Err(Refused::tell(Trouble::NoDatabase(wish.database.clone()), LoginFailure::NoDatabase));
        };
        if self.shared.desk.disabled.lock().contains(&wish.database) {
            let trouble = Trouble::DatabaseDisabled(wish.database.clone());
            return Err(Refused::tell(trouble, LoginFailure::Unavailable));
        }
        let login = match &database.user {
            Some(user) if is_anybody => &**user,
            None if is_anybody => {
                let reason = Reason::NoForcedUser(wish.database.as_str().into());
                let trouble = Trouble::Entry(EntryError::new(&wish.user, reason));
                return Err(Refused::tell(trouble, LoginFailure::Rejected));
            }
            _ => &*wish.user,
        };
        let free = config.general.admin_users.iter().any(|user| *user == *login);
        let most = |limit: Limit| limit.max().filter(|_| !free);
        let (of_database, of_user) = (config.max_db_clients(&database), config.max_user_clients(login));
        let counted = admission.count((&wish.database, most(of_database)), (login, most(of_user)));
        counted.map_err(|cap| {
            let name = if cap == ClientCap::Database { &*wish.database } else { login };
            Refused::tell(Trouble::ClientCap(cap, name.to_owned()), LoginFailure::Limit)
        })?;
        Ok((self.shared.context(&database, login), login.into(), admission))
    }

    /// Finds out what the client's parameters are, enters it in the roster, and appends all it is to be told.
    async fn enter(
        &mut self,
        (context, login, admission): (Arc<PoolContext>, Arc<str>, Admission),
        answer: &mut Vec<u8>,
        mut early: Vec<u8>,
    ) -> Result<Opened, Refused> {
        let (id, wanted) =
            (self.shared.roster.next_id(), login::wanted(self.shared, self.wish, self.address));
        let greeting = tokio::select! {
            biased;
            greeting = greeting(&context, id, &wanted) => greeting,
            () = self.stream.left(&mut early, MOST_EARLY) => return Err(Refused::lost()),
        };
        let greeting = greeting.map_err(|trouble| self.without_server(&context, trouble))?;
        let member = admission.enter(roster::Newcomer {
            id,
            address: self.address,
            place: context.place(&login),
            size: self.wish.secret_size(),
            waker: poll_fn(|cx| Poll::Ready(cx.waker().clone())).await,
        });
        let (pid, secret) = (member.entry().pid(), member.entry().secret());
        let config = self.shared.config.load();
        let words = |out: &mut Vec<u8>| {
            greeting.encode(out, &wanted);
            config.general.login_notify_message.iter().for_each(|message| login::notify(out, message));
        };
        login::welcome(answer, words, pid, secret);
        let state = State { statements: ClientStatements::default(), wanted };
        Ok(Opened { state, context, member, early })
    }
}

/// Passes a CancelRequest on, and holds the connection until it is settled, as PostgreSQL does.
async fn cancel_for(shared: &Arc<Shared>, pid: u32, secret: &[u8]) {
    shared.metrics.cancel_request();
    let limit = shared.config.load().general.cancel_wait_timeout;
    let outcome = cancel::cancel(&shared.roster, &shared.pools, (pid, secret), limit).await;
    if outcome.is_none()
        && let Some(console) = shared.consoles.find(pid, secret)
    {
        return console.kick(Kick::Cancel);
    }
    if let Some((entry, outcome)) = outcome {
        shared.metrics.pool(&entry.place.database, &entry.place.user).cancel(match outcome {
            cancel::Outcome::Sent | cancel::Outcome::Failed => crate::metrics::CancelOutcome::Sent,
            cancel::Outcome::Waiting => crate::metrics::CancelOutcome::Waiting,
            cancel::Outcome::Nothing => crate::metrics::CancelOutcome::Ignored,
        });
    }
}
