//! The log: one line an event, as text or JSON, to standard error.

use crate::config::{LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// Changes the level of a running log.
pub(super) type Level = reload::Handle<LevelFilter, Registry>;

pub(super) fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts logging; only the first call of a process counts.
pub(super) fn start(level: LogLevel, format: LogFormat) -> Level {
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let base = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = match format {
        LogFormat::Text => registry.with(base.with_ansi(ansi)).try_init(),
        LogFormat::Json => registry.with(base.json().flatten_event(true)).try_init(),
    };
    handle
}
