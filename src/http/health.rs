//! `/livez` says that the process runs, `/readyz` whether clients are welcome. Never asks PostgreSQL: a pooler with a
//! server down is still the right place for its clients to wait.

use axum::extract;
use axum::http::StatusCode;
use std::pin::Pin;
use std::sync::Arc;

use super::server::State;

/// Whoever knows if clients are welcome.
pub trait Health: Send + Sync {
    /// `Ok` while new clients are accepted and no shutdown has begun. Called at each request, so it answers from
    /// memory.
    ///
    /// # Errors
    /// Why not, as a sentence for people; no secrets.
    fn ready(&self) -> Result<(), String>;
}

/// Whoever has series beside the numbers of [`crate::metrics`].
pub trait More: Send + Sync {
    /// Text to put beside them, in Prometheus' text format and with names of its own; may take milliseconds.
    fn series(self: Arc<Self>) -> Pin<Box<dyn Future<Output = String> + Send>>;
}

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(extract::State(state): extract::State<State>) -> (StatusCode, String) {
    match state.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
