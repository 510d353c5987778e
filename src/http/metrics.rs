//! `/metrics`, in Prometheus' text format.

use axum::extract;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::server::{State, rendered};

pub(super) async fn metrics(extract::State(state): extract::State<State>) -> Response {
    let others = match state.more().cloned() {
        Some(more) => more.series().await,
        None => String::new(),
    };
    match rendered(state, |state| state.render(others)).await {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(failed) => failed,
    }
}
