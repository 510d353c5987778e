//! What the pool needs to know of a PostgreSQL connection.

use super::Pooled;
use crate::server::cancel::CancelKey;
use crate::server::connect::hang_up;
use crate::server::{About, Server};
use std::sync::Arc;

impl Pooled for Server {
    type CancelKey = CancelKey;
    type About = Arc<About>;

    fn id(&self) -> u64 {
        self.id
    }

    fn about(&self) -> Arc<About> {
        Arc::new(self.about())
    }

    fn is_dirty(&self) -> bool {
        self.talk.dirty || !self.talk.parameters.channels().is_empty()
    }

    fn is_alive(&mut self) -> bool {
        Self::is_alive(self)
    }

    fn cancel_key(&self) -> CancelKey {
        self.key.clone()
    }

    const HANGS_UP: bool = true;

    async fn hang_up(&mut self) {
        hang_up(self).await;
    }
}
