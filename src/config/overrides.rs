//! What the command line says instead of the file or the URL.
use super::Config;
use super::units::{ListenAddr, LogLevel, MetricsListen};

/// Settings to put in place of others; `None` and empty leave them alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `listen_addr`
    pub listen_addr: Vec<ListenAddr>,
    /// `listen_port`
    pub listen_port: Option<u16>,
    /// `listen` in `[metrics]`
    pub metrics_listen: Option<MetricsListen>,
    /// `log_level`
    pub log_level: Option<LogLevel>,
}

impl Overrides {
    pub(super) fn applied_to(&self, mut config: Config) -> Config {
        let general = &mut config.general;
        if !self.listen_addr.is_empty() {
            general.listen_addr.clone_from(&self.listen_addr);
        }
        general.listen_port = self.listen_port.unwrap_or(general.listen_port);
        general.log_level = self.log_level.unwrap_or(general.log_level);
        if let Some(MetricsListen(listen)) = self.metrics_listen {
            config.metrics_listen = listen;
        }
        config
    }
}
