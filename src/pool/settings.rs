//! What one pool goes by. Pure; data only.
use std::{num::NonZeroU32, time::Duration};

/// What one pool is allowed and asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// pool_size; `None` is unlimited.
    pub size: Option<NonZeroU32>,
    /// min_pool_size.
    pub min_size: u32,
    /// reserve_pool_size: servers above `size` for clients that have waited too long.
    pub reserve_size: u32,
    /// reserve_pool_timeout: how long is too long; zero turns the reserve off.
    pub reserve_timeout: Duration,
    /// server_lifetime; `None` is for ever, zero is one use.
    pub lifetime: Option<Duration>,
    /// server_idle_timeout; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// query_wait_timeout; `None` is for ever.
    pub query_wait_timeout: Option<Duration>,
    /// server_login_retry: the longest pause after failed opens; zero: none.
    pub login_retry: Duration,
    /// server_round_robin.
    pub round_robin: bool,
    /// Whether a client never gets the server it had last while another is idle; for tests.
    pub switch: bool,
    /// Most opens under way at a time.
    pub max_opening: u32,
    /// Where a shared cap is short, a pool of twice the weight is due twice the places.
    pub weight: u32,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            size: NonZeroU32::new(20),
            min_size: 0,
            reserve_size: 0,
            reserve_timeout: Duration::from_secs(5),
            lifetime: Some(Duration::from_secs(3600)),
            idle_timeout: Some(Duration::from_secs(600)),
            query_wait_timeout: Some(Duration::from_secs(120)),
            login_retry: Duration::from_secs(15),
            round_robin: false,
            switch: false,
            max_opening: 8,
            weight: 1,
        }
    }
}
