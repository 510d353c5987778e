//! One pool after another as lines of the text format, a buffer a family, since a family's lines have to stand together.
//! Everything of a line that is known beforehand is copied; only numbers are formatted.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::cells::Totals;
use super::families::{FAMILIES, Family};
use super::gauges::PoolGauges;
use super::histogram::{BOUNDS, BUCKETS, Snapshot};
use super::pool::{Events, PoolMetrics};
use super::reasons::{Label, PinReason};

/// The bounds that are exposed, as places in `BOUNDS`: 50 µs to 200 s for what happens all the time.
const HOT: RangeInclusive<usize> = 7..=73;
/// 1 ms to 10 s for what takes round trips and hashing.
const SLOW: RangeInclusive<usize> = 20..=60;

/// What stands behind the pool's labels in a bucket's line. Of ten bounds a decade Prometheus gets three, 1, 2 and 5: exact,
/// since each of them is a bucket's end.
static BOUND_LABELS: LazyLock<[Option<String>; BUCKETS]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let exposed = i < BUCKETS - 1 && matches!(i % 10, 0 | 3 | 7);
        exposed.then(|| format!(",le=\"{}\"}} ", BOUNDS[i] as f64 / 1e9))
    })
});

/// Lines under construction, by family.
pub(super) struct Series(Vec<String>);

impl Series {
    /// With room for what an earlier one took, as [`Self::room`] told it; any numbers will do.
    pub(super) fn with_room(room: &[usize]) -> Self {
        let room = room.iter().copied().chain(std::iter::repeat(0));
        Self(FAMILIES.iter().zip(room).map(|(_, bytes)| String::with_capacity(bytes)).collect())
    }

    /// The room that the lines take, in bytes, with some to spare for numbers that grow.
    pub(super) fn room(&self) -> Vec<usize> {
        self.0.iter().map(|lines| lines.len() + lines.len() / 32).collect()
    }

    /// Adds all lines of a pool, which is asked how it stands.
    pub(super) fn pool(&mut self, pool: &PoolMetrics) {
        let mut lines = PoolLines { families: &mut self.0, names: names(pool.database(), pool.user()) };
        if let Some(gauges) = pool.gauges() {
            lines.gauges(&gauges);
        }
        lines.work(&pool.totals());
        lines.events(&pool.events());
    }

    /// Puts the families that have any line behind `text`, each with its HELP and TYPE.
    pub(super) fn append_to(&self, text: &mut String) {
        let told = || FAMILIES.iter().zip(&self.0).filter(|(_, lines)| !lines.is_empty());
        text.reserve_exact(told().map(|(family, lines)| lines.len() + family.help.len() + 160).sum());
        for (family, lines) in told() {
            let (name, kind) = (family.name, family.kind.label());
            let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
            text.push_str(lines);
        }
    }
}

/// A pool's labels, left open for more.
fn names(database: &str, user: &str) -> String {
    let mut names = String::with_capacity(24 + database.len() + user.len());
    names.push_str("{database=\"");
    push_escaped(&mut names, database);
    names.push_str("\",user=\"");
    push_escaped(&mut names, user);
    names.push('"');
    names
}

/// Puts a label's value behind `out` as the text format wants it between quotes.
pub fn push_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Puts a number behind `out`. Most numbers of most pools have one digit.
pub fn push_number(out: &mut String, n: u64) {
    match n {
        0..10 => out.push(char::from(b'0' + n as u8)),
        _ => {
            let _ = write!(out, "{n}");
        }
    }
}

/// Adds one pool's lines.
struct PoolLines<'a> {
    families: &'a mut [String],
    names: String,
}

