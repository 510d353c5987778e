//! The public keys of those who issue tokens: read from a file for each login, or fetched from an address, and kept. These are fetched anew
//! behind a login when they are some minutes old, and at once, at most every ten seconds, when a token names one that isn't there.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use url::{Position, Url};

use super::renewal::{Fresh, Look, State, Told, answer};
use crate::auth::oauth::{BrokenKeys, KeySet, KeySource, LARGEST_SET, Names, OAuth, Rejection, Token};
use crate::clock::Instant;
use crate::timer::timeout;
use crate::tls::TlsError;

/// How long fetching may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How old keys may get before they are fetched again.
const FRESH: Duration = Duration::from_secs(600);
/// How long those of an address are used if that fails. A file says what counts at that moment: who empties or removes it wants
/// its keys to be good for nothing.
const GOOD: Duration = Duration::from_secs(24 * 3600);

/// Why there are no keys.
#[derive(Clone, Debug, Error)]
#[error("the issuer's keys can't be had: {0}")]
pub struct KeysError(Arc<Why>);

#[derive(Debug, Error)]
enum Why {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer can't be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Broken(#[from] BrokenKeys),
    #[error("no answer within {LIMIT:?}")]
    Timeout,
    #[error("there is no TLS for it")]
    NoTls,
    #[error("the fetching was given up")]
    GivenUp,
}

impl From<Why> for KeysError {
    fn from(why: Why) -> Self {
        Self(Arc::new(why))
    }
}

/// Why a token lets nobody in.
#[derive(Debug, Error)]
pub enum Refused {
    /// It isn't what it has to be.
    #[error(transparent)]
    Token(#[from] Rejection),
    /// That can't be found out.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// How keys are fetched.
#[derive(Debug, Clone)]
pub struct Fetching {
    /// Where that is done.
    pub runtime: Handle,
    /// TLS with whom the machine trusts, if a rule has an address with https.
    pub tls: Option<Arc<ClientConfig>>,
}

/// All keys of issuers.
#[derive(Debug, Default)]
pub struct Issuers(Mutex<HashMap<KeySource, Arc<Keeper>>>);

type Keys = State<KeySet, KeysError>;

#[derive(Debug)]
struct Keeper {
    source: KeySource,
    state: Mutex<Keys>,
}

impl Issuers {
    /// The configuration was read again: keys are fetched behind the next login, and those there are used until then.
    pub fn remind(&self) {
        let now = Instant::now();
        self.0.lock().values().for_each(|keeper| keeper.state.lock().remind(now));
    }

    /// Whom a token is about that has passed all but the look at its signature. Cancel safe: a fetch goes on for others.
    ///
    /// # Errors
    /// Its signature isn't one of the issuer's, as far as is known.
    pub async fn verify(&self, token: Token, oauth: &OAuth, by: &Fetching) -> Result<Names, Refused> {
        let keeper = self.keeper(&oauth.keys);
        // A file costs next to nothing, so that a change is never missed.
        let anew = keeper.source.is_file();
        let look = keeper.state.lock().look(Instant::now(), anew);
        let mut keys = keeper.obey(look, by).await?;
        if !token.may_be_of(&keys) {
            let look = keeper.state.lock().doubt(&keys, Instant::now());
            if let Some(look) = look {
                keys = keeper.obey(look, by).await?;
            }
        }
        Ok(token.verify(&keys)?)
    }

    fn keeper(&self, source: &KeySource) -> Arc<Keeper> {
        let mut keepers = self.0.lock();
        let new = || Arc::new(Keeper { source: source.clone(), state: Mutex::default() });
        Arc::clone(keepers.entry(source.clone()).or_insert_with(new))
    }
}

impl Keeper {
    async fn obey(
        self: &Arc<Self>,
        look: Look<KeySet, KeysError>,
        by: &Fetching,
    ) -> Result<Arc<KeySet>, KeysError> {
        match look {
            Look::Use(keys, told) => {
                told.into_iter().for_each(|told| self.begin(told, by));
                Ok(keys)
            }
            Look::Wait(waiting, told) => {
                told.into_iter().for_each(|told| self.begin(told, by));
                answer(waiting).await.unwrap_or_else(|| Err(Why::GivenUp.into()))
            }
            Look::Fail(error) => Err(error),
        }
    }

    fn begin(self: &Arc<Self>, told: Told<KeySet, KeysError>, by: &Fetching) {
        let (this, tls) = (Arc::clone(self), by.tls.clone());
        by.runtime.spawn(async move {
            let fetched = timeout(LIMIT, fetch(&this.source, tls)).await.unwrap_or(Err(Why::Timeout));
            let keys = fetched.and_then(|text| Ok(KeySet::read(&text)?)).map_err(KeysError::from);
            if let Err(error) = &keys {
                tracing::warn!("no new keys for tokens: {error}");
            }
            let lasts = if this.source.is_file() { Duration::ZERO } else { GOOD };
            let fresh = keys.map(|keys| Fresh { value: Arc::new(keys), renew: FRESH, lasts });
            let outcome = this.state.lock().land(fresh, Instant::now());
            told.send_replace(Some(outcome));
        });
    }
}

async fn fetch(source: &KeySource, tls: Option<Arc<ClientConfig>>) -> Result<Vec<u8>, Why> {
    let url = match source {
        KeySource::At(url) => url,
        KeySource::File(path) => {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || crate::config::load::read_named(&path));
            return Ok(read.await.map_err(|_| Why::GivenUp)??);
        }
    };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((host, url.port_or_known_default().unwrap_or_default())).await?;
    if url.scheme() != "https" {
        return get(TokioIo::new(socket), url).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(tls.ok_or(Why::NoTls)?);
    let encrypted = connector.connect(name, socket).await.map_err(TlsError::told)?;
    get(TokioIo::new(encrypted), url).await
}

/// One request; nobody is sent on to elsewhere.
async fn get<S>(stream: S, url: &Url) -> Result<Vec<u8>, Why>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await?;
    // Ends with this function.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("pgweir/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(Why::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), LARGEST_SET).collect().await.map_err(Why::Body)?;
    Ok(body.to_bytes().to_vec())
}
