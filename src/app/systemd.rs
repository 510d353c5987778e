//! What systemd is told of the process, and the sockets it may hand over. Where there is no systemd, nothing happens.

use crate::client::context::Shared;
use crate::client::context::tcp_options;
use crate::config::Config;
use crate::net::listen::Listener;
use crate::timer::sleep;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// FileDescriptorName= of the socket that serves metrics; all others are for clients.
const METRICS: &str = "metrics";

/// Sockets that systemd listens on for us.
#[derive(Default)]
pub(super) struct Inherited {
    pub(super) clients: Vec<Listener>,
    pub(super) metrics: Option<TcpListener>,
}

/// The sockets of a .socket unit, if there is one.
///
/// # Errors
/// One of them is neither a listening TCP socket nor a listening Unix one.
pub(super) fn sockets(config: &Config) -> io::Result<Inherited> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let (mut handed, mut inherited) = (ListenFd::from_env(), Inherited::default());
    for at in 0..handed.len() {
        let is_metrics = names.next() == Some(METRICS);
        if let Ok(Some(socket)) = handed.take_tcp_listener(at) {
            if is_metrics {
                inherited.metrics = Some(socket);
            } else {
                inherited.clients.push(Listener::inherited_tcp(socket, &tcp_options(config))?);
            }
        } else if let Some(socket) = handed.take_unix_listener(at)? {
            inherited.clients.push(Listener::inherited_unix(socket)?);
        }
    }
    Ok(inherited)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd can't be told how pgweir stands: {error}");
    }
}

/// Clients are welcome, or a reload is over.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    tell(&now.map_or(vec![NotifyState::Reloading], |now| vec![NotifyState::Reloading, now]));
}

/// The process is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells again and again, as often as WatchdogSec= asks for, that the process is well: this thread and the workers do what they are
/// asked. Ends at once if nobody wants to know.
pub(super) async fn watchdog(shared: Arc<Shared>) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    loop {
        sleep((within / 3).max(Duration::from_millis(10))).await;
        // A worker that is stuck leaves this waiting, and systemd unanswered.
        if shared.runtime.spawn(async {}).await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}
