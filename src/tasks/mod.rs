//! Background work: the janitor, and the signals of the process.
pub mod averages;
pub mod janitor;
pub mod signals;
