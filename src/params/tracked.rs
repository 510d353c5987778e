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

/// Whether a statement run with a wrong value of this parameter (lower case) only looks different: a replay of such
/// values alone need not be waited for.
pub fn is_harmless(name: &str) -> bool {
    matches!(name, "application_name" | "client_min_messages" | "extra_float_digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case() {
        assert!(follows_client("TimeZone") && follows_client("timezone"));
        assert!(!follows_client("server_version") && !follows_client("is_superuser"));
        assert!(is_harmless("application_name") && !is_harmless("search_path") && !is_harmless("role"));
    }
}
