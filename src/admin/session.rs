//! A console session: a task of its own that reads messages, runs commands one at a time and answers.

use super::command::{Failure, Rights};
use super::control;
use super::dialogue::{Dialogue, Heard, Job, Reply};
use super::realm::Realm;
use crate::audit::{self, printable};
use crate::clock::Instant;
use crate::config::MetricsCompat;
use crate::net::stream::Stream;
use crate::roster::{ClientAddress, Entry, Kick, Newcomer, Phase, Place, SecretSize, Told};
use crate::timer::timeout;
use crate::tls::Channel;
use crate::wire::backend::{self, Authentication, READY_IDLE, Report, Severity};
use crate::wire::error::WireError;
use crate::wire::frame::{self, HEADER};
use crate::wire::sqlstate;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Longest message taken; a command is a line.
const LONGEST: usize = 64 * 1024;
/// How long a parting word may take to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a client is told at login, as PgBouncer's console tells it. Tools take the version for PgBouncer's and expect the
/// columns it has there.
const PARAMETERS: [(&str, &str); 8] = [
    ("server_version", "1.26.1/bouncer"),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("integer_datetimes", "on"),
    ("is_superuser", "on"),
];

/// Somebody who has logged in to the console and has not been told so.
#[derive(Debug)]
pub struct Guest {
    /// Its socket.
    pub stream: Stream,
    /// Where it comes from.
    pub address: ClientAddress,
    /// As whom.
    pub user: String,
    /// Its application_name.
    pub application_name: String,
    /// The console by the name it used.
    pub database: String,
    /// What it may do.
    pub rights: Rights,
    /// The rule that let it in.
    pub rule: Option<Box<audit::Rule>>,
    /// How long the secret of its cancel key is to be.
    pub size: SecretSize,
    /// What is to be sent before AuthenticationOk.
    pub before: Vec<u8>,
    /// What it has sent already.
    pub early: Vec<u8>,
}

/// Why a session ends.
enum End {
    Closed,
    Lost,
    Kicked(Kick),
    Wrong(WireError),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Wrong(error)
    }
}

struct Session {
    stream: Stream,
    entry: Arc<Entry>,
    realm: Arc<dyn Realm>,
    rights: Rights,
    dialogue: Dialogue,
    input: Vec<u8>,
    out: Vec<u8>,
}

