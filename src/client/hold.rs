//! Who has just taken a value from a sequence may ask for it next (currval, lastval), and only this server knows it: for a moment
//! nobody else gets it. In pools only whose clients ask such things.

use super::session::{Link, Session, Turn};
use super::transaction::{Active, Step};
use crate::clock::Instant;
use crate::config::WHOLE_SESSION;
use crate::params::traces::Traces;
use crate::server::conversation::Sequences;
use crate::timer::sleep;
use std::sync::Arc;
use std::time::Duration;

/// Holds in vain after which a client's servers are held no more until it asks.
const IN_VAIN: u8 = 3;

/// How long an answer may come that nobody has asked for any more.
const LINGER: Duration = Duration::from_secs(1);

impl Session {
    /// Whether it is worth it.
    #[cold]
    pub(super) fn may_hold(&mut self) -> bool {
        let Link::Active(active) = &self.link else { return false };
        if active.lease.talk.sequences == Sequences::Asked {
            self.unasked = 0;
        }
        let talk = &active.lease.talk;
        let worthwhile = self.unasked < IN_VAIN || self.keeps_sequences();
        worthwhile && talk.is_sound() && talk.held.is_empty() && !talk.heard.fatal
    }

    /// Whether who has taken a value keeps its server as who has made a temporary table does.
    pub(super) fn keeps_sequences(&self) -> bool {
        self.context.sequence_hold == Some(WHOLE_SESSION)
    }

    /// The transaction is over, and the client keeps the server until its next or until the time is over.
    #[cold]
    pub(super) fn hold(&mut self) -> Turn {
        let now = self.count_transaction();
        self.hold_from(now)
    }

    /// The same, of a transaction that has been counted.
    #[cold]
    pub(super) fn hold_from(&mut self, now: Instant) -> Turn {
        let Some(time) = self.context.sequence_hold else { return self.give_back(now) };
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        active.step = Step::Between;
        active.lease.began = now;
        if time == WHOLE_SESSION {
            self.tie(Traces::SEQUENCES);
            return Turn::Again;
        }
        active.lease.talk.had_its_sequences();
        active.lease.talk.held = Traces::SEQUENCES;
        self.knock_after(time);
        Turn::Again
    }

    /// One more answer may come that nobody else must get: the client keeps the server until it has come, or its next
    /// request is done, or for [`LINGER`]. Then it is closed.
    #[cold]
    pub(super) fn linger(&mut self, mut active: Active, now: Instant) -> Turn {
        active.step = Step::Between;
        active.lease.began = now;
        active.lease.talk.held = Traces::SEQUENCES;
        self.link = Link::Active(active);
        self.knock_after(LINGER);
        Turn::Again
    }

    fn knock_after(&self, time: Duration) {
        let entry = Arc::clone(self.member.entry());
        tokio::spawn(async move {
            sleep(time).await;
            entry.knock();
        });
    }

    /// Gives a held server back whose time is over.
    #[cold]
    pub(super) fn let_go(&mut self) {
        let now = Instant::now();
        let Link::Active(active) = &mut self.link else { return };
        let hold = self.context.sequence_hold.unwrap_or_default();
        let time = if active.lease.talk.is_sound() { hold } else { LINGER };
        let held = active.step == Step::Between && active.lease.talk.held == Traces::SEQUENCES;
        if held && u128::from(now.nanos_since(active.lease.began)) >= time.as_nanos() {
            active.lease.talk.held = Traces::NONE;
            self.unasked += 1;
            let _ = if self.is_beyond_reset() { self.close_spent() } else { self.give_back(now) };
            if !self.inbound.is_empty() {
                self.link = Link::Wanting;
            }
        }
    }
}
