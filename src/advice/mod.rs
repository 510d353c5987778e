//! Whether pools have the right size: from what was measured of each to one sentence with its figures. Pure; asked by the
//! console, by HTTP and by whoever draws pools.
//!
//! * `measured`: a pool in one period, from its counters; `book`: the busiest periods of the last hour
//! * `queue`: how long clients would wait with another number of servers
//! * `words`: the sentence
mod book;
mod measured;
mod queue;
#[cfg(test)]
mod tests;
mod words;

pub use book::{Book, PoolAdvice};
pub use measured::{Counted, Measured, Standing};
pub use queue::{Demand, Outcome};

use serde::Serialize;

/// What advice goes by, for whoever reads it.
pub const ASSUMPTIONS: &str = "The busiest period of the last hour is what counts, those aside in which clients waited for the end of a PAUSE or for a server that could not be reached. Each client asks at random moments, one \
transaction after the other; servers are used first come, first served; a transaction takes as long with more servers as it \
does now. Waits are those of a queue of that many clients (Erlang's for many), scaled by Allen and Cunneen with the measured \
variance of transaction times, and with that of arrivals where measured waits show it. Clients that keep their servers have \
one each beside these. Enough is when the mean wait is at most a tenth of the mean transaction, or 0.1 ms. Never more than twice \
as many servers are advised at once: look again then, since transactions may get slower.";

/// What there is to say about a pool's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Nothing was measured.
    #[serde(rename = "unknown")]
    Unknown,
    /// Clients wait for servers that the pool may not have.
    #[serde(rename = "too small")]
    TooSmall,
    /// As it should be.
    #[serde(rename = "right")]
    Right,
    /// Half of it would do.
    #[serde(rename = "too big")]
    TooBig,
}

impl Verdict {
    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::TooSmall => "too small",
            Self::Right => "right",
            Self::TooBig => "too big",
        }
    }
}

/// What one pool is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// In two words.
    pub verdict: Verdict,
    /// The pool_size it should have; `None` if there is none to recommend.
    pub recommended: Option<usize>,
    /// What the queue says of the size it has; `None` if it is unlimited, or nothing is known.
    pub now: Option<Outcome>,
    /// What the queue says of the recommended size.
    pub then: Option<Outcome>,
    /// Whether clients wait for each other rather than arrive at random: they hardly pause.
    pub saturated: bool,
}

/// No fewer are ever advised: one slow transaction would hold up everybody.
const FEWEST: usize = 2;
/// Waits that don't matter, in seconds.
const HARMLESS: f64 = 0.000_1;
/// Measured waits tell how bursty arrivals are up to that factor, no further.
const BURSTIEST: f64 = 10.0;

/// What to say of a pool with this period, its busiest. A pool isn't too small whose clients wait for a limit that it shares:
/// a larger one would get nothing more.
pub fn advise(measured: &Measured) -> Advice {
    let advice = by_size(measured);
    if advice.verdict != Verdict::TooSmall || measured.limit_in_the_way().is_none() {
        return advice;
    }
    Advice { verdict: Verdict::Right, recommended: measured.end.size, then: advice.now, ..advice }
}

fn by_size(measured: &Measured) -> Advice {
    if measured.transactions == 0 && measured.end.wanting == 0 && measured.timeouts == 0 {
        return Advice {
            verdict: Verdict::Unknown,
            recommended: None,
            now: None,
            then: None,
            saturated: false,
        };
    }
    if measured.end.session_mode {
        return for_sessions(&measured.end);
    }
    if measured.transactions == 0 {
        return standing_still(measured);
    }
    let demand = demand(measured);
    let most = (demand.service / 10.0).max(HARMLESS);
    let pinned = measured.end.pinned;
    let needed = demand.servers_for(most).max(FEWEST);
    let Some(size) = measured.end.size else {
        let then = Some(demand.with(needed));
        let recommended = Some(needed + pinned);
        return Advice { verdict: Verdict::Right, recommended, now: None, then, saturated: false };
    };
    let free = size.saturating_sub(pinned).max(1);
    let now = demand.with(free);
    let verdict = verdict(measured, (needed + pinned, size), most);
    let recommended = match verdict {
        Verdict::TooSmall => (needed + pinned).clamp(size + 1, (size * 2).max(pinned + FEWEST)),
        Verdict::TooBig => needed + pinned,
        Verdict::Right | Verdict::Unknown => size,
    };
    let then = demand.with(recommended.saturating_sub(pinned).max(1));
    let saturated = demand.least_wait(free) > demand.service;
    Advice { verdict, recommended: Some(recommended), now: Some(now), then: Some(then), saturated }
}

fn verdict(measured: &Measured, (needed, size): (usize, usize), most: f64) -> Verdict {
    let waits = measured.wait > most || measured.timeouts > 0 || measured.end.reserve_in_use > 0;
    if needed > size && waits {
        Verdict::TooSmall
    } else if needed * 2 <= size && size - needed >= 2 && !waits {
        Verdict::TooBig
    } else {
        Verdict::Right
    }
}

/// What its clients ask for, with arrivals as bursty as the waits show.
fn demand(measured: &Measured) -> Demand {
    // Who logs in for a transaction or two is one of many that could.
    let passing = measured.logins as usize > measured.end.clients / 2;
    let clients = if passing { usize::MAX } else { measured.end.clients };
    let service = measured.service.max(1e-6);
    let demand = Demand::of(clients, measured.rate(), service, measured.wait);
    let variability = f64::midpoint(1.0, measured.scv);
    let Some(size) = measured.end.size else { return Demand { variability, ..demand } };
    let free = (size + measured.end.reserve_in_use).saturating_sub(measured.end.pinned).max(1);
    let (model, least) = (demand.with(free), demand.least_wait(free));
    let shows = model.waiting > 0.01 && model.mean > least && least < measured.wait / 5.0;
    let bursty = if shows { (measured.wait - least) / (model.mean - least) } else { variability };
    Demand { variability: bursty.clamp(variability, variability * BURSTIEST), ..demand }
}

/// In session mode each client needs a server as long as it is there.
fn for_sessions(end: &Standing) -> Advice {
    let needed = end.wanting.max(FEWEST);
    let (verdict, recommended) = match end.size {
        None => (Verdict::Right, needed),
        Some(size) if end.waiting > 0 => (Verdict::TooSmall, needed.clamp(size + 1, (size * 2).max(FEWEST))),
        Some(size) if needed * 2 <= size && size - needed >= 2 => {
            (Verdict::TooBig, needed + needed.div_ceil(4))
        }
        Some(size) => (Verdict::Right, size),
    };
    Advice { verdict, recommended: Some(recommended), now: None, then: None, saturated: false }
}

/// Clients have or want servers, and no transaction ended.
fn standing_still(measured: &Measured) -> Advice {
    let end = &measured.end;
    let in_vain = end.waiting > 0 || measured.timeouts > 0;
    let verdict = if in_vain && end.size.is_some() { Verdict::TooSmall } else { Verdict::Right };
    let recommended = match (verdict, end.size) {
        (Verdict::TooSmall, Some(size)) => Some(end.wanting.clamp(size + 1, (size * 2).max(FEWEST))),
        (_, size) => size,
    };
    Advice { verdict, recommended, now: None, then: None, saturated: false }
}
