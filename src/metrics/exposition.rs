//! The numbers as Prometheus reads them: a collector that sums cells and asks pools when somebody scrapes, and the
//! text format. Keeps nothing between two scrapes.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily};
use prometheus::{Registry, TextEncoder};

use super::cells::Totals;
use super::families::{FAMILIES, Family};
use super::gauges::PoolGauges;
use super::histogram::{BOUNDS, BUCKETS, Snapshot};
use super::pool::{Events, PoolMetrics};
use super::reasons::{Label, PinReason};
use super::registry::Metrics;

/// Renders a [`Metrics`] as text.
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// For the numbers of `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let descriptions = FAMILIES.iter().map(|family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
        });
        let descriptions = descriptions.collect::<Result<_, _>>().expect("the table's names are valid");
        let registry = Registry::new();
        registry
            .register(Box::new(Source { metrics, descriptions }))
            .expect("the table's names are unique and the registry is new");
        Self { registry }
    }

    /// The text format, version 0.0.4. Costs a few tenths of a microsecond a line, on the calling thread.
    ///
    /// # Errors
    /// None that the table in `families` could cause; kept so that a scrape can never end the process.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

struct Source {
    metrics: Arc<Metrics>,
    descriptions: Vec<Desc>,
}

impl Collector for Source {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut scrape = Scrape::new();
        let pools = self.metrics.scraped();
        scrape.process(&self.metrics, pools.len());
        for pool in pools {
            let mut of_pool = PoolScrape { scrape: &mut scrape, pool: &pool };
            if let Some(gauges) = pool.gauges() {
                of_pool.gauges(&gauges);
            }
            of_pool.work(&pool.totals());
            of_pool.events(&pool.events());
        }
        scrape.families()
    }
}

/// Samples under construction, by family.
struct Scrape(Vec<Vec<proto::Metric>>);

impl Scrape {
    fn new() -> Self {
        Self(vec![Vec::new(); FAMILIES.len()])
    }

    fn value(&mut self, family: Family, labels: &[&str], value: f64) {
        let mut metric = proto::Metric::from_label(pairs(family, labels));
        if family.description().kind == super::Kind::Counter {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0[family as usize].push(metric);
    }

    fn process(&mut self, metrics: &Metrics, pools: usize) {
        let process = &metrics.process;
        let started = metrics.started().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.value(Family::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1.0);
        self.value(Family::StartTime, &[], started.as_secs_f64());
        self.value(Family::Ready, &[], f64::from(u8::from(process.ready())));
        self.value(Family::Pools, &[], pools as f64);
        self.value(Family::Accepted, &[], process.accepted() as f64);
        self.value(Family::CancelRequests, &[], process.cancel_requests() as f64);
        for (reason, n) in process.refused() {
            self.value(Family::Refused, &[reason.label()], n as f64);
        }
        for (reason, n) in process.login_failures() {
            self.value(Family::LoginFailures, &[reason.label()], n as f64);
        }
    }

    fn families(self) -> Vec<MetricFamily> {
        let described = FAMILIES.iter().zip(self.0).map(|(description, metrics)| {
            let mut family = MetricFamily::default();
            family.set_name(description.name.to_owned());
            family.set_help(description.help.to_owned());
            family.set_field_type(description.kind.proto());
            family.set_metric(metrics);
            family
        });
        described.collect()
    }
}

/// Adds one pool's samples.
struct PoolScrape<'a> {
    scrape: &'a mut Scrape,
    pool: &'a PoolMetrics,
}

