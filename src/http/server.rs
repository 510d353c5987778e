//! The listener and its bounds. A connection carries one request and has little time for it, and when too many are
//! open the oldest makes room: whoever connects and says nothing keeps no scrape out.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::timer::{sleep, timeout};
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};

use super::health::{self, Health, More};
use super::live::{self, Live};
use super::{advice, metrics, page};
use crate::advice::Book;
use crate::metrics::{Exposition, Metrics};

/// Connections open at once.
const CONNECTIONS_MAX: usize = 64;
/// From the connect to the end of the request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// From the connect to the end of the answer.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// For answers under way when the shutdown comes.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// After an accept that failed, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A request's head; hyper takes no less than 8 KiB.
const HEAD_BYTES: usize = 16 * 1024;

/// What the pages show.
#[derive(Clone)]
pub struct State {
    metrics: Arc<Metrics>,
    exposition: Arc<Exposition>,
    book: Arc<Book>,
    live: Arc<Live>,
    health: Arc<dyn Health>,
    more: Option<Arc<dyn More>>,
    /// One permit: the right to render.
    rendering: Arc<Semaphore>,
}

impl State {
    /// For the numbers of `metrics`, what `book` makes of them, and the word of `health`.
    pub fn new(metrics: Arc<Metrics>, book: Arc<Book>, health: Arc<dyn Health>) -> Self {
        Self {
            exposition: Arc::new(Exposition::new(Arc::clone(&metrics))),
            metrics,
            book,
            live: Arc::default(),
            health,
            more: None,
            rendering: Arc::new(Semaphore::new(1)),
        }
    }

    /// Puts series of another's behind those of `/metrics`.
    #[must_use]
    pub fn with(self, more: Arc<dyn More>) -> Self {
        Self { more: Some(more), ..self }
    }

    pub(super) fn more(&self) -> Option<&Arc<dyn More>> {
        self.more.as_ref()
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        self.health.ready()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.rendering).acquire_owned().await
    }

    /// Takes milliseconds when there are many pools.
    pub(super) fn render(&self, others: String) -> Result<String, String> {
        self.metrics.set_ready(self.ready().is_ok());
        self.exposition.render_behind(others).map_err(|error| error.to_string())
    }
}

/// What `render` makes, one at a time and off the thread that serves it, so that neither many who ask nor many pools hold up
/// the janitor.
pub(super) async fn rendered(
    state: State,
    render: impl FnOnce(&State) -> Result<String, String> + Send + 'static,
) -> Result<String, Response> {
    let Ok(turn) = state.turn().await else {
        return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    // The turn goes along: who hangs up doesn't let the next one start beside an unfinished rendering.
    let rendering = tokio::task::spawn_blocking(move || {
        let text = render(&state);
        drop(turn);
        text
    });
    rendering.await.unwrap_or_else(|error| Err(error.to_string())).map_err(|error| {
        tracing::error!(error, "an answer by HTTP could not be rendered");
        (StatusCode::INTERNAL_SERVER_ERROR, "could not be rendered\n").into_response()
    })
}

/// Serves until `shutdown` resolves, then gives answers under way two seconds. Tasks it spawned end with it, also when
/// it is dropped.
///
/// # Errors
/// Only if `listener` cannot be used at all; a failing accept or connection is not one.
pub async fn serve(
    listener: std::net::TcpListener,
    state: State,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let router = router(state);
    let mut open = Connections::default();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = open.tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => open.admit(stream, router.clone()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // What is not done by then is aborted as `open` goes.
    let _ = timeout(FAREWELL_TIME, async { while open.tasks.join_next().await.is_some() {} }).await;
    Ok(())
}

fn router(state: State) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/pools.json", get(live::pools))
        .route("/metrics", get(metrics::metrics))
        .route("/advice", get(advice::advice))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found; / lists what is here\n") })
        .with_state(state)
}

/// Open connections, and their order of arrival.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    arrivals: VecDeque<AbortHandle>,
}

impl Connections {
    fn admit(&mut self, stream: TcpStream, router: Router) {
        self.arrivals.retain(|task| !task.is_finished());
        while self.arrivals.len() >= CONNECTIONS_MAX {
            if let Some(oldest) = self.arrivals.pop_front() {
                oldest.abort();
            }
        }
        self.arrivals.push_back(self.tasks.spawn(connection(stream, router)));
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(REQUEST_TIME, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "HTTP connection failed"),
        Err(_) => tracing::debug!("HTTP request took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_connection_gives_way() {
        const TOO_MANY: usize = 5;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut open, mut silent) = (Connections::default(), Vec::new());
        for _ in 0..CONNECTIONS_MAX + TOO_MANY {
            silent.push(TcpStream::connect(address).await.unwrap());
            open.admit(listener.accept().await.unwrap().0, Router::new());
        }
        assert_eq!(open.arrivals.len(), CONNECTIONS_MAX);
        for _ in 0..TOO_MANY {
            assert!(open.tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        }
        assert_eq!(open.tasks.len(), CONNECTIONS_MAX);
        for stream in &silent[..TOO_MANY] {
            stream.readable().await.unwrap();
            assert_eq!(stream.try_read(&mut [0]).unwrap(), 0);
        }
    }
}
