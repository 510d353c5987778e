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

/// After how many milliseconds PostgreSQL ends an idle session with this value of idle_session_timeout; `None`: never.
pub fn idle_session_timeout(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = value[..digits].parse().ok()?;
    let millis = match value[digits..].trim_start() {
        "" | "ms" => number,
        "us" => number / 1000,
        "s" => number.checked_mul(1000)?,
        "min" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        "d" => number.checked_mul(86_400_000)?,
        _ => return None,
    };
    (millis > 0).then_some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        for (value, millis) in
            [("0", None), ("250", Some(250)), ("2 s", Some(2000)), ("5min", Some(300_000)), ("x", None)]
        {
            assert_eq!(idle_session_timeout(value), millis, "{value}");
        }
    }

    #[test]
    fn names_in_any_case() {
        assert!(follows_client("TimeZone") && follows_client("timezone"));
        assert!(!follows_client("server_version") && !follows_client("is_superuser"));
        assert!(is_harmless("application_name") && !is_harmless("search_path") && !is_harmless("role"));
    }
}
