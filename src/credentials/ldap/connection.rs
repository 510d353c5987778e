//! A connection to a directory: TCP, TLS from the beginning or by StartTLS, then one request at a time. Its end is the value's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::timer::timeout;
use crate::tls::TlsError;
use crate::wire::ldap::answer::{self, Answer, AnswerError, Entry, Outcome, Said};
use crate::wire::ldap::request::{self, FilterError, Query};

/// How long a server may take to be connected to, and then for each of its answers.
const LIMIT: Duration = Duration::from_secs(5);
/// The most that a connection takes, in bytes.
const MOST: usize = 1 << 20;

const PORT: u16 = 389;
const TLS_PORT: u16 = 636;

/// What is wrong with a server, or with the way to it.
#[derive(Debug, Error)]
pub enum Fault {
    /// With the way.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Slow.
    #[error("it hasn't answered within {LIMIT:?}")]
    Late(#[from] Elapsed),
    /// It can't be found.
    #[error("no URL of a server: {0}")]
    Url(#[from] url::ParseError),
    /// Nobody can be asked encrypted.
    #[error("there is no TLS for it")]
    NoTls,
    /// What it says can't be taken.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// What it says fits nothing it was asked.
    #[error("its answer is not one to what was asked")]
    Unasked,
    /// It says more than anybody wants to know.
    #[error("its answers are longer than {} KiB together", MOST >> 10)]
    TooMuch,
    /// It has had enough.
    #[error("it ends the connection: {0}")]
    Farewell(Outcome),
    /// It doesn't do what it was asked for.
    #[error("{0}")]
    Refused(Outcome),
    /// What it would be asked makes no sense.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl Fault {
    /// Whether another server may do better: this one, or the way to it, is out of order.
    pub(super) fn is_of_the_server(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Filter(_))
    }
}

/// What is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Dropped, it is closed.
pub(super) struct Connection<S = Box<dyn Stream>> {
    stream: S,
    /// The ID of the request sent last.
    asked: u32,
    message: Vec<u8>,
    /// How many bytes may come yet.
    left: usize,
}

impl Connection {
    /// Connects to the server of this URL. Cancel safe.
    pub(super) async fn open(
        server: &str,
        starttls: bool,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Fault> {
        let stream = timeout(LIMIT, connect(&Url::parse(server)?, starttls, tls)).await??;
        Ok(Self::over(stream))
    }
}

async fn connect(
    url: &Url,
    starttls: bool,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, Fault> {
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_direct = url.scheme() == "ldaps";
    let port = url.port().unwrap_or(if is_direct { TLS_PORT } else { PORT });
    let socket = TcpStream::connect((host, port)).await?;
    if !is_direct && !starttls {
        return Ok(Box::new(socket));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let tls = TlsConnector::from(tls.ok_or(Fault::NoTls)?);
    let socket = if is_direct { socket } else { start_tls(socket).await? };
    Ok(Box::new(tls.connect(name, socket).await.map_err(TlsError::told)?))
}

/// Nothing is read in clear beyond the answer: what is sent behind it has to be TLS.
async fn start_tls(socket: TcpStream) -> Result<TcpStream, Fault> {
    let mut clear = Connection::over(socket);
    let request = request::start_tls(clear.next_id());
    clear.send(&request).await?;
    match clear.receive().await? {
        Said::Extended(Outcome { code: 0, .. }) => Ok(clear.stream),
        Said::Extended(outcome) => Err(Fault::Refused(outcome)),
        _ => Err(Fault::Unasked),
    }
}

impl<S: Stream> Connection<S> {
    fn over(stream: S) -> Self {
        Self { stream, asked: 0, message: Vec::new(), left: MOST }
    }

    /// How a bind by name and password ends.
    pub(super) async fn bind(&mut self, name: &str, password: &str) -> Result<Outcome, Fault> {
        let request = request::bind(self.next_id(), name, password);
        self.send(&request).await?;
        match self.receive().await? {
            Said::Bound(outcome) => Ok(outcome),
            _ => Err(Fault::Unasked),
        }
    }

    /// How a search ends, whose entries are shown to `see` as they come.
    pub(super) async fn search(
        &mut self,
        query: &Query<'_>,
        mut see: impl FnMut(Entry<'_>),
    ) -> Result<Outcome, Fault> {
        let request = request::search(self.next_id(), query)?;
        self.send(&request).await?;
        loop {
            match self.receive().await? {
                Said::Entry(entry) => see(entry),
                Said::Reference | Said::Intermediate => {}
                Said::Done(outcome) => return Ok(outcome),
                Said::Bound(_) | Said::Extended(_) => return Err(Fault::Unasked),
            }
        }
    }

    /// Says farewell, if that can be said.
    pub(super) async fn unbind(mut self) {
        let request = request::unbind(self.next_id());
        if self.send(&request).await.is_ok() {
            let _ = timeout(LIMIT, self.stream.shutdown()).await;
        }
    }

    fn next_id(&mut self) -> u32 {
        self.asked += 1;
        self.asked
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Fault> {
        let sent = async {
            self.stream.write_all(request).await?;
            self.stream.flush().await
        };
        Ok(timeout(LIMIT, sent).await??)
    }

    /// The next message, which has to be for the last request.
    async fn receive(&mut self) -> Result<Said<'_>, Fault> {
        timeout(LIMIT, self.read_message()).await??;
        match answer::parse(&self.message)? {
            Answer { id: 0, said: Said::Extended(farewell) } => Err(Fault::Farewell(farewell)),
            Answer { id, said } if id == self.asked => Ok(said),
            _ => Err(Fault::Unasked),
        }
    }

    async fn read_message(&mut self) -> Result<(), Fault> {
        self.message.clear();
        self.read(2).await?;
        let size = loop {
            match answer::size(&self.message)? {
                Some(size) => break size,
                None => self.read(1).await?,
            }
        };
        self.left = self.left.checked_sub(size).ok_or(Fault::TooMuch)?;
        self.read(size.saturating_sub(self.message.len())).await
    }

    async fn read(&mut self, more: usize) -> Result<(), Fault> {
        let from = self.message.len();
        self.message.resize(from + more, 0);
        self.stream.read_exact(&mut self.message[from..]).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ldap::request::Scope;
    use tokio::io::{DuplexStream, duplex};

    const DONE: &[u8] = b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00";

    /// What a search comes to that is answered so, and how many entries it has seen.
    async fn searched(answers: Vec<u8>) -> (Result<Outcome, Fault>, usize) {
        let (ours, theirs) = duplex(64);
        let (mut connection, mut seen) = (Connection::over(ours), 0);
        let query =
            Query { base: "", scope: Scope::Base, most: 0, filter: "(objectClass=*)", attributes: &[] };
        let said = async move {
            let (mut asked, mut directory): (_, DuplexStream) = ([0; 64], theirs);
            assert_ne!(directory.read(&mut asked).await.expect("a question"), 0);
            let _ = directory.write_all(&answers).await;
        };
        let search = async move {
            let outcome = connection.search(&query, |_| seen += 1).await;
            (outcome, seen)
        };
        tokio::join!(search, said).0
    }

    #[tokio::test]
    async fn what_comes_before_the_end_of_a_search() {
        let entry = b"\x30\x09\x02\x01\x01\x64\x04\x04\x00\x30\x00".to_vec();
        let others = b"\x30\x05\x02\x01\x01\x73\x00\x30\x05\x02\x01\x01\x79\x00".to_vec();
        let (outcome, seen) = searched([&entry, &others, &entry, DONE].concat()).await;
        assert!(matches!(outcome, Ok(Outcome { code: 0, .. })) && seen == 2, "{outcome:?} {seen}");
    }

    #[tokio::test]
    async fn what_is_no_answer_to_a_search() {
        let farewell = b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00".to_vec();
        let padded = [&[0x30, 0x83, 3, 0xff, 0xfb, 2, 1, 1, 0x73, 0x00][..], &[0; (256 << 10) - 10]].concat();
        for (answers, told) in [
            (DONE[..5].to_vec(), "eof"),
            (farewell, "it ends the connection: it answers 52 (unavailable)"),
            (padded.repeat(5), "its answers are longer than 1024 KiB together"),
        ] {
            let error = searched(answers).await.0.expect_err("refused");
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
