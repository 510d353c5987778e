//! Which notifications of a server are for its client: all it listens for itself, and of what another server listens for, the
//! client's own, which come here in time.

use super::super::exchange::Fate;
use super::{Conversation, Decided};
use crate::params::inspection::MARKER;
use crate::wire::backend::Notification;
use crate::wire::tag::backend::NOTIFICATION;

/// Where the client's notifications go over from this server to the one that listens for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cut {
    /// Not here.
    #[default]
    None,
    /// Behind the marker with this payload.
    At(String),
    /// It has come: what comes now is the other server's to bring.
    Passed,
}

impl Conversation {
    #[cold]
    pub(super) fn notification(&mut self, body: &[u8]) -> Decided {
        let passing = self.exchange.passing();
        let Ok(heard) = Notification::parse(body) else { return Decided::Pass(passing) };
        let (process, client) = self.pids;
        if client != 0 && heard.channel == MARKER.as_bytes() {
            if matches!(&self.cut, Cut::At(payload) if heard.payload == payload.as_bytes()) {
                self.cut = Cut::Passed;
            }
            return Decided::Pass(Fate::Swallow);
        }
        // Of what pgweir asks behind a client's transaction the client is still there.
        let is_there = passing == Fate::Forward || self.inspection.is_some() || self.exchange.is_behind();
        if !is_there || self.cut == Cut::Passed {
            return Decided::Pass(Fate::Swallow);
        }
        let own = heard.pid == process && client != 0;
        if self.parameters.listens_to(heard.channel) {
            if !own {
                return Decided::Pass(Fate::Swallow);
            }
            self.heard.own.push((heard.channel.to_vec(), heard.payload.to_vec()));
        }
        if !own {
            return Decided::Pass(Fate::Forward);
        }
        Decided::Instead(NOTIFICATION, [&client.to_be_bytes(), &body[4..]].concat())
    }
}
