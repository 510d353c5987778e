//! The log: one line an event, as text or JSON, to standard error, a file or syslog. What is for an audit is there by its own setting.

use super::error::AppError;
use super::log_output::{self, Output, Prepared};
use crate::config::{Config, General, LogFormat, LogLevel};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// A running log, which can be changed.
pub(super) struct Log {
    level: reload::Handle<Targets, Registry>,
    output: Output,
}

fn filter(general: &General) -> Targets {
    let audit = if general.log_audit.is_on() { LevelFilter::INFO } else { LevelFilter::OFF };
    Targets::new().with_default(level(general.log_level)).with_target("audit", audit)
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Opens where lines are to go, a file anew though it may be open.
pub(super) fn prepare(config: &Config) -> Result<Prepared, AppError> {
    log_output::prepare(config).map_err(|(place, error)| AppError::Log(place, error))
}

/// Starts logging; only the first call of a process counts.
pub(super) fn start(config: &Config) -> Result<Log, AppError> {
    let output = Output::default();
    output.switch(prepare(config)?);
    let (filter, level) = reload::Layer::new(filter(&config.general));
    let registry = tracing_subscriber::registry().with(filter);
    let base = fmt::layer().with_writer(output.clone()).with_target(false);
    let ansi = output.is_terminal();
    let _ = match (config.general.log_format, output.is_syslog()) {
        (LogFormat::Json, _) => registry.with(base.json().flatten_event(true)).try_init(),
        // syslog has dates and levels of its own.
        (LogFormat::Text, true) => {
            registry.with(base.with_ansi(false).without_time().with_level(false)).try_init()
        }
        (LogFormat::Text, false) => registry.with(base.with_ansi(ansi)).try_init(),
    };
    Ok(Log { level, output })
}

impl Log {
    /// From now on as much is logged as `config` says, to where it was prepared for.
    pub(super) fn follow(&self, config: &Config, to: Prepared) {
        let _ = self.level.reload(filter(&config.general));
        self.output.switch(to);
    }
}
