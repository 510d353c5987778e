//! pgweir: many PostgreSQL clients through few servers.
//!
//! # Layout
//! Imports point only downwards (`tests/architecture.rs` checks it); the README's neighbour `ARCHITECTURE.md` is the map.
//! * [`app`] wires everything
//! * [`client`], [`tasks`]: a session; background work
//! * [`credentials`], [`cancel`], [`http`]: secrets; CancelRequest; metrics and health
//! * [`pool`], [`roster`]: who may use which server; who is connected
//! * [`server`]: one PostgreSQL connection
//! * [`net`]: sockets and buffers
//! * [`tls`], [`cli`], [`top`]
//! * [`config`]: data, never live objects
//! * [`auth`], [`params`], [`prepared`], [`advice`]: pure rules
//! * [`wire`], [`metrics`], [`lifecycle`]: pure bytes, the numbers, phases
pub mod admin;
pub mod advice;
pub mod app;
pub mod audit;
pub mod auth;
pub mod cancel;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod net;
pub mod params;
pub mod pool;
pub mod prepared;
pub mod roster;
pub mod server;
pub mod tasks;
pub mod timer;
pub mod tls;
pub mod top;
pub mod wire;
