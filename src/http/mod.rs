//! HTTP for operators: the numbers at `/metrics`, what they say of pools' sizes at `/advice`, the process's health at
//! `/livez` and `/readyz`. Reads state, never
//! changes it, and is never in a query's way.

mod advice;
mod health;
mod metrics;
mod server;
#[cfg(test)]
mod tests;

pub use health::Health;
pub use server::{State, serve};
