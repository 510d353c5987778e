//! `/metrics`, in Prometheus' text format.

use axum::extract;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::server::{State, rendered};

pub(super) async fn metrics(extract::State(state): extract::State<State>) -> Response {
    let more = state.more().cloned();
    match rendered(state, State::render).await {
        Ok(mut text) => {
            if let Some(more) = more {
                text.push_str(&more.series().await);
            }
            ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response()
        }
        Err(failed) => failed,
    }
}
