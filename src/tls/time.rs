//! The time that TLS goes by. rustls's own panics with a clock before 1970, as machines without a battery have at their start: here
//! it is 1970 then, so that certificates aren't valid yet, and no session is resumed.

use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn since_1970() -> Option<Duration> {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// Whether rustls can be asked for what it asks the clock for.
pub(super) fn is_sane() -> bool {
    since_1970().is_some()
}

/// The machine's clock.
#[derive(Debug)]
pub(super) struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(since_1970().unwrap_or_default()))
    }
}

/// Tickets by these keys, which are changed by the clock; none while that can't be asked.
#[derive(Debug)]
pub(super) struct Tickets(pub(super) Arc<dyn ProducesTickets>);

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        is_sane().then(|| self.0.encrypt(plain))?
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        is_sane().then(|| self.0.decrypt(cipher))?
    }
}
