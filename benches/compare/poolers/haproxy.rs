//! haproxy as a forwarder of TCP: no pools, no protocol. What two sockets and an event loop cost by themselves.

use std::net::TcpStream;

use super::Setup;
use super::program::{self, Program, Running};
use crate::support::cluster::test_tools;
use crate::support::process;

pub(crate) fn find() -> Result<Program, String> {
    let unpacked = test_tools().join("haproxy/usr/sbin/haproxy");
    Program::find("haproxy", "HAPROXY", &["/usr/sbin/haproxy".into(), unpacked], "-v")
}

/// One process in the foreground, a thread a worker; it listens.
pub(crate) fn start(program: &Program, setup: &Setup) -> (u16, Vec<Running>) {
    let port = process::free_port();
    let dir = program::directory("haproxy");
    let path = program::file(&dir, "haproxy.cfg", &configuration(setup, port)).display().to_string();
    let mut running = Running::start(program, &["-db", "-f", &path], dir);
    running.wait_until(|_| TcpStream::connect(("127.0.0.1", port)).is_ok());
    (port, vec![running])
}

fn configuration(setup: &Setup, port: u16) -> String {
    let Setup { workers, clients, server, socket, .. } = setup;
    let server = match socket {
        Some(directory) => format!("unix@{}/.s.PGSQL.{server}", directory.display()),
        None => format!("127.0.0.1:{server}"),
    };
    format!(
        "global
  nbthread {workers}
  maxconn {clients}
defaults
  mode tcp
  maxconn {clients}
  timeout connect 20s
  timeout client 3h
  timeout server 3h
frontend clients
  bind 127.0.0.1:{port}
  default_backend server
backend server
  server postgresql {server}
"
    )
}
