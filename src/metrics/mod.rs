//! The numbers: counted in per-worker cells where it is hot, summed and put into Prometheus' text format when somebody
//! asks. Knows nothing of connections and never waits.
//!
//! A worker counts with `pool_metrics.worker(index of its thread)`: plain loads and stores into a block no other thread writes.
//! What is rare ([`PoolMetrics`], [`Metrics`]) may be counted from any thread. States are not counted but asked for
//! through [`Gauges`]. [`FAMILIES`] says what comes out.
mod cell;
mod cells;
mod exposition;
mod families;
mod gauges;
mod histogram;
mod pool;
mod process;
mod reasons;
mod registry;
mod series;
mod sqlstate;
#[cfg(test)]
mod tests;

pub use cells::{Cells, Totals};
pub use exposition::Exposition;
pub use families::{Description, FAMILIES, Kind};
pub use gauges::{Gauges, HeldUp, Notifications, PoolGauges};
pub use histogram::Snapshot;
pub use pool::{Events, PoolMetrics};
pub use process::Certificate;
pub use reasons::{CancelOutcome, CloseReason, LoginFailure, PinReason, Refusal};
pub use registry::{Metrics, POOLS_MAX};
pub use series::{push_escaped, push_number};
pub use sqlstate::ErrorTotals;
