//! The session of one client, from its first byte to its last: startup, login, then transaction by transaction.
pub mod cleanup;
pub mod connection;
pub mod context;
pub mod fit;
pub mod greeting;
pub mod inspect;
pub mod intercept;
pub mod login;
pub mod logins;
pub mod opener;
pub mod relay;
pub mod report;
pub mod session;
pub mod startup;
pub mod task;
pub mod transaction;
pub mod triage;
