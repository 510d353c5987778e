//! The `[metrics]` section: where numbers and health can be asked for.
use std::net::SocketAddr;

use toml::Spanned;
use toml::de::DeValue;

use super::section::{Difference, Effect, Preset, Section, Setting, difference, section};
use super::units::{Refusal, SocketAddress, Unit};
use Preset::Is;

section! {
    /// What `[metrics]` says.
    pub struct Metrics as "[metrics]";

    /// Address and port of the live page, /metrics and the health checks; empty turns them off.
    pub listen: Option<SocketAddr> as SocketAddress = Is(r#""127.0.0.1:9127""#), Restart;
}
