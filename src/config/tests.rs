//! Bad files against their exact messages, good files against what they become, arbitrary text against panics.
use super::*;
use proptest::prelude::*;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../config/pgweir.toml");

/// What is said of a file, without the count at the end.
fn said(text: &str) -> Vec<String> {
    match parse(text, "f") {
        Ok((_, warnings)) => warnings.iter().map(|warning| format!("warning: {warning}")).collect(),
        Err(errors) => {
            let text = errors.to_string();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let count = lines.pop().expect("the count");
            let plural = if lines.len() == 1 { "" } else { "s" };
            assert_eq!(count, format!("{} problem{plural} in f", lines.len()));
            lines
        }
    }
}

fn good(text: &str) -> Config {
    parse(text, "f").unwrap_or_else(|errors| panic!("{errors}")).0
}

/// Files with what is said of them, line by line.
fn check(table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(said(text), *expected, "of\n{text}");
    }
}

#[test]
fn keys_and_sections() {
    check(&[
        (
            "[databases.app]\npool_sizee = 1\nsslmode = 1\n[users.u]\n pol_mode = 1\nport = 1\n",
            &[
                r#"f:2:1: unknown key "pool_sizee" in [databases.app]; did you mean "pool_size"?"#,
                r#"f:3:1: unknown key "sslmode" in [databases.app]"#,
                r#"f:5:2: unknown key "pol_mode" in [users.u]; did you mean "pool_mode"?"#,
                r#"f:6:1: unknown key "port" in [users.u]; it belongs in [databases.NAME]"#,
            ],
        ),
        (
            "listen_port = 1\nfoo = 2\n[pgbouncer]\n[database.x]\n[zzz]\n[pgweir]\npool_size = 3\n[databases.x]\n",
            &[
                r#"f:1:1: key "listen_port" outside any section; it belongs in [pgweir]"#,
                r#"f:2:1: key "foo" outside any section"#,
                "f:3:2: unknown section [pgbouncer]; did you mean [pgweir]?",
                "f:4:2: unknown section [database]; did you mean [databases]?",
                "f:5:2: unknown section [zzz]; known are [pgweir], [databases.NAME], [users.NAME], [metrics]",
                r#"f:7:1: unknown key "pool_size" in [pgweir]; it belongs in [databases.NAME] or [users.NAME]"#,
            ],
        ),
        (
            "pgweir = 3\nmetrics = [1]\n[databases]\napp = \"host=h password=hunter2\"\n[[users]]\nname = \"u\"\n",
            &[
                "f:1:1: [pgweir] must be a section of its own, not an integer",
                "f:2:1: [metrics] must be a section of its own, not an array",
                "f:4:1: [databases.app] must be a section of its own, not a string",
                "f:5:3: [users.NAME] must be a section of its own, not an array",
            ],
        ),
    ]);
}

#[test]
fn names() {
    let long = "x".repeat(64);
    let text = format!(
        "[databases.pgbouncer]\n[databases.pgweir]\n[databases.\"\"]\n[databases.{long}]\n[users.\"*\"]\n\
         [users.\"a\\u0000\"]\n"
    );
    let too_long = format!(
        "f:4:12: [databases.{long}] must have a name of 1 to 63 bytes without NUL; this one has 64 bytes"
    );
    check(&[(
        &text,
        &[
            "f:1:12: [databases.pgbouncer]: this name is reserved for the console",
            "f:2:12: [databases.pgweir]: this name is reserved for the console",
            r#"f:3:12: [databases.""] must have a name of 1 to 63 bytes without NUL; this one has 0 bytes"#,
            &too_long,
            r#"f:5:8: [users."*"]: users have no fallback; what holds for all is in [pgweir]"#,
            r#"f:6:8: [users."a\0"] must have a name of 1 to 63 bytes without NUL; this one has 2 bytes"#,
        ],
    )]);
}