impl PoolScrape<'_> {
    fn gauges(&mut self, now: &PoolGauges) {
        for (state, n) in
            [("active", now.clients_active), ("waiting", now.clients_waiting), ("idle", now.clients_idle)]
        {
            self.with(Family::Clients, state, n as f64);
        }
        for (state, n) in [
            ("active", now.servers_active),
            ("idle", now.servers_idle),
            ("used", now.servers_used),
            ("login", now.servers_login),
            ("being_canceled", now.servers_being_canceled),
        ] {
            self.with(Family::Servers, state, n as f64);
        }
        if let Some(limit) = now.size_limit {
            self.with(Family::SizeLimit, "normal", limit as f64);
        }
        self.with(Family::SizeLimit, "reserve", now.reserve_limit as f64);
        self.plain(Family::ReserveInUse, now.reserve_in_use as f64);
        self.plain(Family::Paused, f64::from(u8::from(now.paused)));
        self.plain(Family::PinnedClients, now.clients_pinned as f64);
        self.plain(Family::WaitingForPins, now.waiting_for_pins as f64);
        self.seen(Family::PinnedBy, PinReason::ALL.iter().copied().zip(now.pins.map(|n| n as u64)));
        self.plain(Family::MaxWait, now.max_wait.as_secs_f64());
        self.plain(Family::ListeningServers, now.listening_servers as f64);
        self.plain(Family::Subscriptions, now.subscriptions as f64);
        self.plain(Family::Notifications, now.notifications.delivered as f64);
        self.plain(Family::NotificationsDropped, now.notifications.dropped as f64);
        self.plain(Family::NotificationGaps, now.notifications.gaps as f64);
    }

    fn work(&mut self, totals: &Totals) {
        for (family, n) in [
            (Family::Transactions, totals.transactions()),
            (Family::Queries, totals.queries()),
            (Family::Assignments, totals.assignments()),
            (Family::ClientParses, totals.client_parses),
            (Family::ServerParses, totals.server_parses),
            (Family::ParseHits, totals.parse_hits),
            (Family::Binds, totals.binds),
            (Family::EvictedStatements, totals.evicted_statements),
            (Family::Resets, totals.resets),
            (Family::Replays, totals.replays),
        ] {
            self.plain(family, n as f64);
        }
        self.with(Family::ClientBytes, "in", totals.client_in as f64);
        self.with(Family::ClientBytes, "out", totals.client_out as f64);
        self.with(Family::ServerBytes, "in", totals.server_in as f64);
        self.with(Family::ServerBytes, "out", totals.server_out as f64);
        self.histogram(Family::TransactionTime, &totals.transaction, HOT);
        self.histogram(Family::QueryTime, &totals.query, HOT);
        self.histogram(Family::WaitTime, &totals.wait, HOT);
        self.seen(Family::Pins, totals.pins());
        for (class, n) in totals.errors.by_postgresql() {
            self.sample(Family::Errors, &["postgresql", class], n as f64);
        }
        for (class, n) in totals.errors.by_pgweir() {
            self.sample(Family::Errors, &["pgweir", class], n as f64);
        }
    }

    fn events(&mut self, events: &Events) {
        self.plain(Family::WaitTimeouts, events.wait_timeouts as f64);
        self.plain(Family::Logins, events.login.count() as f64);
        self.with(Family::ServerConnects, "ok", events.connect.count() as f64);
        self.with(Family::ServerConnects, "failed", events.connect_failures as f64);
        self.histogram(Family::LoginTime, &events.login, SLOW);
        self.histogram(Family::ConnectTime, &events.connect, SLOW);
        self.seen(Family::PoolLoginFailures, events.login_failures());
        self.seen(Family::ServerCloses, events.closes());
        for (outcome, n) in events.cancels() {
            self.with(Family::Cancels, outcome.label(), n as f64);
        }
    }

    fn plain(&mut self, family: Family, value: f64) {
        self.sample(family, &[], value);
    }

    fn with(&mut self, family: Family, label: &str, value: f64) {
        self.sample(family, &[label], value);
    }

    /// Leaves out what never happened: most pools know few of the reasons there are.
    fn seen(&mut self, family: Family, values: impl Iterator<Item = (impl Label, u64)>) {
        for (label, n) in values.filter(|(_, n)| *n > 0) {
            self.with(family, label.label(), n as f64);
        }
    }

    fn sample(&mut self, family: Family, more: &[&str], value: f64) {
        let (database, user) = (self.pool.database(), self.pool.user());
        match more {
            [] => self.scrape.value(family, &[database, user], value),
            [one] => self.scrape.value(family, &[database, user, one], value),
            [one, two, ..] => self.scrape.value(family, &[database, user, one, two], value),
        }
    }

    fn histogram(&mut self, family: Family, snapshot: &Snapshot, exposed: RangeInclusive<usize>) {
        let mut metric = proto::Metric::from_label(pairs(family, &[self.pool.database(), self.pool.user()]));
        metric.set_histogram(cumulated(snapshot, exposed));
        self.scrape.0[family as usize].push(metric);
    }
}

fn pairs(family: Family, values: &[&str]) -> Vec<proto::LabelPair> {
    let names = family.description().labels;
    debug_assert_eq!(names.len(), values.len(), "{family:?}");
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    names.iter().zip(values).map(pair).collect()
}

/// The bounds that are exposed, as places in `BOUNDS`: 50 µs to 200 s for what happens all the time.
const HOT: RangeInclusive<usize> = 7..=73;
/// 1 ms to 10 s for what takes round trips and hashing.
const SLOW: RangeInclusive<usize> = 20..=60;

/// Of ten bounds a decade Prometheus gets three, 1, 2 and 5: exact, since each of them is a bucket's end.
fn cumulated(snapshot: &Snapshot, exposed: RangeInclusive<usize>) -> proto::Histogram {
    let (mut buckets, mut below) = (Vec::with_capacity(24), 0_u64);
    for (i, n) in snapshot.buckets[..BUCKETS - 1].iter().enumerate() {
        below = below.wrapping_add(*n);
        if exposed.contains(&i) && matches!(i % 10, 0 | 3 | 7) {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(BOUNDS[i] as f64 / 1e9);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(snapshot.count());
    histogram.set_sample_sum(snapshot.sum() as f64 / 1e9);
    histogram
}
