//! The busiest periods of the last hour, by pool.

use super::measured::{Counted, Measured, Standing};
use super::{Advice, advise, words};
use crate::clock::Instant;
use crate::metrics::{Metrics, PoolMetrics};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many stretches of time are remembered, and how many periods one has: an hour of PgBouncer's stats_period, a minute.
const STRETCHES: usize = 12;
const PERIODS: u64 = 5;

/// What one pool is told, and from what.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolAdvice {
    /// The pool.
    pub database: Box<str>,
    /// And its user.
    pub user: Box<str>,
    /// Its busiest period.
    pub measured: Measured,
    /// What follows.
    pub advice: Advice,
    /// In one sentence.
    pub sentence: String,
    /// Why it can have no servers now, whatever its size.
    pub outage: Option<String>,
}

impl PoolAdvice {
    /// What matters first: an outage, else the size.
    pub fn words(&self) -> &str {
        self.outage.as_deref().unwrap_or(&self.sentence)
    }
}

/// What was measured of all pools. Filled at the end of each period, read at any time.
#[derive(Debug, Default)]
pub struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    period: u64,
    begun: Option<Instant>,
    pools: HashMap<(Box<str>, Box<str>), Page>,
}

#[derive(Debug, Default)]
struct Page {
    counted: Counted,
    /// The busiest period of each stretch, by the stretch's number.
    busiest: VecDeque<(u64, Measured)>,
    /// What was told last; it holds as long as what it goes by.
    told: Option<PoolAdvice>,
}

impl Book {
    /// A period is over and the next begins. The first call only begins.
    pub fn turn(&self, metrics: &Metrics, now: Instant) {
        let mut pages = self.0.lock();
        let seconds = pages.begun.map(|begun| (now - begun).as_secs_f64());
        pages.begun = Some(now);
        pages.period += 1;
        let stretch = pages.period / PERIODS;
        let mut before = std::mem::take(&mut pages.pools);
        for pool in metrics.pools() {
            let counted = counted(&pool);
            // A pool nobody has used takes no memory here.
            if counted.is_nothing() {
                continue;
            }
            let key = (pool.database().into(), pool.user().into());
            let mut page = before.remove(&key).unwrap_or_default();
            if let Some(seconds) = seconds {
                let measured = counted.since(&page.counted, seconds, standing(&pool));
                // Waits of an outage say nothing of the size.
                if !measured.is_of_an_outage() {
                    page.note(stretch, measured);
                }
            }
            page.counted = counted;
            pages.pools.insert(key, page);
        }
    }

    /// What there is to say of each pool that is listed now, by database and user.
    pub fn advice(&self, metrics: &Metrics) -> Vec<PoolAdvice> {
        metrics.pools().iter().map(|pool| self.of(pool)).collect()
    }

    /// What there is to say of one.
    pub fn of(&self, pool: &Arc<PoolMetrics>) -> PoolAdvice {
        PoolAdvice { outage: pool.outage(), ..self.on_size(pool) }
    }

    fn on_size(&self, pool: &Arc<PoolMetrics>) -> PoolAdvice {
        let key = (pool.database().into(), pool.user().into());
        let now = standing(pool);
        let known = self.0.lock().pools.get(&key).map(|page| (page.told.clone(), page.busiest()));
        let (told, busiest) = known.unwrap_or_default();
        let mut measured = busiest.unwrap_or_default();
        // The size may have been changed since.
        measured.end =
            Standing { size: now.size, reserve: now.reserve, session_mode: now.session_mode, ..measured.end };
        if let Some(told) = told.filter(|told| told.measured == measured) {
            return told;
        }
        // Not under the lock: it may take a millisecond.
        let advice = advise(&measured);
        let sentence = words::sentence(&measured, &advice);
        let (database, user) = key.clone();
        let told = PoolAdvice { database, user, measured, advice, sentence, outage: None };
        if let Some(page) = self.0.lock().pools.get_mut(&key) {
            page.told = Some(told.clone());
        }
        told
    }
}

impl Page {
    fn note(&mut self, stretch: u64, measured: Measured) {
        match self.busiest.back_mut() {
            Some((last, known)) if *last == stretch => {
                if measured.wanted() >= known.wanted() {
                    *known = measured;
                }
            }
            _ => self.busiest.push_back((stretch, measured)),
        }
        self.busiest.retain(|(number, _)| number + STRETCHES as u64 > stretch);
    }

    fn busiest(&self) -> Option<Measured> {
        let all = self.busiest.iter().map(|(_, measured)| *measured);
        all.max_by(|a, b| a.wanted().total_cmp(&b.wanted()))
    }
}

fn counted(pool: &PoolMetrics) -> Counted {
    let held_up = pool.gauges().map(|now| now.held_up).unwrap_or_default();
    Counted::of(&pool.totals(), pool.wait_timeouts(), pool.logins()).held_up(held_up)
}

fn standing(pool: &PoolMetrics) -> Standing {
    pool.gauges().as_ref().map(Standing::from).unwrap_or_default()
}