#[test]
fn values() {
    check(&[
        (
            "[users.x]\nserver_password_command = \"get --token hush\"\n[databases.x]\n",
            &["f:2:27: server_password_command in [users.x] must be a program and its arguments such as \
                 [\"get-password\", \"%u\"], where %h, %p, %d and %u stand for host, port, database and user, %% for \
                 %, not this string"],
        ),
        (
            "[pgweir]\nlisten_port = 70000\ndefault_pool_size = -1\npool_mode = \"transation\"\n\
             query_wait_timeout = \"5 parsecs\"\nlog_connections = \"yes\"\nlisten_addr = \"1.2.3\"\n[databases.x]\n",
            &[
                "f:2:15: listen_port in [pgweir] must be a port from 1 to 65535, not 70000",
                "f:3:21: default_pool_size in [pgweir] must be a whole number from 1 to 1000000, or 0 for unlimited, \
                 not -1",
                "f:4:13: pool_mode in [pgweir] must be one of \"transaction\", \"session\", \"statement\", not \
                 \"transation\"; did you mean \"transaction\"?",
                "f:5:22: query_wait_timeout in [pgweir] must be a time in seconds, or text such as \"250ms\", \"5s\", \
                 \"1m\", \"1h\"; 0 is off, not \"5 parsecs\"",
                "f:6:19: log_connections in [pgweir] must be true or false (1 or 0), not \"yes\"",
                "f:7:15: listen_addr in [pgweir] must be addresses such as \"127.0.0.1, ::1\" or [\"127.0.0.1\", \
                 \"::1\"], \"*\" for all, or \"\" for none, not \"1.2.3\"; \"1.2.3\" is neither an address nor a host \
                 name nor \"*\"",
            ],
        ),
        (
            "[databases.\"é\"]\n'port' = { a = 1 }\nconnect_query = \"a\\u0000b\"\n[metrics]\nlisten = 9127\n",
            &[
                "f:2:10: port in [databases.\"é\"] must be a port from 1 to 65535, not a table",
                "f:3:17: connect_query in [databases.\"é\"] must be SQL text without NUL, not empty, not \
                 \"a\\u0000b\"",
                "f:5:10: listen in [metrics] must be an address with a port such as \"127.0.0.1:9127\" or \
                 \"[::1]:9127\", or \"\" for none, not 9127",
            ],
        ),
    ]);
}

