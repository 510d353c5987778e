//! What holds for one pool: the user's word before the database's before `[pgweir]`'s.
use std::time::Duration;

use super::database::Database;
use super::general::General;
use super::units::{Limit, PoolMode};
use super::user::User;

/// The settings of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// When a server goes back to the pool.
    pub pool_mode: PoolMode,
    /// Most servers, without the reserve.
    pub pool_size: Limit,
    /// Servers to keep; never above `pool_size`.
    pub min_pool_size: u32,
    /// Servers beyond `pool_size`.
    pub reserve_pool_size: u32,
    /// How long a client waits before the reserve may be used; set whenever there is a reserve.
    pub reserve_pool_timeout: Option<Duration>,
    /// How old a server may get; zero: each is used once.
    pub server_lifetime: Duration,
    /// Most servers of the pool's database, over all its pools.
    pub max_db_connections: Limit,
    /// Most servers of the pool's user, over all its pools.
    pub max_user_connections: Limit,
    /// Most servers of all pools.
    pub max_server_connections: Limit,
    /// Of pools that wait for a place under one of these, one of twice the weight is due twice as many.
    pub weight: u32,
}

impl PoolSettings {
    pub(super) fn of(general: &General, database: &Database, user: Option<&User>) -> Self {
        Self {
            pool_mode: user
                .and_then(|user| user.pool_mode)
                .or(database.pool_mode)
                .unwrap_or(general.pool_mode),
            pool_size: user
                .and_then(|user| user.pool_size)
                .or(database.pool_size)
                .unwrap_or(general.default_pool_size),
            min_pool_size: database.min_pool_size.unwrap_or(general.min_pool_size),
            reserve_pool_size: user
                .and_then(|user| user.reserve_pool_size)
                .or(database.reserve_pool_size)
                .unwrap_or(general.reserve_pool_size),
            reserve_pool_timeout: general.reserve_pool_timeout,
            server_lifetime: database.server_lifetime.unwrap_or(general.server_lifetime),
            max_db_connections: database.max_db_connections.unwrap_or(general.max_db_connections),
            max_user_connections: user
                .and_then(|user| user.max_user_connections)
                .unwrap_or(general.max_user_connections),
            max_server_connections: general.max_server_connections,
            weight: database.weight * user.map_or(1, |user| user.weight),
        }
    }

    /// Whether the pool is to keep more servers than it may have.
    pub(super) fn keeps_too_many(&self) -> bool {
        self.pool_size.max().is_some_and(|max| self.min_pool_size > max.get())
    }
}
