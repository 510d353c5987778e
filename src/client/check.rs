//! server_check_query: a server that was out of use for long has to answer before it gets its next client's bytes. If it
//! doesn't, another one gets them.

use super::context::PoolContext;
use super::report::Trouble;
use super::session::{End, Link, Session, Turn};
use super::transaction::{Active, Step, UNFIT_LIMIT};
use crate::clock::Instant;
use crate::pool::CloseReason;
use crate::roster::{Entry, Kick};
use crate::server::Server;
use crate::timer::timeout;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// In nanoseconds: a server that logged in more recently, and that nobody has used, isn't asked.
pub(super) const FRESH: u64 = 1_000_000_000;

/// How long an answer may take where server_connect_timeout is off.
const LIMIT: Duration = Duration::from_secs(15);

/// Appends the query to what the server is sent first. The session is called when the answer is overdue.
#[cold]
pub(super) fn ask(context: &PoolContext, server: &mut Server, entry: &Arc<Entry>, front: &mut Vec<u8>) {
    let config = context.shared.config.load();
    let query = config.general.server_check().map_or("", |(query, _)| query);
    server.talk.check(front, query);
    let (limit, entry) = (limit(context), Arc::clone(entry));
    let (unanswered, answered) = oneshot::channel();
    server.check = Some(unanswered);
    tokio::spawn(async move {
        if timeout(limit, answered).await.is_err() {
            entry.kick(Kick::Unanswered);
        }
    });
}

fn limit(context: &PoolContext) -> Duration {
    context.shared.config.load().general.server_connect_timeout.unwrap_or(LIMIT)
}

impl Session {
    /// A server may have left its check unanswered: then it is as good as gone.
    #[cold]
    pub(super) fn give_up_unanswered(&mut self) -> Turn {
        self.member.entry().forgive();
        if let Link::Active(Active { step: Step::Prelude, lease }) = &self.link
            && Instant::now().saturating_duration_since(lease.began) >= limit(&self.context)
        {
            self.unfit += 1;
            self.close_for_another(CloseReason::CheckFailed);
            if self.unfit >= UNFIT_LIMIT {
                return Turn::end(End::Told(Trouble::ServerLost));
            }
        }
        Turn::Again
    }
}
