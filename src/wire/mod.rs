//! PostgreSQL's frontend/backend protocol as pure bytes: framing, parsing, encoding. Never touches a socket or a clock.
//!
//! [`proxy`] is what load balancers say ahead of it, [`ldap`] what directories are asked.
//!
//! Messages that are only relayed are never decoded: [`scan`] finds the longest run that needs no decision.
pub mod backend;
pub mod cursor;
pub mod encode;
pub mod error;
pub mod frame;
pub mod frontend;
pub mod ldap;
pub mod outgoing;
pub mod proxy;
pub mod scan;
pub mod sqlstate;
pub mod startup;
pub mod tag;
