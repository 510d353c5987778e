//! PgBouncer with pgweir's settings in its own words. One process has one thread; several share a port.

use std::fmt::Write as _;
use std::path::Path;

use super::program::{self, Program, Running};
use super::{BACKLOG, LIFETIME, STATEMENTS, Setup};
use crate::support::certificates::Files;
use crate::support::process;

/// The first version that keeps prepared statements in transaction mode.
const WITH_STATEMENTS: (u32, u32) = (1, 21);

pub(crate) fn find() -> Result<Program, String> {
    Program::find("pgbouncer", "PGBOUNCER", &["/usr/sbin/pgbouncer".into()], "--version")
}

/// Whether it knows max_prepared_statements.
pub(crate) fn keeps_statements(program: &Program) -> bool {
    let mut parts = program.number().split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= WITH_STATEMENTS
}

/// As many processes as workers, with that share of the servers each; all listen.
pub(crate) fn start(program: &Program, setup: &Setup) -> (u16, Vec<Running>) {
    let port = process::free_port();
    let one = |_| {
        let dir = program::directory("pgbouncer");
        let users =
            program::file(&dir, "userlist.txt", &format!("\"app\" \"{}\"\n", setup.verifier.as_str()));
        let text = configuration(program, setup, port, &users.display().to_string());
        let ini = program::file(&dir, "pgbouncer.ini", &text).display().to_string();
        let mut running = Running::start(program, &[&ini], dir);
        running.wait_until(|running| running.log().contains("process up"));
        running
    };
    (port, (0..setup.workers).map(one).collect())
}

fn configuration(program: &Program, setup: &Setup, port: u16, users: &str) -> String {
    let host = setup.socket.as_deref().unwrap_or(Path::new("127.0.0.1")).display();
    let mut text = "[databases]\n".to_owned();
    for name in setup.databases() {
        writeln!(text, "{name} = host={host} port={} dbname=app", setup.server)
            .expect("strings take everything");
    }
    let servers = setup.servers.div_ceil(setup.workers);
    let clients = setup.clients;
    write!(
        text,
        "[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
so_reuseport = {}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = {clients}
listen_backlog = {BACKLOG}
server_idle_timeout = 0
client_login_timeout = 0
server_lifetime = {LIFETIME}
log_connections = 0
log_disconnections = 0
log_stats = 0
",
        u8::from(setup.workers > 1),
    )
    .expect("strings take everything");
    let (clients, servers) = setup.tls.modes();
    writeln!(text, "client_tls_sslmode = {clients}\nserver_tls_sslmode = {servers}")
        .expect("strings take everything");
    if let Some(Files { certificate, key }) = setup.tls.certificate() {
        let (certificate, key) = (certificate.display(), key.display());
        writeln!(text, "client_tls_cert_file = {certificate}\nclient_tls_key_file = {key}")
            .expect("strings take everything");
    }
    if keeps_statements(program) {
        writeln!(text, "max_prepared_statements = {STATEMENTS}").expect("strings take everything");
    }
    text
}
