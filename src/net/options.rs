//! Socket options, the same for clients and servers.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// TCP options by PgBouncer's names; zero or `None` leaves the system's value.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpOptions {
    /// tcp_keepalive
    pub keepalive: bool,
    /// tcp_keepidle
    pub keepidle: Option<Duration>,
    /// tcp_keepintvl
    pub keepintvl: Option<Duration>,
    /// tcp_keepcnt
    pub keepcnt: Option<u32>,
    /// tcp_user_timeout
    pub user_timeout: Option<Duration>,
    /// tcp_socket_buffer, in bytes
    pub socket_buffer: Option<usize>,
}

impl TcpOptions {
    /// Applies them, and TCP_NODELAY, to a TCP socket.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(socket);
        socket.set_tcp_nodelay(true)?;
        if self.keepalive {
            let mut keepalive = TcpKeepalive::new();
            if let Some(idle) = self.keepidle {
                keepalive = keepalive.with_time(idle);
            }
            if let Some(interval) = self.keepintvl {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(count) = self.keepcnt {
                keepalive = keepalive.with_retries(count);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        if let Some(size) = self.socket_buffer {
            socket.set_recv_buffer_size(size)?;
            socket.set_send_buffer_size(size)?;
        }
        Ok(())
    }
}
