//! What one worker counts in one pool: a block of single-writer counters that no other thread writes, padded so that
//! two workers' blocks never share a cache line.

use std::sync::OnceLock;

use super::cell::{Cell, Count};
use super::histogram::{LocalHistogram, Snapshot};
use super::reasons::{ByLabel, PinReason};
use super::sqlstate::{ErrorCells, ErrorTotals};

/// Number of [`PinReason`]s.
const PINS: usize = PinReason::ALL.len();

/// The hot counters of one (pool, worker). Each method costs a few loads and stores, no locked instruction, no clock.
///
/// Only the thread of that worker may call them: with a second writer counts are lost.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cells {
    untimed_queries: Cell,
    immediate: Cell,
    client_in: Cell,
    client_out: Cell,
    server_in: Cell,
    server_out: Cell,
    resets: Cell,
    replays: Cell,
    client_parses: Cell,
    server_parses: Cell,
    parse_hits: Cell,
    binds: Cell,
    evicted_statements: Cell,
    pins: ByLabel<Cell, PINS>,
    transaction: LocalHistogram,
    query: LocalHistogram,
    wait: LocalHistogram,
    errors: OnceLock<Box<ErrorCells>>,
}

impl Cells {
    /// A transaction ended that held its server for `ns`.
    #[inline]
    pub fn transaction(&self, ns: u64) {
        self.transaction.record(ns);
    }

    /// As [`Self::transaction`] and [`Self::query`], of one that was the other.
    #[inline]
    pub fn transaction_of_one_query(&self, ns: u64) {
        self.transaction.record_with(&self.query, ns);
    }

    /// A query was answered `ns` after its first byte went to the server.
    #[inline]
    pub fn query(&self, ns: u64) {
        self.query.record(ns);
    }

    /// `n` queries were answered whose times nobody took (pipelined ones, say).
    #[inline]
    pub fn queries(&self, n: u64) {
        self.untimed_queries.add(n);
    }

    /// A client got a server at once.
    #[inline]
    pub fn assigned(&self) {
        self.immediate.add(1);
    }

    /// A client got a server after `ns` in the queue; instead of [`Self::assigned`], not beside it.
    #[inline]
    pub fn wait(&self, ns: u64) {
        self.wait.record(ns);
    }

    /// Bytes read from and written to a client.
    #[inline]
    pub fn client_bytes(&self, read: u64, written: u64) {
        self.client_in.add(read);
        self.client_out.add(written);
    }

    /// Bytes read from and written to a server.
    #[inline]
    pub fn server_bytes(&self, read: u64, written: u64) {
        self.server_in.add(read);
        self.server_out.add(written);
    }

    /// pgweir itself told a client an error of this SQLSTATE class.
    pub fn client_error(&self, class: [u8; 2]) {
        self.errors.get_or_init(Box::default).by_pgweir(class);
    }

    /// PostgreSQL answered with an error of this SQLSTATE class.
    pub fn server_error(&self, class: [u8; 2]) {
        self.errors.get_or_init(Box::default).by_postgresql(class);
    }

    /// A dirty server was reset.
    #[inline]
    pub fn reset(&self) {
        self.resets.add(1);
    }

    /// A server was given the session state its client expects.
    #[inline]
    pub fn replay(&self) {
        self.replays.add(1);
    }

    /// Statements' traffic of one lease: Parse messages of the client for named statements, Parses servers had to do (its
    /// own and injected ones), Parses answered by pgweir because the server had the statement, Bind messages.
    #[inline]
    pub fn statements(&self, client_parses: u32, server_parses: u32, hits: u32, binds: u32) {
        self.client_parses.add(client_parses.into());
        self.server_parses.add(server_parses.into());
        self.parse_hits.add(hits.into());
        self.binds.add(binds.into());
    }

    /// A server's least recently used statement was closed for a new one.
    #[inline]
    pub fn statement_evicted(&self) {
        self.evicted_statements.add(1);
    }

    /// A client has to stay on its server.
    #[inline]
    pub fn pinned(&self, reason: PinReason) {
        self.pins.add(reason);
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        let add = |total: &mut u64, cell: &Cell| *total = total.wrapping_add(cell.value());
        add(&mut totals.untimed_queries, &self.untimed_queries);
        add(&mut totals.immediate, &self.immediate);
        add(&mut totals.client_in, &self.client_in);
        add(&mut totals.client_out, &self.client_out);
        add(&mut totals.server_in, &self.server_in);
        add(&mut totals.server_out, &self.server_out);
        add(&mut totals.resets, &self.resets);
        add(&mut totals.replays, &self.replays);
        add(&mut totals.client_parses, &self.client_parses);
        add(&mut totals.server_parses, &self.server_parses);
        add(&mut totals.parse_hits, &self.parse_hits);
        add(&mut totals.binds, &self.binds);
        add(&mut totals.evicted_statements, &self.evicted_statements);
        self.pins.add_to(&mut totals.pins);
        self.transaction.add_to(&mut totals.transaction);
        self.query.add_to(&mut totals.query);
        self.wait.add_to(&mut totals.wait);
        if let Some(errors) = self.errors.get() {
            errors.add_to(&mut totals.errors);
        }
    }
}

/// What all workers have counted in one pool since it exists. Numbers only grow; times are in ns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub(super) untimed_queries: u64,
    pub(super) immediate: u64,
    /// Bytes read from clients.
    pub client_in: u64,
    /// Bytes written to clients.
    pub client_out: u64,
    /// Bytes read from servers.
    pub server_in: u64,
    /// Bytes written to servers.
    pub server_out: u64,
    /// Servers reset.
    pub resets: u64,
    /// Servers given a client's session state.
    pub replays: u64,
    /// Parse messages from clients.
    pub client_parses: u64,
    /// Parse messages to servers.
    pub server_parses: u64,
    /// Parse messages answered by pgweir.
    pub parse_hits: u64,
    /// Bind messages from clients.
    pub binds: u64,
    /// Statements closed on servers to make room.
    pub evicted_statements: u64,
    pub(super) pins: [u64; PINS],
    /// How long transactions held their servers.
    pub transaction: Snapshot,
    /// How long queries took.
    pub query: Snapshot,
    /// How long clients queued, of those that did.
    pub wait: Snapshot,
    /// Errors by who raised them and class.
    pub errors: ErrorTotals,
}

impl Totals {
    /// Transactions ended.
    pub fn transactions(&self) -> u64 {
        self.transaction.count()
    }

    /// Queries answered, timed or not.
    pub fn queries(&self) -> u64 {
        self.query.count().wrapping_add(self.untimed_queries)
    }

    /// Times a client got a server, at once or after waiting.
    pub fn assignments(&self) -> u64 {
        self.wait.count().wrapping_add(self.immediate)
    }

    /// Times a client had to stay on its server, by reason.
    pub fn pins(&self) -> impl Iterator<Item = (PinReason, u64)> {
        PinReason::ALL.iter().copied().zip(self.pins)
    }
}
