//! HTTP for operators: a live page at `/`, fed by `/pools.json`, the numbers at `/metrics`, what they say of pools' sizes at `/advice`, the process's health at
//! `/livez` and `/readyz`. Reads state, never
//! changes it, and is never in a query's way.

mod advice;
mod health;
mod live;
mod metrics;
mod page;
mod server;
#[cfg(test)]
mod tests;

pub use health::{Health, More};
pub use server::{State, serve};