impl PoolLines<'_> {
    fn gauges(&mut self, now: &PoolGauges) {
        for (state, n) in
            [("active", now.clients_active), ("waiting", now.clients_waiting), ("idle", now.clients_idle)]
        {
            self.with(Family::Clients, state, n as u64);
        }
        for (state, n) in [
            ("active", now.servers_active),
            ("idle", now.servers_idle),
            ("used", now.servers_used),
            ("login", now.servers_login),
            ("being_canceled", now.servers_being_canceled),
        ] {
            self.with(Family::Servers, state, n as u64);
        }
        if let Some(limit) = now.size_limit {
            self.with(Family::SizeLimit, "normal", limit as u64);
        }
        self.with(Family::SizeLimit, "reserve", now.reserve_limit as u64);
        self.plain(Family::ReserveInUse, now.reserve_in_use as u64);
        self.plain(Family::Paused, u64::from(now.paused));
        self.plain(Family::PinnedClients, now.clients_pinned as u64);
        self.plain(Family::WaitingForPins, now.waiting_for_pins as u64);
        self.seen(Family::PinnedBy, PinReason::ALL.iter().copied().zip(now.pins.map(|n| n as u64)));
        self.line(Family::MaxWait, "", "} ", now.max_wait.as_secs_f64());
        self.plain(Family::ListeningServers, now.listening_servers as u64);
        self.plain(Family::Subscriptions, now.subscriptions as u64);
        self.plain(Family::Notifications, now.notifications.delivered);
        self.plain(Family::NotificationsDropped, now.notifications.dropped);
        self.plain(Family::NotificationGaps, now.notifications.gaps);
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
            self.plain(family, n);
        }
        self.with(Family::ClientBytes, "in", totals.client_in);
        self.with(Family::ClientBytes, "out", totals.client_out);
        self.with(Family::ServerBytes, "in", totals.server_in);
        self.with(Family::ServerBytes, "out", totals.server_out);
        self.histogram(Family::TransactionTime, &totals.transaction, HOT);
        self.histogram(Family::QueryTime, &totals.query, HOT);
        self.histogram(Family::WaitTime, &totals.wait, HOT);
        self.seen(Family::Pins, totals.pins());
        for (class, n) in totals.errors.by_postgresql() {
            self.labelled(Family::Errors, &["postgresql", class], n);
        }
        for (class, n) in totals.errors.by_pgweir() {
            self.labelled(Family::Errors, &["pgweir", class], n);
        }
    }

    fn events(&mut self, events: &Events) {
        self.plain(Family::WaitTimeouts, events.wait_timeouts);
        self.plain(Family::Logins, events.login.count());
        self.with(Family::ServerConnects, "ok", events.connect.count());
        self.with(Family::ServerConnects, "failed", events.connect_failures);
        self.histogram(Family::LoginTime, &events.login, SLOW);
        self.histogram(Family::ConnectTime, &events.connect, SLOW);
        self.seen(Family::PoolLoginFailures, events.login_failures());
        // From 0, else the first few of a reason would be no increase to who watches it.
        for (reason, n) in events.closes() {
            self.with(Family::ServerCloses, reason.label(), n);
        }
        for (outcome, n) in events.cancels() {
            self.with(Family::Cancels, outcome.label(), n);
        }
    }

    fn plain(&mut self, family: Family, n: u64) {
        self.labelled(family, &[], n);
    }

    fn with(&mut self, family: Family, label: &str, n: u64) {
        self.labelled(family, &[label], n);
    }

    /// Leaves out what never happened: most pools know few of the reasons there are.
    fn seen(&mut self, family: Family, values: impl Iterator<Item = (impl Label, u64)>) {
        for (label, n) in values.filter(|(_, n)| *n > 0) {
            self.with(family, label.label(), n);
        }
    }

    /// `more` are values of the labels behind the pool's; none needs escaping.
    fn labelled(&mut self, family: Family, more: &[&str], n: u64) {
        let description = family.description();
        let names = &description.labels[2..];
        debug_assert_eq!(names.len(), more.len(), "{family:?}");
        let out = &mut self.families[family as usize];
        out.push_str(description.name);
        out.push_str(&self.names);
        for (name, value) in names.iter().zip(more) {
            out.push(',');
            out.push_str(name);
            out.push_str("=\"");
            out.push_str(value);
            out.push('"');
        }
        out.push_str("} ");
        push_number(out, n);
        out.push('\n');
    }

    /// A line of a number that isn't whole.
    fn line(&mut self, family: Family, suffix: &str, rest: &str, value: f64) {
        let out = &mut self.families[family as usize];
        for part in [family.description().name, suffix, &self.names, rest] {
            out.push_str(part);
        }
        let _ = writeln!(out, "{value}");
    }

    fn histogram(&mut self, family: Family, snapshot: &Snapshot, exposed: RangeInclusive<usize>) {
        let name = family.description().name;
        let out = &mut self.families[family as usize];
        let mut bucket = |le: &str, n: u64| {
            out.push_str(name);
            out.push_str("_bucket");
            out.push_str(&self.names);
            out.push_str(le);
            push_number(out, n);
            out.push('\n');
        };
        let mut below = 0_u64;
        for (i, (n, le)) in snapshot.buckets.iter().zip(&*BOUND_LABELS).enumerate() {
            below = below.wrapping_add(*n);
            if let Some(le) = le.as_ref().filter(|_| exposed.contains(&i)) {
                bucket(le, below);
            }
        }
        bucket(",le=\"+Inf\"} ", below);
        self.line(family, "_sum", "} ", snapshot.sum() as f64 / 1e9);
        let out = &mut self.families[family as usize];
        for part in [name, "_count", &self.names, "} "] {
            out.push_str(part);
        }
        push_number(out, below);
        out.push('\n');
    }
}
