//! Which of the parameters PostgreSQL reports a session can set, and so carry from server to server.

/// Whether a reported parameter (any case) follows its client. The others describe the server (`server_version`,
/// `in_hot_standby`, …) or its user (`session_authorization`, `is_superuser`), and are only passed on.
pub fn follows_client(name: &str) -> bool {
    const SETTABLE: [&str; 9] = [
        "application_name",
        "client_encoding",
        "datestyle",
        "default_transaction_read_only",
        "intervalstyle",
        "scram_iterations",
        "search_path",
        "standard_conforming_strings",
        "timezone",
    ];
    SETTABLE.iter().any(|s| s.eq_ignore_ascii_case(name))
}

/// Whether applying a parameter wrongly would let a client act as somebody else: such a replay is waited for before
/// the client's statements are sent.
pub fn changes_identity(name: &str) -> bool {
    name.eq_ignore_ascii_case("role") || name.eq_ignore_ascii_case("session_authorization")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case() {
        assert!(follows_client("TimeZone") && follows_client("timezone"));
        assert!(!follows_client("server_version") && !follows_client("is_superuser"));
        assert!(changes_identity("ROLE") && !changes_identity("search_path"));
    }
}
