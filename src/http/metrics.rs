//! `/metrics`: one scrape at a time, rendered off the thread that serves it, so that neither many scrapers nor many
//! pools hold up the janitor.

use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::server::State;

pub(super) async fn metrics(extract::State(state): extract::State<State>) -> Response {
    let Ok(turn) = state.turn().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    // The turn goes along: a scraper that hangs up doesn't let the next one start beside its unfinished rendering.
    let rendering = tokio::task::spawn_blocking(move || {
        let text = state.render();
        drop(turn);
        text
    });
    match rendering.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "metrics could not be rendered");
    (StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be rendered\n").into_response()
}
