//! PgBouncer's settings that pgweir doesn't have, each with what to do instead: for messages, and for docs/settings.md.

/// Name and advice, the end of a sentence.
const NOT_HERE: [(&str, &str); 28] = [
    ("autodb_idle_timeout", "a pool that is not used holds no connection, only its counters"),
    ("client_tls13_ciphers", "all cipher suites that rustls has are safe: see client_tls_protocols"),
    ("client_tls_ciphers", "all cipher suites that rustls has are safe: see client_tls_protocols"),
    ("client_tls_dheparams", "finite-field Diffie-Hellman is not used"),
    ("client_tls_ecdhcurve", "the usual curves are offered, X25519 first"),
    ("conffile", "the file is an argument of the command line"),
    ("disable_pqexec", "simple queries are always served; permissions are PostgreSQL's to give"),
    ("dns_max_ttl", "names are looked up at each connect, and the system's resolver has its own cache"),
    ("dns_nxdomain_ttl", "names are looked up at each connect, and the system's resolver has its own cache"),
    (
        "dns_zone_check_period",
        "names are looked up at each connect, and the system's resolver has its own cache",
    ),
    ("job_name", "there is no Windows service"),
    ("max_packet_size", "messages of any size pass through 128 KiB"),
    ("peer_id", "one process uses all cores, see workers: there is nobody to pass cancel requests to"),
    ("pidfile", "the service manager knows the process"),
    ("pkt_buf", "buffers are lent to busy connections and need no size"),
    ("pool_idle_timeout", "a pool that is not used holds no connection, only its counters"),
    ("reserve_pool", "use reserve_pool_size"),
    ("resolv_conf", "names are looked up as /etc/resolv.conf of this machine says"),
    ("sbuf_loopcnt", "a busy connection lets others have their turn after 1 MiB"),
    ("server_fast_close", "RECONNECT waits for sessions to end; KILL and KILL_CLIENT end them"),
    ("server_tls13_ciphers", "all cipher suites that rustls has are safe: see server_tls_protocols"),
    ("server_tls_ciphers", "all cipher suites that rustls has are safe: see server_tls_protocols"),
    ("service_name", "there is no Windows service"),
    ("suspend_timeout", "there is no SUSPEND, as in PgBouncer since 1.26"),
    ("tcp_defer_accept", "who connects and says nothing is bounded by client_login_timeout"),
    ("track_extra_parameters", "all parameters follow their client"),
    ("user", "start pgweir as that user: User= in a systemd unit"),
    ("verbose", "use log_level"),
];

/// What to do instead of a setting that only PgBouncer has.
pub(super) fn advice(name: &str) -> Option<&'static str> {
    NOT_HERE.iter().find(|(known, _)| *known == name).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::NOT_HERE;
    use crate::config::{parse, sections};

    const DOCUMENTATION: &str = include_str!("../../docs/settings.md");

    #[test]
    fn each_is_documented_with_its_advice_and_is_none_of_ours() {
        for (name, advice) in NOT_HERE {
            let line = format!("| `{name}` | {advice} |");
            assert!(DOCUMENTATION.lines().any(|it| it == line), "docs/settings.md lacks {line}");
            let ours = |title: &str| {
                sections()
                    .iter()
                    .any(|(t, settings)| *t == title && settings.iter().any(|it| it.name == name))
            };
            assert!(!ours("[pgweir]"), "{name}");
        }
    }

    #[test]
    fn who_writes_one_is_told_what_to_do() {
        let problem = |text: &str| parse(text, "f").map(drop).unwrap_err().to_string();
        let told = problem("[pgweir]\nverbose = 1\n[databases.x]\npidfile = \"x\"\n");
        assert!(
            told.contains("f:2:1: verbose in [pgweir] is PgBouncer's, not pgweir's: use log_level"),
            "{told}"
        );
        assert!(told.contains("f:4:1: pidfile in [databases.x] is PgBouncer's"), "{told}");
        assert!(problem("[pgweir]\nuser = \"x\"\n[databases.x]\n").contains("start pgweir as that user"));
        assert!(problem("[databases.x]\n[peers.1]\nhost = \"x\"\n").contains("one process uses all cores"));
    }
}
