//! The certificates that pgweir shows: what is told of them before they end.

use crate::config::Config;
use crate::metrics::{Certificate, Metrics};
use crate::tls::expiry::{Shown, shown};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the log and the metrics of the certificates of a configuration that has been taken. Blocks.
pub(super) fn note(config: &Config, metrics: &Metrics) {
    // What can't be read any more was read a moment ago.
    let shown = shown(config).unwrap_or_default();
    warnings_of(&shown).iter().for_each(|w| tracing::warn!("{w}"));
    let told =
        |it: Shown| Certificate { setting: it.setting, file: it.path.display().to_string(), until: it.until };
    metrics.set_certificates(shown.into_iter().map(told).collect());
}

/// One warning for each that has ended or is about to. Blocks.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    warnings_of(&shown(config).unwrap_or_default())
}

fn warnings_of(shown: &[Shown]) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    shown.iter().filter_map(|it| it.warning(now)).collect()
}
