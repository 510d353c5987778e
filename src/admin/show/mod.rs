//! What can be looked at, one SHOW or a family of them a file. Column names, types and order are PgBouncer's, which tools go by;
//! PINS, WAITS, ADVICE and MEMORY are our own.

mod advice;
mod clients;
mod config;
mod databases;
pub(super) mod exporter;
mod lists;
mod memory;
mod pins;
mod pools;
mod process;
mod servers;
mod sockets;
mod stats;
pub(super) mod time;
mod users;
mod waits;

use super::dialogue::{Notice, Reply};
use super::realm::Realm;
use super::table::{Column, Columns, Table, Value};
use crate::roster::Told;
use std::collections::HashMap;

type Rows = Vec<Vec<Value>>;

/// Columns and one more.
const fn and<const N: usize, const M: usize>(columns: [Column; N], last: Column) -> [Column; M] {
    let mut all = [last; M];
    let mut at = 0;
    while at < N {
        all[at] = columns[at];
        at += 1;
    }
    all
}

/// Declares what can be shown: its word and its columns.
macro_rules! shows {
    ($($variant:ident $word:literal $columns:expr;)+) => {
        /// Something to look at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Show { $($variant),+ }

        impl Show {
            /// By its word in lower case.
            pub(super) fn of(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// `None`: it has no rows.
            pub(super) fn columns(self) -> Option<&'static [Column]> {
                match self { $(Self::$variant => $columns),+ }
            }
        }
    };
}

shows! {
    Help "help" None;
    Version "version" Some(&process::VERSION);
    Stats "stats" Some(&stats::STATS);
    StatsOld "stats with total_requests" Some(&stats::STATS_OLD);
    StatsTotals "stats_totals" Some(&stats::STATS_TOTALS);
    StatsAverages "stats_averages" Some(&stats::STATS_AVERAGES);
    Totals "totals" Some(&stats::TOTALS);
    Pools "pools" Some(&pools::COLUMNS);
    Databases "databases" Some(&databases::COLUMNS);
    DatabasesOld "databases with reserve_pool" Some(&databases::OLD);
    Users "users" Some(&users::COLUMNS);
    Clients "clients" Some(&sockets::SHORT);
    Servers "servers" Some(&sockets::SHORT);
    Sockets "sockets" Some(&sockets::LONG);
    ActiveSockets "active_sockets" Some(&sockets::LONG);
    Lists "lists" Some(&lists::COLUMNS);
    Config "config" Some(&config::COLUMNS);
    Mem "mem" Some(&process::MEM);
    Memory "memory" Some(&memory::COLUMNS);
    DnsHosts "dns_hosts" Some(&process::DNS_HOSTS);
    DnsZones "dns_zones" Some(&process::DNS_ZONES);
    State "state" Some(&process::STATE);
    Peers "peers" Some(&process::PEERS);
    PeerPools "peer_pools" Some(&process::PEER_POOLS);
    Pins "pins" Some(&pins::COLUMNS);
    Waits "waits" Some(&waits::COLUMNS);
    Advice "advice" Some(&advice::COLUMNS);
}

impl Show {
    /// The same with columns that PgBouncer had once, for old exporters.
    pub(super) fn with_old_columns(self) -> Self {
        match self {
            Self::Stats => Self::StatsOld,
            Self::Databases => Self::DatabasesOld,
            other => other,
        }
    }
}

const USAGE: &str = "
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW PEERS|PEER_POOLS
\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
\tSHOW DNS_HOSTS|DNS_ZONES
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSHOW PINS|WAITS|ADVICE|MEMORY
\tSET key = arg
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tWAIT_CLOSE [<db>]
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS";

/// The SHOWs of connections, with what sessions have said when asked.
fn connections(show: Show, realm: &dyn Realm, told: &HashMap<u64, Told>) -> Rows {
    let both = || [clients::sockets(realm, told), servers::sockets(realm, told)].concat();
    match show {
        Show::Clients => sockets::short(clients::sockets(realm, told)),
        Show::Servers => sockets::short(servers::sockets(realm, told)),
        _ => sockets::all(both(), show == Show::ActiveSockets),
    }
}

/// What there is to see.
pub(super) async fn reply(show: Show, realm: &dyn Realm) -> Reply {
    let Some(columns) = show.columns() else {
        let usage = Notice { message: "Console usage", detail: Some(USAGE.into()) };
        return Reply::Done("SHOW".to_owned(), Some(usage));
    };
    let rows = match show {
        Show::Help | Show::DnsHosts | Show::DnsZones | Show::Peers | Show::PeerPools => Vec::new(),
        Show::Version => process::version(),
        Show::Stats => stats::stats(realm),
        Show::StatsOld => stats::stats_old(realm),
        Show::StatsTotals => stats::totals_by_database(realm),
        Show::StatsAverages => stats::averages_by_database(realm),
        Show::Totals => stats::totals(realm),
        Show::Pools => pools::rows(realm),
        Show::Databases => databases::rows(realm),
        Show::DatabasesOld => databases::rows_old(realm),
        Show::Users => users::rows(realm),
        Show::Clients | Show::Servers | Show::Sockets | Show::ActiveSockets => {
            connections(show, realm, &realm.clients().ask().await)
        }
        Show::Lists => lists::rows(realm),
        Show::Config => config::rows(realm),
        Show::Mem => process::mem(realm),
        Show::Memory => memory::rows(realm, &realm.clients().ask().await),
        Show::State => process::state(realm),
        Show::Pins => pins::rows(realm),
        Show::Waits => waits::rows(realm),
        Show::Advice => advice::rows(realm),
    };
    debug_assert!(rows.iter().all(|row| row.len() == columns.len()), "{show:?}");
    Reply::Rows(Table { columns: Columns::Fixed(columns), rows })
}