#[test]
fn grammar() {
    check(&[
        ("[databases.app]\nport = 1\nport = 2\n", &["f:3:1: duplicate key port"]),
        ("[databases.app]\n[databases.app]\n", &["f:2:12: duplicate key app"]),
        (
            "[databases.app]\nhost = \"x\nfoo = 1\n[pgweir]\nbar = 1\n",
            &[
                "f:2:10: not TOML: invalid basic string, expected `\"`",
                r#"f:3:1: unknown key "foo" in [databases.app]"#,
                r#"f:5:1: unknown key "bar" in [pgweir]"#,
            ],
        ),
        // What follows a broken header could belong to anything.
        (
            "foo = 1\n[databases.app\nport = 1\nbar = 1\n",
            &[r#"f:1:1: key "foo" outside any section"#, "f:2:15: not TOML: unclosed table, expected `]`"],
        ),
        // One word says it all.
        (
            "; ours\n[databases]\napp = host=127.0.0.1\n[pgbouncer]\nlisten_port = 6432\npool_mode = session\n",
            &[
                "f:4:1: this is a file of PgBouncer's; pgweir's are TOML: [pgbouncer] becomes [pgweir] with the same names, \
               each line of [databases] and of [users] a section [databases.NAME] with its parameters on lines of their own, \
               texts stand in double quotes, comments begin with #; see docs/settings.md",
            ],
        ),
        ("[pgbouncer]\n[databases.x]\n", &["f:1:2: unknown section [pgbouncer]; did you mean [pgweir]?"]),
        // Columns count characters, also after a carriage return.
        (
            "[databases.x]\r\nhost = \"é\" x\r\n",
            &["f:2:12: not TOML: unexpected key or value, expected newline, `#`"],
        ),
    ]);
}

#[test]
fn nothing_to_connect_to() {
    let missing = "f: no [databases.NAME] section, so there is nothing to connect to; the smallest file that works \
                   has a line [databases.\"*\"] and below it a line host = \"127.0.0.1\"";
    check(&[("", &[missing]), ("# nothing\n[pgweir]\nlisten_port = 1\n[databases]\n", &[missing])]);
}

#[test]
fn settings_that_contradict_each_other() {
    check(&[
        (
            "[pgweir]\nmin_pool_size = 30\n[databases.a]\n[databases.b]\npool_size = 40\n",
            &["f:2:17: min_pool_size 30 in [pgweir] is above default_pool_size 20"],
        ),
        (
            "[databases.a]\nmin_pool_size = 21\n[databases.b]\nmin_pool_size = 9\npool_size = 8\n[databases.c]\n\
             min_pool_size = 99\npool_size = 0\n",
            &[
                "f:2:17: min_pool_size 21 of [databases.a] is above its pool_size 20",
                "f:4:17: min_pool_size 9 of [databases.b] is above its pool_size 8",
            ],
        ),
        (
            "[pgweir]\nmin_pool_size = 5\n[databases.a]\npool_size = 4\n[databases.b]\nmin_pool_size = 6\n[users.u]\n\
             pool_size = 5\n[users.v]\npool_size = 6\n",
            &[
                "f:4:13: min_pool_size 5 of [databases.a] is above its pool_size 4",
                "f:8:13: pool_size 5 of [users.u] is below min_pool_size 6 of [databases.b]",
            ],
        ),
        (
            "[pgweir]\nmin_pool_size = 5\n[databases.a]\n[users.u]\npool_size = 4\n",
            &["f:5:13: pool_size 4 of [users.u] is below min_pool_size 5 of [pgweir]"],
        ),
        // No database is left that would keep five.
        (
            "[pgweir]\nauth_type = \"trust\"\nmin_pool_size = 5\n[databases.a]\nmin_pool_size = 0\n[users.u]\npool_size = 4\n",
            &[],
        ),
        (
            "[pgweir]\nlisten_addr = \"\"\n[databases.a]\n",
            &["f:2:15: listen_addr and unix_socket_dir in [pgweir] are both empty: nobody could connect"],
        ),
        (
            "[databases.a]\n[metrics]\nlisten = \"127.0.0.1:6432\"\n",
            &["f:3:10: listen in [metrics] and listen_port in [pgweir] are both port 6432"],
        ),
        // A refused value is at its default, which is not what the operator wrote.
        (
            "[pgweir]\ndefault_pool_size = -1\nmin_pool_size = 30\nmax_db_connections = 3\n[databases.a]\n",
            &[
                "f:2:21: default_pool_size in [pgweir] must be a whole number from 1 to 1000000, or 0 for unlimited, \
               not -1",
            ],
        ),
    ]);
}

#[test]
fn warnings() {
    let md5 = format!("md5{}", "0".repeat(32));
    let md5_text = format!("[databases.a]\n[users.u]\npassword = \"{md5}\"\n");
    let md5_allowed = format!("[pgweir]\nauth_type = \"md5\"\n{md5_text}");
    check(&[
        ("[databases.a]\n[users.u]\npassword = \"p\"\n", &[]),
        (
            "[databases.a]\n[users.u]\n",
            &["warning: f: nobody can log in: there is no auth_file and no [users.NAME] with a password"],
        ),
        ("[pgweir]\nauth_file = \"users.txt\"\n[databases.a]\n", &[]),
        ("[pgweir]\nauth_type = \"trust\"\n[databases.a]\n", &[]),
        (
            &md5_text,
            &[
                "warning: f:3:12: [users.u] can't log in: auth_type \"scram-sha-256\" can't use an md5 password",
            ],
        ),
        (&md5_allowed, &[]),
        (
            "[pgweir]\nauth_type = \"trust\"\nmax_db_connections = 10\nmax_user_connections = 11\n[databases.a]\n\
             pool_size = 12\n[databases.b]\npool_size = 0\n[databases.c]\n[users.u]\npool_size = 13\n",
            &[
                "warning: f:3:22: default_pool_size 20 in [pgweir] is above max_db_connections 10: no pool can fill",
                "warning: f:4:24: default_pool_size 20 in [pgweir] is above max_user_connections 11: no pool can fill",
                "warning: f:6:13: pool_size 12 of [databases.a] is above its max_db_connections 10",
                "warning: f:11:13: pool_size 13 of [users.u] is above its max_user_connections 11",
            ],
        ),
        (
            "[pgweir]\nauth_type = \"trust\"\nreserve_pool_size = 1\nreserve_pool_timeout = 0\n[databases.a]\nreserve_pool_size = 2\n\
             [users.u]\nreserve_pool_size = 3\n[users.v]\nreserve_pool_size = 0\n",
            &[
                "warning: f:3:21: reserve_pool_size 1 in [pgweir] is never used: reserve_pool_timeout 0 in [pgweir] turns the reserve off",
                "warning: f:6:21: reserve_pool_size 2 in [databases.a] is never used: reserve_pool_timeout 0 in [pgweir] turns the reserve off",
                "warning: f:8:21: reserve_pool_size 3 in [users.u] is never used: reserve_pool_timeout 0 in [pgweir] turns the reserve off",
            ],
        ),
    ]);
}

#[test]
fn lookups_that_owners_answer() {
    let warning = |line| {
        format!(
            "warning: f:{line}: auth_query is asked in the database that the client wants, whose owner can answer what he \
             likes: set auth_dbname, unless owners may decide who logs in there"
        )
    };
    let own = "[pgweir]\nauth_user = 'g'\nauth_query = 'SELECT f($1)'\n[databases.a]\n";
    check(&[
        (own, &[]),
        (&format!("{own}[databases.b]\n"), &[&warning("3:14")]),
        (&format!("{own}[databases.b]\nauth_user = ''\n"), &[]),
        (&own.replace(".a", ".'*'"), &[&warning("3:14")]),
        (&own.replace("auth_query", "auth_dbname = 'a'\nauth_query"), &[]),
        ("[pgweir]\nauth_user = 'g'\n[databases.a]\n[databases.b]\n", &[]),
    ]);
}

#[test]
fn commands_that_strangers_could_use() {
    let script = "has %d or %u in what a shell runs, and clients choose names";
    let stranger = "is run with any name that a client asks for, before anybody has logged in";
    let (looked_up, all) = ("[pgweir]\nauth_user = 'g'\n", "[databases.'*']\n");
    let elsewhere = "[pgweir]\nauth_user = 'g'\nauth_dbname = 'a'\n[databases.a]\n";
    for (text, expected) in [
        (format!("[databases.a]\n{}\n", get("'sh', '-c', 'get %u'")), Some(script)),
        (format!("[databases.a]\n{}\n", get("'env', '/bin/bash', '-eu', '-ec', 'get %d'")), Some(script)),
        (format!("[databases.a]\n[users.a]\n{}\n", get("'dash', '-c', '%d'")), Some(script)),
        (format!("[databases.a]\n{}\n", get("'sh', '-c', 'get \"$1\" %%u %h', 'x', '%u'")), None),
        (format!("[databases.a]\n{}\n", get("'sh', 'get', '-c', '%u'")), None),
        (format!("{looked_up}{all}{}\n", get("'get', '%d'")), Some(stranger)),
        (format!("{looked_up}{all}[users.g]\n{}\n", get("'get', '%d'")), Some(stranger)),
        (format!("{looked_up}{all}{}\n", get("'get', '%%d', '%u'")), None),
        (format!("{looked_up}{all}dbname = 'x'\n{}\n", get("'get', '%d'")), None),
        (format!("{looked_up}{all}user = 'f'\n{}\n", get("'get', '%d'")), None),
        (format!("{looked_up}[databases.a]\n{}\n", get("'get', '%d'")), None),
        (format!("{elsewhere}{all}{}\n", get("'get', '%d'")), None),
    ] {
        let mut said = said(&text);
        said.retain(|line| line.contains("server_password_command"));
        let is_right = match expected {
            Some(expected) => said.len() == 1 && said[0].contains(expected),
            None => said.is_empty(),
        };
        assert!(is_right, "{text}: {said:?}");
    }
}

/// A setting with these words.
fn get(words: &str) -> String {
    format!("server_password_command = [{words}]")
}

#[test]
fn the_values_of_a_pgbouncer_file() {
    let config = good(
        "[pgweir]\npool_mode = \"transaction\"\nmax_client_conn = 100\ndefault_pool_size = 20\nmin_pool_size = 5\n\
         reserve_pool_size = 5\nreserve_pool_timeout = 5\nmax_db_connections = 50\nmax_user_connections = 50\n\
         server_reset_query = \"DISCARD ALL\"\nignore_startup_parameters = \"extra_float_digits\"\n[databases.\"*\"]\n",
    );
    let general = &config.general;
    assert_eq!(general.max_client_conn, 100);
    assert_eq!(general.server_reset_query.as_deref(), Some("DISCARD ALL"));
    assert!(general.ignores_startup_parameter("Extra_Float_Digits"));
    assert!(!general.ignores_startup_parameter("options"));
    let pool = config.pool_settings(&config.database("app").expect("the fallback"), "app");
    let expected = PoolSettings {
        pool_mode: PoolMode::Transaction,
        pool_size: Limit::new(20),
        min_pool_size: 5,
        reserve_pool_size: 5,
        reserve_pool_timeout: Some(Duration::from_secs(5)),
        server_lifetime: Duration::from_secs(3600),
        max_db_connections: Limit::new(50),
        max_user_connections: Limit::new(50),
        max_server_connections: Limit::UNLIMITED,
        weight: 1,
    };
    assert_eq!(pool, expected);
}

#[test]
fn the_user_comes_before_the_database_before_the_rest() {
    let config = good(
        "[pgweir]\nreserve_pool_size = 1\n[databases.a]\npool_mode = \"session\"\npool_size = 7\nreserve_pool_size = 2\n\
         server_lifetime = 9\nmax_db_connections = 8\nmin_pool_size = 3\nweight = 2\n[databases.b]\n[users.u]\n\
         pool_mode = \"statement\"\npool_size = 0\nreserve_pool_size = 4\nmax_user_connections = 6\nweight = 3\n",
    );
    let of = |database, user| config.pool_settings(&config.database(database).expect("an entry"), user);
    let plain = PoolSettings {
        pool_mode: PoolMode::Transaction,
        pool_size: Limit::new(20),
        min_pool_size: 0,
        reserve_pool_size: 1,
        reserve_pool_timeout: Some(Duration::from_secs(5)),
        server_lifetime: Duration::from_secs(3600),
        max_db_connections: Limit::UNLIMITED,
        max_user_connections: Limit::UNLIMITED,
        max_server_connections: Limit::UNLIMITED,
        weight: 1,
    };
    assert_eq!(of("b", "v"), plain);
    let a = PoolSettings {
        pool_mode: PoolMode::Session,
        pool_size: Limit::new(7),
        min_pool_size: 3,
        reserve_pool_size: 2,
        server_lifetime: Duration::from_secs(9),
        max_db_connections: Limit::new(8),
        weight: 2,
        ..plain
    };
    assert_eq!(of("a", "v"), a);
    let user = |pool: PoolSettings| PoolSettings {
        pool_mode: PoolMode::Statement,
        pool_size: Limit::UNLIMITED,
        reserve_pool_size: 4,
        max_user_connections: Limit::new(6),
        weight: 3 * pool.weight,
        ..pool
    };
    assert_eq!(of("b", "u"), user(plain));
    assert_eq!(of("a", "u"), user(a));
}

#[test]
fn databases_by_name() {
    let config =
        good("[databases.a]\ndbname = \"real\"\n[databases.b]\n[databases.\"*\"]\nhost = \"other\"\n");
    let found = |name: &str| {
        let database = config.database(name)?;
        Some(format!("{} {} at {}", database.name, database.dbname(), database.host))
    };
    assert_eq!(found("a").as_deref(), Some("a real at 127.0.0.1"));
    assert_eq!(found("b").as_deref(), Some("b b at 127.0.0.1"));
    assert_eq!(found("c").as_deref(), Some("c c at other"));
    assert_eq!(found("pgbouncer"), None);
    assert_eq!(found("pgweir"), None);
    assert_eq!(good("[databases.a]\n").database("b"), None);
    let fixed = good("[databases.\"*\"]\ndbname = \"one\"\n").database("any").expect("the fallback");
    assert_eq!((fixed.name.as_str(), fixed.dbname()), ("any", "one"));
}

#[test]
fn overrides_come_last() {
    let config = good("[pgweir]\nlisten_port = 1\nlog_level = \"warn\"\n[databases.a]\n");
    assert_eq!(config.clone().with(&Overrides::default()).as_ref(), Ok(&config));
    let overrides = Overrides {
        listen_addr: vec![ListenAddr::All],
        listen_port: Some(2),
        metrics_listen: Some(MetricsListen(None)),
        log_level: Some(LogLevel::Trace),
    };
    let changed = config.clone().with(&overrides).expect("it fits");
    assert_eq!(changed.general.listen_addr, [ListenAddr::All]);
    assert_eq!((changed.general.listen_port, changed.metrics_listen), (2, None));
    assert_eq!(changed.general.log_level, LogLevel::Trace);
    let clash = Overrides { listen_port: Some(9127), ..Overrides::default() };
    assert_eq!(config.with(&clash), Err(Error::SharedPort(9127)));
}

#[test]
fn debug_output_has_no_password() {
    let config = good(
        "[databases.a]\npassword = \"hunter2\"\n[databases.\"*\"]\npassword = \"hunter2\"\n[users.u]\npassword = \"hunter2\"\n",
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    let bad = "[databases.a]\npassword = [\"hunter2\"]\nhost = \"postgres://u:hunter2@h\"\n[users.u]\n\
               password = \"hunter2\\u0000\"\npasswort = \"hunter2\"\npassword = \"hunter2\n";
    let messages = said(bad);
    assert!(messages.len() >= 5, "{messages:?}");
    assert!(!messages.concat().contains("hunter2"), "{messages:?}");
}

#[test]
fn files_that_cant_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.toml");
    let error = |path: &Path| load::load(path).expect_err("it can't be read").to_string();
    let shown = path.display();
    let missing =
        format!("{shown}: can't be read: No such file or directory (os error 2)\n1 problem in {shown}");
    assert_eq!(error(&path), missing);
    std::fs::write(&path, b"[pgweir]\nauth_file = \"\xff\"\n").expect("it is written");
    let bytes =
        format!("{shown}: is not UTF-8: line 2 has a byte that can't stand there\n1 problem in {shown}");
    assert_eq!(error(&path), bytes);
    std::fs::write(&path, "[databases.a]\n").expect("it is written");
    assert!(load::load(&path).is_ok());
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
    ] {
        assert!(parse(&text, "f").is_err());
    }
}

