//! The `[pgweir]` section: everything that isn't one database's or one user's own.
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::password::Password;
use super::section::{Difference, Effect, Preset, Section, Setting, difference, section};
use super::units::{
    AuthType, FileMode, FilePath, KeepaliveSeconds, Limit, ListenAddr, ListenAddrs, LogFormat, LogLevel,
    MetricsCompat, MillisecondsOrOff, Name, NameOrNone, Network, Networks, Number, OneOf, PinsReached,
    PoolMode, PositiveOrNone, Refusal, RequireAuth, RootCerts, Roots, Seconds, SecondsOrOff,
    SecondsOrSession, SecretOrNone, SessionState, Size, SocketDir, Sql, SqlOrNone, SslMode, SslNegotiation,
    Switch, SyslogFacility, TcpPort, TextList, TextOrNone, TlsProtocols, Unit,
};
use Preset::Is;

section! {
    /// What `[pgweir]` says. Times that 0 turns off are `None`, sizes that 0 makes unlimited are [`Limit`].
    pub struct General as "[pgweir]";

    /// Addresses to accept clients on: one, several, or "*" for all.
    pub listen_addr: Vec<ListenAddr> as ListenAddrs = Is(r#""127.0.0.1""#), Restart;
    /// Port to accept clients on; also part of the name of the Unix socket.
    pub listen_port: u16 as TcpPort = Is("6432"), Restart;
    /// How many connections the kernel may hold ready before they are accepted.
    pub listen_backlog: u32 as Number<1, 65535> = Is("1024"), Restart;
    /// Let several processes listen on the same port.
    pub so_reuseport: Switch as Switch = Is("false"), Restart;
    /// Directory of the Unix socket to accept clients on; empty turns it off.
    pub unix_socket_dir: Option<PathBuf> as SocketDir = Is(r#""""#), Restart;
    /// Permissions of the Unix socket.
    pub unix_socket_mode: u32 as FileMode = Is(r#""0777""#), Restart;
    /// Group of the Unix socket, by name or number; empty leaves that of the process.
    pub unix_socket_group: Option<String> as NameOrNone = Is(r#""""#), Restart;
    /// Where load balancers are that begin each connection with a PROXY protocol header; from elsewhere none is taken.
    pub proxy_protocol_from: Vec<Network> as Networks = Is(r#""""#);
    /// I/O threads; 0 is one a core.
    pub workers: Option<NonZeroU32> as PositiveOrNone<1024> = Is("0"), Restart;

    /// When a server goes back to its pool: after a transaction, a session or a statement.
    pub pool_mode: PoolMode as OneOf<PoolMode> = Is(r#""transaction""#), Restart;
    /// Most client connections; the next one is refused.
    pub max_client_conn: u32 as Number<1, 10_000_000> = Is("100");
    /// Most connections that haven't logged in yet; the next one is refused, or one of the address with most ends. 0 is 100 more than max_client_conn.
    pub max_login_conn: u32 as Number<0, 10_000_000> = Is("0");
    /// Most servers of a pool, which is one pair of database and user.
    pub default_pool_size: Limit as Size = Is("20");
    /// Servers a pool keeps connected while it has clients; without any, too, for a forced user or the only one.
    pub min_pool_size: u32 as Number<0, 1_000_000> = Is("0");
    /// Servers a pool may open beyond its size when a client has waited reserve_pool_timeout.
    pub reserve_pool_size: u32 as Number<0, 1_000_000> = Is("0");
    /// How long a client waits before its pool may use its reserve.
    pub reserve_pool_timeout: Option<Duration> as SecondsOrOff = Is("5");
    /// Most servers of one database, over all its pools.
    pub max_db_connections: Limit as Size = Is("0");
    /// Most servers of one user, over all its pools.
    pub max_user_connections: Limit as Size = Is("0");
    /// Most servers of all databases and users together.
    pub max_server_connections: Limit as Size = Is("0");
    /// Most clients of one database; the next one is refused. admin_users aren't held to this and the next.
    pub max_db_client_connections: Limit as Size = Is("0");
    /// Most clients that have logged in as one user.
    pub max_user_client_connections: Limit as Size = Is("0");

    /// Session state when servers are shared: it follows its client, is refused with an error (but for what drivers set at each connection), or stays behind.
    pub session_state: SessionState as OneOf<SessionState> = Is(r#""transparent""#), Restart;
    /// Most clients of a pool that keep their server for state that can't follow.
    pub max_pins: Limit as Size = Is("0"), Restart;
    /// What becomes of a statement that would add one: an error, or (outside a transaction) it waits.
    pub max_pins_reached: PinsReached as OneOf<PinsReached> = Is(r#""refuse""#), Restart;
    /// How long a client that has taken a value from a sequence keeps its server to ask for it (currval, lastval); 0 never.
    pub sequence_hold: Option<Duration> as SecondsOrSession = Is(r#""20ms""#), Restart;
    /// What makes a used server clean for its next client; empty means never.
    pub server_reset_query: Option<String> as SqlOrNone = Is(r#""DISCARD ALL""#), Restart;
    /// Reset at every release, not only when a dirty server changes hands.
    pub server_reset_query_always: Switch as Switch = Is("false"), Restart;
    /// What an idle server has to answer before it is used again; "<empty>" is the empty query. Whether it has hung up is seen without.
    pub server_check_query: Option<String> as SqlOrNone = Is(r#""""#);
    /// How long a server may have been out of use without having to answer server_check_query; 0 has it asked every time.
    pub server_check_delay: Duration as Seconds = Is("30");
    /// How old a server may get before it is closed; 0 lets each be used once.
    pub server_lifetime: Duration as Seconds = Is("3600");
    /// How long a server may be idle before it is closed.
    pub server_idle_timeout: Option<Duration> as SecondsOrOff = Is("600");
    /// How long connecting and logging in to a server may take.
    pub server_connect_timeout: Option<Duration> as SecondsOrOff = Is("15");
    /// How long a password is good for that server_password_command or server_password_file gives, unless it tells itself.
    pub(super) server_password_lifetime: Duration as Seconds = Is("600");
    /// Longest pause before a failed connect to a server is tried again; one of 50 to 100 ms there is always.
    pub server_login_retry: Duration as Seconds = Is("15");
    /// Use idle servers in turn rather than the one used last.
    pub server_round_robin: Switch as Switch = Is("false");

    /// How long a client may wait for a server before it gets an error.
    pub query_wait_timeout: Option<Duration> as SecondsOrOff = Is("120");
    /// How long a client waits for a server before it is told by a notice that it does.
    pub query_wait_notify: Option<Duration> as SecondsOrOff = Is("5");
    /// How long a query may take before it is cancelled.
    pub query_timeout: Option<Duration> as SecondsOrOff = Is("0");
    /// How long a transaction may take before its query is cancelled, or its client disconnected if it runs none.
    pub transaction_timeout: Option<Duration> as SecondsOrOff = Is("0");
    /// How long a client may take to log in.
    pub client_login_timeout: Option<Duration> as SecondsOrOff = Is("60");
    /// How long a client may be idle outside a transaction before it is disconnected.
    pub client_idle_timeout: Option<Duration> as SecondsOrOff = Is("0");
    /// How long a client may be idle inside a transaction, or a batch without its Sync, before it is disconnected.
    pub idle_transaction_timeout: Option<Duration> as SecondsOrOff = Is("0");
    /// How long a cancel request may wait to be passed on.
    pub cancel_wait_timeout: Option<Duration> as SecondsOrOff = Is("10");
    /// How long a stop (SIGTERM) waits for running transactions; 0 doesn't wait.
    pub shutdown_timeout: Duration as Seconds = Is("30");

    /// Startup parameters of clients to swallow instead of setting them.
    pub ignore_startup_parameters: Vec<String> as TextList = Is(r#""""#);
    /// Add a client's address and port to its application_name at login; each client then has a name of its own, told to every server it gets.
    pub application_name_add_host: Switch as Switch = Is("false");
    /// What each client is told by a notice when it has logged in.
    pub login_notify_message: Option<String> as SqlOrNone = Is(r#""""#);
    /// Statements each server keeps prepared; 0 lets names pass through untracked.
    pub max_prepared_statements: Option<NonZeroU32> as PositiveOrNone<1_000_000> = Is("200"), Restart;

    /// How clients prove who they are; md5 uses SCRAM for users with a SCRAM secret, plain is password, hba goes by auth_hba_file.
    pub auth_type: AuthType as OneOf<AuthType> = Is(r#""scram-sha-256""#);
    /// Rules who may come from where and has to prove what, in the form of pg_hba.conf; for auth_type "hba".
    pub auth_hba_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Maps for those rules, in the form of pg_ident.conf.
    pub auth_ident_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// File of users and secrets in the form of PgBouncer's userlist.txt; a relative path starts at the working directory.
    pub auth_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Look up the secrets of users without one here by logging in to PostgreSQL as this user; empty turns it off.
    pub auth_user: Option<String> as NameOrNone = Is(r#""""#);
    /// What is asked there; $1 is the name, the row has name and secret (NULL: nobody gets in) and may have the seconds the secret is good for, no row is no such user.
    pub auth_query: String as Sql = Is(
        r#""SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END, EXTRACT(EPOCH FROM rolvaliduntil) OPERATOR(pg_catalog.-) EXTRACT(EPOCH FROM pg_catalog.now()) FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin""#
    );
    /// The database to ask in; empty is the one the client asks for.
    pub auth_dbname: Option<String> as NameOrNone = Is(r#""""#);
    /// How long an answer is used without asking again; 0 asks at every login.
    pub auth_query_cache: Option<Duration> as SecondsOrOff = Is("30");
    /// Which directory knows passwords, and how it is asked: options as in pg_hba.conf; for auth_type "ldap".
    pub auth_ldap_options: Option<Password> as SecretOrNone = Is(r#""""#);
    /// Whose tokens let in, and where the keys are that sign them: options as in pg_hba.conf; for auth_type "oauth".
    pub auth_oauth_options: Option<String> as TextOrNone = Is(r#""""#);
    /// Longest that the answer to a wrong password is held back, for addresses that fail often; 0 never does it.
    pub failed_login_delay: Option<Duration> as SecondsOrOff = Is("5");
    /// Iterations of SCRAM verifiers made from passwords in clear.
    pub scram_iterations: u32 as Number<1, 1_000_000> = Is("4096");

    /// TLS with clients over TCP: whether they may, or must, and whether they need a certificate (both verify modes).
    pub client_tls_sslmode: SslMode as OneOf<SslMode> = Is(r#""disable""#);
    /// Certificate to show to clients, with those that lead to its CA, in PEM.
    pub client_tls_cert_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Private key of that certificate, in PEM.
    pub client_tls_key_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Certificates of the CAs that have to have signed a client's, where clients need one, or may show one (auth_type "hba").
    pub client_tls_ca_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Versions of TLS to speak with clients.
    pub client_tls_protocols: TlsProtocols as TlsProtocols = Is(r#""secure""#);

    /// TLS with servers: whether it must be, and how far a server's certificate is verified.
    pub server_tls_sslmode: SslMode as OneOf<SslMode> = Is(r#""prefer""#);
    /// How TLS is begun with servers, as in libpq's sslnegotiation: asked for, or at once, which takes PostgreSQL 17 and a mode of "require" or above.
    pub server_tls_sslnegotiation: SslNegotiation as OneOf<SslNegotiation> = Is(r#""postgres""#);
    /// Certificates of the CAs that may sign a server's; for verify-full, none is the same as "system".
    pub server_tls_ca_file: Option<Roots> as RootCerts = Is(r#""""#);
    /// Certificate to show to servers, with those that lead to its CA, in PEM.
    pub server_tls_cert_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Private key of that certificate, in PEM.
    pub server_tls_key_file: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Versions of TLS to speak with servers.
    pub server_tls_protocols: TlsProtocols as TlsProtocols = Is(r#""secure""#);
    /// What servers may ask a login for, as in libpq's require_auth: where pgweir has a password in clear, nobody in between gets it by asking.
    pub server_require_auth: RequireAuth as RequireAuth = Is(r#""""#);

    /// Users who may do everything in the console, which is the database pgweir (or pgbouncer).
    pub admin_users: Vec<String> as TextList = Is(r#""""#);
    /// Users who may look in the console: SHOW, and nothing else.
    pub stats_users: Vec<String> as TextList = Is(r#""""#);
    /// Reload when the configuration's file has changed, or one that it names; a bad file changes nothing.
    pub reload_on_change: Switch as Switch = Is("false");
    /// Seconds over which the console's averages are taken.
    pub stats_period: u32 as Number<1, 86_400> = Is("60");

    /// Series to serve on /metrics beside pgweir's own, and columns of old in the console, for dashboards and exporters that are there already.
    pub metrics_compat: MetricsCompat as OneOf<MetricsCompat> = Is(r#""none""#);

    /// How much to log; each level includes those before it.
    pub log_level: LogLevel as OneOf<LogLevel> = Is(r#""info""#);
    /// Log lines as text or as JSON objects.
    pub log_format: LogFormat as OneOf<LogFormat> = Is(r#""text""#), Restart;
    /// File for the log instead of standard error, opened again at HUP; empty for none. Lines that it can't take go to standard error.
    pub logfile: Option<PathBuf> as FilePath = Is(r#""""#);
    /// Send the log to syslog (/dev/log) instead.
    pub syslog: Switch as Switch = Is("false");
    /// What log lines are called there.
    pub syslog_ident: String as Name = Is(r#""pgweir""#);
    /// Facility they have there.
    pub syslog_facility: SyslogFacility as OneOf<SyslogFacility> = Is(r#""daemon""#);
    /// Log each client that logs in.
    pub log_connections: Switch as Switch = Is("true");
    /// Log each client that leaves, and why.
    pub log_disconnections: Switch as Switch = Is("true");
    /// Log the errors that clients are told by pgweir itself.
    pub log_pooler_errors: Switch as Switch = Is("true");
    /// Log the numbers of each stats_period.
    pub log_stats: Switch as Switch = Is("true");
    /// Log who logs in or is refused, each command of the console and each changed setting, for an audit, whatever log_level is.
    pub log_audit: Switch as Switch = Is("false");

    /// Size of the kernel's buffers of a TCP connection, each way, in bytes; 0 is the system's default.
    pub tcp_socket_buffer: u32 as Number<0, 1_073_741_824> = Is("0"), Restart;
    /// Probe idle TCP connections, of clients and of servers.
    pub tcp_keepalive: Switch as Switch = Is("true");
    /// Idle time before the first probe.
    pub tcp_keepidle: Option<Duration> as KeepaliveSeconds = Is("0");
    /// Time between probes.
    pub tcp_keepintvl: Option<Duration> as KeepaliveSeconds = Is("0");
    /// Unanswered probes before a connection is lost; 0 is the system's default.
    pub tcp_keepcnt: Option<NonZeroU32> as PositiveOrNone<127> = Is("0");
    /// How long sent data may stay unacknowledged; a bare number is milliseconds, as in PgBouncer.
    pub tcp_user_timeout: Option<Duration> as MillisecondsOrOff = Is("0");
}

impl General {
    /// server_check_query as SQL, and how long a server is out of use before it is asked.
    pub fn server_check(&self) -> Option<(&str, Duration)> {
        let query = self.server_check_query.as_deref()?;
        Some((if query == "<empty>" { "" } else { query }, self.server_check_delay))
    }

    /// Whether a client's startup parameter is to be swallowed; case doesn't matter, as in `PostgreSQL`.
    pub fn ignores_startup_parameter(&self, name: &str) -> bool {
        self.ignore_startup_parameters.iter().any(|ignored| ignored.eq_ignore_ascii_case(name))
    }
}
