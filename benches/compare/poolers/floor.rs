//! A relay that looks at nothing: what the sockets cost by themselves.

use std::net::TcpStream;

use super::Setup;
use super::program::{self, Program, Running};
use crate::support::process;

/// The program that was built beside this one.
///
/// # Errors
/// When it wasn't.
pub(crate) fn find() -> Result<Program, String> {
    let path = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("floor");
    match path.is_file() {
        true => Ok(Program { path, version: String::new() }),
        false => Err(format!("{} is not there; cargo build --release --example floor", path.display())),
    }
}

/// One thread; it listens.
pub(crate) fn start(program: &Program, setup: &Setup) -> (u16, Vec<Running>) {
    let port = process::free_port();
    let (listen, server) = (port.to_string(), setup.server.to_string());
    let mut running = Running::start(program, &[&listen, &server], program::directory("floor"));
    running.wait_until(|_| TcpStream::connect(("127.0.0.1", port)).is_ok());
    (port, vec![running])
}
