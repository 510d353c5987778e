//! Every metric pgweir exposes: name, kind, labels, meaning. The one table that the collector, the tests and the
//! alert rules go by.

use prometheus::proto::MetricType;

/// How a family's values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bound in seconds.
    Histogram,
}

impl Kind {
    pub(super) const fn proto(self) -> MetricType {
        match self {
            Self::Counter => MetricType::COUNTER,
            Self::Gauge => MetricType::GAUGE,
            Self::Histogram => MetricType::HISTOGRAM,
        }
    }

    /// As TYPE tells it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric family as it is documented.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// As Prometheus sees it.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// Its labels in the order they are written.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Declares the families; a variant is its row's place in the table.
macro_rules! families {
    ($($variant:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Family { $($variant),+ }

        /// All families, process-wide ones first.
        pub const FAMILIES: &[Description] = &[
            $(Description { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help }),+
        ];
    };
}

families! {
    BuildInfo Gauge "pgweir_build_info" ["version"] "Always 1; the version is in the label.";
    StartTime Gauge "pgweir_start_time_seconds" [] "When the process started, in seconds since 1970.";
    Ready Gauge "pgweir_ready" [] "1 if new clients are welcome, as /readyz says, else 0.";
    Pools Gauge "pgweir_pools" [] "Pools that have numbers here.";
    Accepted Counter "pgweir_client_connections_total" [] "Client connections accepted.";
    Refused Counter "pgweir_client_connections_refused_total" ["reason"]
        "Client connections turned away before login.";
    LoginFailures Counter "pgweir_login_failures_total" ["reason"]
        "Clients that did not get in, in any pool or none.";
    CancelRequests Counter "pgweir_cancel_requests_total" [] "CancelRequests received, whatever their key.";
    CertificateExpiry Gauge "pgweir_tls_certificate_expiry_timestamp_seconds" ["setting" "file"]
        "Until when the certificates that pgweir shows are valid, in seconds since 1970.";

    Clients Gauge "pgweir_pool_clients" ["database" "user" "state"]
        "Clients by state: active (has a server), waiting (for one), idle.";
    Servers Gauge "pgweir_pool_servers" ["database" "user" "state"]
        "Servers by state: active, idle, used (to be reset or checked first), login, being_canceled.";
    MaxWait Gauge "pgweir_pool_max_wait_seconds" ["database" "user"]
        "How long the first client in the queue has waited; 0 if nobody waits.";
    ReserveInUse Gauge "pgweir_pool_reserve_servers" ["database" "user"]
        "Servers there are beyond pool_size, of the reserve; they are among those by state.";
    Paused Gauge "pgweir_pool_paused" ["database" "user"] "1 while the pool hands out no servers for PAUSE or KILL, else 0.";
    SizeLimit Gauge "pgweir_pool_size_limit" ["database" "user" "kind"]
        "Servers the pool may have: normal (pool_size; absent if unlimited) and reserve (reserve_pool_size) on top.";

    Transactions Counter "pgweir_pool_transactions_total" ["database" "user"] "Transactions ended.";
    Queries Counter "pgweir_pool_queries_total" ["database" "user"] "Queries answered.";
    Assignments Counter "pgweir_pool_assignments_total" ["database" "user"]
        "Times a client got a server, at once or after waiting.";
    TransactionTime Histogram "pgweir_pool_transaction_seconds" ["database" "user"]
        "How long transactions held their server.";
    QueryTime Histogram "pgweir_pool_query_seconds" ["database" "user"]
        "How long servers took to answer, of the queries that were timed.";
    WaitTime Histogram "pgweir_pool_wait_seconds" ["database" "user"]
        "How long clients queued for a server, of those that had to.";
    WaitTimeouts Counter "pgweir_pool_wait_timeouts_total" ["database" "user"]
        "Clients that left the queue without a server because query_wait_timeout was over.";

    ClientBytes Counter "pgweir_pool_client_bytes_total" ["database" "user" "direction"]
        "Bytes received from (in) and sent to (out) clients.";
    ServerBytes Counter "pgweir_pool_server_bytes_total" ["database" "user" "direction"]
        "Bytes received from (in) and sent to (out) servers.";
    Errors Counter "pgweir_pool_errors_total" ["database" "user" "source" "class"]
        "Errors told to clients by who raised them (postgresql, pgweir) and SQLSTATE class; classes appear once seen.";

    ClientParses Counter "pgweir_pool_client_parses_total" ["database" "user"] "Parse messages from clients, of named statements.";
    ServerParses Counter "pgweir_pool_server_parses_total" ["database" "user"] "Parse messages to servers.";
    ParseHits Counter "pgweir_pool_parse_hits_total" ["database" "user"]
        "Parse messages answered by pgweir because the server had the statement.";
    Binds Counter "pgweir_pool_binds_total" ["database" "user"] "Bind messages from clients.";
    EvictedStatements Counter "pgweir_pool_statements_evicted_total" ["database" "user"]
        "Statements closed on servers to make room under max_prepared_statements.";
    Resets Counter "pgweir_pool_resets_total" ["database" "user"] "Resets of dirty servers.";
    Replays Counter "pgweir_pool_replays_total" ["database" "user"]
        "Times a server was given the session state its client expects.";
    PinnedClients Gauge "pgweir_pool_pinned_clients" ["database" "user"]
        "Clients that keep their server for session state that can't follow them.";
    PinnedBy Gauge "pgweir_pool_pins" ["database" "user" "reason"]
        "Clients that keep their server, by the state that holds it; a client may have several, and reasons without any are left out.";
    WaitingForPins Gauge "pgweir_pool_clients_waiting_for_pins" ["database" "user"]
        "Clients that wait until another keeps its server no more, since max_pins is reached; they are among those waiting.";
    Pins Counter "pgweir_pool_pins_total" ["database" "user" "reason"]
        "Times a client had to stay on its server, by the state that held it; reasons appear once seen.";

    ListeningServers Gauge "pgweir_pool_listening_servers" ["database" "user"]
        "Servers that listen for clients in transaction mode; they don't count under pool_size.";
    Subscriptions Gauge "pgweir_pool_subscriptions" ["database" "user"]
        "Channels that clients listen to by the listening server, each counted once a client.";
    Notifications Counter "pgweir_pool_notifications_total" ["database" "user"]
        "Notifications the listening server has brought, each counted once a client.";
    NotificationsDropped Counter "pgweir_pool_notifications_dropped_total" ["database" "user"]
        "Notifications dropped because their client was slow to read others.";
    NotificationGaps Counter "pgweir_pool_notification_gaps_total" ["database" "user"]
        "Times a client was told that notifications may have been lost.";

    Logins Counter "pgweir_pool_logins_total" ["database" "user"] "Clients that logged in.";
    PoolLoginFailures Counter "pgweir_pool_login_failures_total" ["database" "user" "reason"]
        "Clients of a known pool that did not get in; reasons appear once seen.";
    LoginTime Histogram "pgweir_pool_login_seconds" ["database" "user"]
        "From a client's connect to its first ReadyForQuery.";
    ServerConnects Counter "pgweir_pool_server_connects_total" ["database" "user" "result"]
        "Attempts to connect a server: ok or failed.";
    ConnectTime Histogram "pgweir_pool_connect_seconds" ["database" "user"]
        "From the start of a server's connect to its first ReadyForQuery.";
    ServerCloses Counter "pgweir_pool_server_closes_total" ["database" "user" "reason"]
        "Servers closed or lost, and why.";
    Cancels Counter "pgweir_pool_cancels_total" ["database" "user" "outcome"]
        "CancelRequests for the pool's clients: sent to PostgreSQL, waiting client removed, ignored.";
}

impl Description {
    /// Whether every pool has it; else the process has it once.
    pub(super) fn of_pools(&self) -> bool {
        self.labels.starts_with(&["database", "user"])
    }
}

impl Family {
    pub(super) const fn description(self) -> &'static Description {
        &FAMILIES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for Description { name, kind, labels, help } in FAMILIES {
            assert!(name.starts_with("pgweir_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.contains("_bytes"), name.ends_with("_bytes_total"), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            for suffix in ["_bucket", "_sum", "_count", "_info_total", "_ms", "_us"] {
                assert!(!name.ends_with(suffix), "{name}");
            }
            assert!(help.ends_with('.') && help.len() > 10 && !help.contains(['\n', '\\']), "{name}: {help}");
            let pool = name.starts_with("pgweir_pool_");
            assert_eq!(pool, labels.starts_with(&["database", "user"]), "{name}");
            assert!(!labels.contains(&"le") && labels.len() <= 4, "{name}");
        }
        assert!(FAMILIES.is_sorted_by_key(Description::of_pools), "process-wide ones come first");
    }
}