/// Serves a guest until it leaves or is sent away. Logs both.
pub async fn serve(guest: Guest, realm: Arc<dyn Realm>) {
    let Guest { stream, address, user, application_name, database, rights, rule, size, before, early } =
        guest;
    let roster = Arc::clone(realm.consoles());
    // Consoles are exempt from every limit.
    let Some(admission) = roster.admit(usize::MAX) else { return };
    let login: Arc<str> = user.as_str().into();
    let place = Place {
        database: database.as_str().into(),
        user: Arc::clone(&login),
        login,
        roster,
        ..Place::default()
    };
    let member = admission.enter(Newcomer {
        id: realm.clients().next_id(),
        address,
        place: Arc::new(place),
        size,
        waker: poll_fn(|cx| Poll::Ready(cx.waker().clone())).await,
    });
    let entry = Arc::clone(member.entry());
    let told = Told {
        application_name,
        local: stream.local_address(),
        tls: stream.tls().map_or("", Channel::version),
        ..Told::default()
    };
    realm.desk().guests.lock().insert(entry.id, told);
    tracing::info!(client = entry.id, %address, user, ?rights, "login to the console");
    let tls = stream.tls().map(Channel::version);
    let auth_type = realm.config().general.auth_type.as_str();
    let (method, rule) = audit::Login::method(rule.as_deref(), auth_type);
    let (client, kind) = (entry.id, "console");
    let what = audit::Login { client, user: &user, database: &database, tls, method, rule, kind };
    audit::login(address, &what);
    let mut out = before;
    Authentication::Ok.encode(&mut out);
    for (name, value) in PARAMETERS {
        backend::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    backend::backend_key_data(&mut out, entry.pid(), entry.secret());
    out.extend_from_slice(READY_IDLE);
    let has_old_columns = realm.config().general.metrics_compat != MetricsCompat::None;
    let dialogue = Dialogue::new(has_old_columns);
    let mut session = Session { stream, entry, realm, rights, dialogue, input: early, out };
    let end = session.talk().await;
    session.farewell(end).await;
}

/// However the session ends.
impl Drop for Session {
    fn drop(&mut self) {
        self.realm.desk().guests.lock().remove(&self.entry.id);
    }
}

impl Session {
    async fn talk(&mut self) -> End {
        loop {
            if let Err(end) = self.answer_all().await {
                return end;
            }
            let more = tokio::select! {
                biased;
                kick = ended(&self.entry) => Err(kick),
                read = self.stream.read_some(&mut self.input, 4096) => Ok(read),
            };
            match more {
                Ok(Ok(0)) => return End::Closed,
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return End::Lost,
                Err(kick) => return End::Kicked(kick),
            }
        }
    }

    /// Deals with the whole messages that are here.
    async fn answer_all(&mut self) -> Result<(), End> {
        while let Some(header) = frame::header(&self.input)? {
            frame::check_frontend(header)?;
            if header.size > LONGEST {
                return Err(WireError::Length.into());
            }
            if self.input.len() < header.size {
                break;
            }
            let message: Vec<u8> = self.input.drain(..header.size).collect();
            match self.dialogue.hear(header.tag, &message[HEADER..], &mut self.out)? {
                Heard::Answered => {}
                Heard::End => return Err(End::Closed),
                Heard::Run(job) => {
                    self.flush().await?;
                    let outcome = self.run(&job).await?;
                    self.dialogue.answer(job, outcome, &mut self.out);
                }
            }
        }
        self.flush().await?;
        Ok(())
    }

    /// Whoever doesn't read is sent away without a word: the last one it was told may be cut short.
    async fn flush(&mut self) -> Result<(), End> {
        let out = std::mem::take(&mut self.out);
        tokio::select! {
            biased;
            written = self.stream.write_all(&out) => Ok(written?),
            kick = ended(&self.entry) => {
                tracing::info!(client = self.entry.id, "a console that doesn't read is ended: {kick:?}");
                Err(End::Lost)
            }
        }
    }

    /// Runs a command to its end, unless it is cancelled or its asker goes.
    async fn run(&mut self, job: &Job) -> Result<Result<Reply, Failure>, End> {
        let outcome = self.run_unheard(job).await;
        let word = match &outcome {
            Ok(Ok(_)) => "done",
            Ok(Err(failure)) => &*failure.message,
            Err(_) => "given up",
        };
        let place = &self.entry.place;
        audit::command(self.entry.address(), (self.entry.id, &place.login), &job.text, word);
        outcome
    }

    async fn run_unheard(&mut self, job: &Job) -> Result<Result<Reply, Failure>, End> {
        let command = &job.command;
        if command.needs() > self.rights {
            return Ok(Err(Failure::new("admin access needed")));
        }
        self.entry.set_phase(Phase::Idle, self.realm.consoles().at(Instant::now()));
        if command.needs() == Rights::Admin {
            let (client, user) = (self.entry.id, &*self.entry.place.login);
            tracing::info!(client, user, "console: {}", printable(&job.text));
        }
        let interrupted = tokio::select! {
            biased;
            outcome = control::run(&*self.realm, command) => return Ok(outcome),
            kick = kicked(&self.entry) => kick,
            () = self.stream.left(&mut self.input, LONGEST) => return Err(End::Closed),
        };
        if interrupted != Kick::Cancel {
            return Err(End::Kicked(interrupted));
        }
        self.entry.forgive();
        control::give_up(&*self.realm, command);
        Ok(Err(Failure {
            code: sqlstate::QUERY_CANCELED,
            message: "canceling statement due to user request".to_owned(),
            detail: None,
        }))
    }

    async fn farewell(mut self, end: End) {
        let (client, user) = (self.entry.id, self.entry.place.login.to_string());
        let (code, message) = match end {
            End::Closed | End::Lost => {
                tracing::info!(client, user, "disconnect from the console");
                return;
            }
            End::Kicked(Kick::Forced) => (sqlstate::ADMIN_SHUTDOWN, "admin forced disconnect".to_owned()),
            End::Kicked(_) => {
                (sqlstate::ADMIN_SHUTDOWN, "terminating connection due to administrator command".to_owned())
            }
            End::Wrong(error) => (sqlstate::PROTOCOL_VIOLATION, error.to_string()),
        };
        tracing::info!(client, user, "disconnect from the console: {message}");
        let (severity, message) = (Severity::Fatal, &*message);
        Report { severity, code, message, detail: None, hint: None }.encode(&mut self.out);
        let _ = timeout(FAREWELL, self.stream.write_all(&self.out)).await;
        self.stream.shutdown();
    }
}

/// Waits until the session is to end. For its own task only, which a kick wakes.
async fn ended(entry: &Entry) -> Kick {
    loop {
        match kicked(entry).await {
            // It waits for nothing that could be given up.
            Kick::Cancel => entry.forgive(),
            kick => return kick,
        }
    }
}

/// Waits until the session is to end, or what it waits for is cancelled. For its own task only, which a kick wakes.
async fn kicked(entry: &Entry) -> Kick {
    poll_fn(|_| match entry.kicked() {
        None => Poll::Pending,
        // What is asked of clients means nothing here; `forgive` keeps what isn't passing.
        Some(kick) if kick.is_passing() && kick != Kick::Cancel => {
            entry.forgive();
            Poll::Pending
        }
        Some(kick) => Poll::Ready(kick),
    })
    .await
}