/// A file with every setting in force.
fn uncommented() -> String {
    EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        })
}

/// Whatever was read is told with places in the file, or keeps what [`Config`] promises.
fn holds(text: &str) -> Result<(), TestCaseError> {
    match parse(text, "f") {
        Ok((config, _)) => {
            for name in config.databases.keys().map(String::as_str).chain(["any"]) {
                let Some(database) = config.database(name) else { continue };
                for user in config.users.keys().map(String::as_str).chain(["anyone"]) {
                    let pool = config.pool_settings(&database, user);
                    prop_assert!(!pool.keeps_too_many());
                }
            }
        }
        Err(errors) => {
            prop_assert!(!errors.problems().is_empty());
            let lines = text.split('\n').count();
            for problem in errors.problems() {
                prop_assert!(
                    problem.position.is_none_or(|(line, column)| (1..=lines).contains(&line) && column >= 1)
                );
                prop_assert!(!problem.message.contains('\n'), "{:?}", problem);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        holds(&text)?;
    }

    #[test]
    fn text_of_the_same_letters_never_panics(text in "([\\[\\]\"'=.,{}#\n*0-9a-z_ -]|databases|pgweir|é){0,80}") {
        holds(&text)?;
    }

    #[test]
    fn a_changed_file_never_panics(at in any::<prop::sample::Index>(), cut in 0_usize..40, new in "[ -~\n\u{0}é]{0,12}") {
        let good: Vec<char> = uncommented().chars().collect();
        let at = at.index(good.len());
        let changed: String = good[..at].iter().copied().chain(new.chars()).chain(good.iter().skip(at + cut).copied()).collect();
        holds(&changed)?;
    }

    #[test]
    fn any_sizes_fit_or_are_refused(sizes in prop::collection::vec(0_u32..6, 9)) {
        let text = format!(
            "[pgweir]\ndefault_pool_size = {}\nmin_pool_size = {}\nreserve_pool_size = {}\nreserve_pool_timeout = {}\n\
             [databases.a]\npool_size = {}\n[databases.b]\nmin_pool_size = {}\nreserve_pool_size = {}\n\
             [users.u]\npool_size = {}\n[users.v]\nreserve_pool_size = {}\n",
            sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8],
        );
        holds(&text)?;
    }
}

#[test]
fn encryption_of_clients() {
    let rest = "[databases.a]\n[users.u]\npassword = \"p\"\n";
    check(&[
        (
            &format!("[pgweir]\nclient_tls_sslmode = \"require\"\nclient_tls_cert_file = \"c\"\n{rest}"),
            &[
                r#"f:2:22: client_tls_sslmode "require" in [pgweir] needs client_tls_cert_file and client_tls_key_file"#,
            ],
        ),
        (
            &format!(
                "[pgweir]\nclient_tls_sslmode = \"verify-ca\"\nclient_tls_cert_file = \"c\"\nclient_tls_key_file = \"k\"\n{rest}"
            ),
            &[
                r#"f:2:22: client_tls_sslmode "verify-ca" in [pgweir] needs client_tls_ca_file, to know whose certificates to trust"#,
            ],
        ),
        (&format!("[pgweir]\nclient_tls_cert_file = \"c\"\n{rest}"), &[]),
    ]);
}

#[test]
fn encryption_of_servers() {
    check(&[
        (
            "[pgweir]\nserver_tls_sslmode = \"verifyfull\"\nserver_tls_protocols = \"tlsv1.1\"\n[databases.a]\nserver_tls_protocols = [\"tls1.3\"]\n[users.u]\npassword = \"p\"\n",
            &[
                r#"f:2:22: server_tls_sslmode in [pgweir] must be one of "disable", "allow", "prefer", "require", "verify-ca", "verify-full", not "verifyfull"; did you mean "verify-full"?"#,
                r#"f:3:24: server_tls_protocols in [pgweir] must be "secure" (which is both), or a list of "tlsv1.2" and "tlsv1.3", not "tlsv1.1"; "tlsv1.1" is broken and not there any more"#,
                r#"f:5:24: server_tls_protocols in [databases.a] must be "secure" (which is both), or a list of "tlsv1.2" and "tlsv1.3", not an array; did you mean "tlsv1.3"?"#,
            ],
        ),
        (
            "[pgweir]\nserver_tls_sslmode = \"verify-ca\"\n[databases.a]\nserver_tls_ca_file = \"system\"\n[databases.b]\nserver_tls_key_file = \"k\"\nserver_tls_sslmode = \"require\"\n[users.u]\npassword = \"p\"\n",
            &[
                r#"f:2:22: [pgweir] with server_tls_sslmode "verify-ca" needs server_tls_ca_file; for a public CA use "verify-full""#,
                r#"f:4:22: [databases.a] with server_tls_ca_file "system" needs server_tls_sslmode "verify-full""#,
                r#"f:7:22: [databases.b] needs both server_tls_cert_file and server_tls_key_file, or neither"#,
            ],
        ),
        (
            "[pgweir]\nserver_tls_sslmode = \"require\"\nserver_tls_sslnegotiation = \"direct\"\n[databases.a]\nserver_tls_sslmode = \"prefer\"\n[databases.b]\nserver_tls_sslmode = \"disable\"\nserver_tls_sslnegotiation = \"postgres\"\n[databases.c]\n[users.u]\npassword = \"p\"\n",
            &[
                r#"f:5:22: [databases.a] with server_tls_sslnegotiation "direct" needs server_tls_sslmode "require", "verify-ca" or "verify-full""#,
            ],
        ),
        (
            "[pgweir]\nserver_tls_ca_file = \"ca\"\n[databases.a]\n[users.u]\npassword = \"p\"\n",
            &[
                r#"warning: f:2:22: server_tls_ca_file in [pgweir] is not used: server_tls_sslmode "prefer" verifies no certificate"#,
            ],
        ),
        (
            "[databases.a]\nserver_tls_sslmode = \"require\"\nserver_tls_ca_file = \"ca\"\n[users.u]\npassword = \"p\"\n",
            &[
                r#"warning: f:3:22: server_tls_ca_file in [databases.a] is not used: server_tls_sslmode "require" verifies no certificate"#,
            ],
        ),
        (
            "[pgweir]\nserver_tls_ca_file = \"ca\"\n[databases.a]\nserver_tls_sslmode = \"verify-ca\"\nserver_tls_protocols = \"tlsv1.2, TLSv1.3\"\n[users.u]\npassword = \"p\"\n",
            &[],
        ),
    ]);
}
