//! Statements by family. Placeholders: `%d` a digit, `%z` a time zone, `%s` a list of schemas, `%v` a value, `@` the
//! client's number, where what is named is everybody's.

use crate::parameters;
use crate::script::Family;

/// Statements that change state; one is taken at random.
pub(crate) fn changes(family: Family) -> &'static [&'static str] {
    match family {
        Family::Startup => &["RESET ALL", "DISCARD ALL", "SET TimeZone TO DEFAULT", "RESET search_path"],
        Family::Parameters => parameters::CHANGES,
        Family::Roles => ROLES,
        Family::Statements => STATEMENTS,
        Family::Temp => TEMP,
        Family::Locks => LOCKS,
        Family::Cursors => CURSORS,
        Family::Listen => LISTEN,
        Family::Sequences => SEQUENCES,
        Family::Mixed => &[
            "DEALLOCATE a",
            "DEALLOCATE PREPARE b",
            "DEALLOCATE a",
            "PREPARE a AS SELECT 1",
            "SELECT public.hidden_set()",
            "EXECUTE a",
        ],
        Family::Functions => &[],
        Family::Hidden => HIDDEN,
    }
}

/// Statements that show state, own or another's.
pub(crate) fn looks(family: Family) -> &'static [&'static str] {
    match family {
        Family::Startup | Family::Parameters => parameters::LOOKS,
        Family::Roles => &["SELECT current_user, session_user", "SHOW role", "SELECT v FROM public.only_r1"],
        Family::Statements => &["SELECT * FROM public.v_prepared", "EXECUTE p%d", "EXECUTE q(%d)"],
        Family::Temp => &["SELECT * FROM public.v_rels", "SELECT * FROM tt%d", "SELECT count(*) FROM shadow"],
        Family::Locks => &["SELECT * FROM public.v_locks"],
        Family::Cursors => &["SELECT * FROM public.v_cursors", "FETCH 1 FROM c%d", "FETCH ALL FROM c%d"],
        Family::Listen => &["SELECT * FROM pg_listening_channels() c ORDER BY c"],
        Family::Sequences => &["SELECT lastval()", "SELECT currval('public.t@_id_seq')"],
        Family::Mixed => &["EXECUTE a", "EXECUTE b(%d)", "SELECT * FROM public.v_prepared"],
        Family::Functions | Family::Hidden => &[],
    }
}

/// What every client is asked when all is over: one statement that shows all of a family.
pub(crate) fn last_look(family: Family) -> Option<&'static str> {
    match family {
        Family::Startup | Family::Parameters => Some(parameters::ALL),
        Family::Mixed | Family::Functions | Family::Hidden => None,
        _ => looks(family).first().copied(),
    }
}

/// Statements with bound values; each value has the same placeholders.
pub(crate) fn bound(family: Family) -> &'static [(&'static str, &'static [&'static str])] {
    match family {
        Family::Parameters => &[
            ("SELECT set_config($1, $2, $3)", &["TimeZone", "%z", "false"]),
            ("SELECT set_config($1, $2, $3)", &["app.x", "%v", "false"]),
            ("SELECT set_config($1, $2, $3)", &["work_mem", "%dMB", "true"]),
            ("SELECT set_config('app.tenant_id', $1, false)", &["%v"]),
            ("SELECT set_config('app.tenant_id', $1, true)", &["%v"]),
            ("SELECT set_config('search_path', $1, $2::bool)", &["%s", "false"]),
            ("SELECT set_config($1, $2, false)", &["no_such_parameter", "1"]),
            ("SELECT current_setting($1, true)", &["app.x"]),
        ],
        Family::Roles => &[("SELECT set_config('role', $1, false)", &["r%d"])],
        Family::Locks => &[
            ("SELECT pg_try_advisory_lock($1)", &["%d"]),
            ("SELECT pg_advisory_unlock($1)", &["%d"]),
            ("SELECT pg_try_advisory_xact_lock($1, $2)", &["1", "%d"]),
        ],
        Family::Listen => &[("SELECT pg_notify($1, $2)", &["ch%d", "@ %v"])],
        Family::Sequences => &[("INSERT INTO public.t@ (v) VALUES ($1)", &["%v"])],
        Family::Temp => &[("INSERT INTO tt%d VALUES ($1)", &["%d"])],
        _ => &[],
    }
}

/// What every client does.
pub(crate) const TRANSACTIONS: &[&str] = &[
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "START TRANSACTION",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "BEGIN READ ONLY",
    "COMMIT",
    "COMMIT",
    "COMMIT",
    "END",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT s%d",
    "SAVEPOINT s%d",
    "ROLLBACK TO s%d",
    "ROLLBACK TO SAVEPOINT s%d",
    "RELEASE s%d",
    "SELECT 1/0",
    "SELEKT",
    "SELECT 1",
];

/// Statements every client prepares by the protocol.
pub(crate) const PREPARED: &[(&str, &[&str])] =
    &[("SELECT $1::int + 1", &["%d"]), ("SELECT 10 / $1::int", &["0"]), ("SELECT $1::text || '@'", &["%v"])];

/// Lets go of everything that keeps a client on its server.
pub(crate) const LET_GO: &str =
    "DISCARD TEMP; SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; DEALLOCATE ALL";

const ROLES: &[&str] = &[
    "SET ROLE r1",
    "SET ROLE r%d",
    "SET LOCAL ROLE r%d",
    "SET SESSION ROLE r1",
    "SET ROLE NONE",
    "SET ROLE nobody_here",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET SESSION AUTHORIZATION trusty",
    "SET SESSION AUTHORIZATION r1",
    "RESET SESSION AUTHORIZATION",
    "SELECT set_config('role', 'r%d', false)",
    "SELECT set_config('role', 'r%d', true)",
    "RESET ALL",
    "DISCARD ALL",
];

const STATEMENTS: &[&str] = &[
    "PREPARE p%d AS SELECT %d, 'one'",
    "PREPARE p%d AS SELECT v FROM which",
    "PREPARE q(int) AS SELECT $1 + 1, current_setting('TimeZone')",
    "PREPARE p%d AS INSERT INTO public.t@ (v) VALUES ('%v') RETURNING v",
    "EXECUTE p%d",
    "EXECUTE p%d",
    "EXECUTE q(%d)",
    "DEALLOCATE p%d",
    "DEALLOCATE PREPARE q",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "BEGIN; PREPARE p%d AS SELECT 'rolled back'; ROLLBACK",
    "PREPARE p%d AS SELECT 1; EXECUTE p%d",
];

const TEMP: &[&str] = &[
    "CREATE TEMP TABLE tt%d (id int)",
    "CREATE TEMPORARY TABLE IF NOT EXISTS tt%d (id int)",
    "CREATE TEMP TABLE tt%d (id int) ON COMMIT DROP",
    "CREATE TEMP TABLE tt%d ON COMMIT DELETE ROWS AS SELECT 1 AS id",
    "CREATE TEMP TABLE tt%d AS SELECT n AS id FROM generate_series(1, %d) n",
    "CREATE TEMP TABLE shadow (v text)",
    "CREATE TABLE pg_temp.tt%d (id int)",
    "SELECT 1 AS id INTO TEMP tt%d",
    "CREATE TEMP VIEW vv%d AS SELECT 1 AS id",
    "CREATE TEMP SEQUENCE ss%d",
    "INSERT INTO tt%d VALUES (%d)",
    "INSERT INTO tt%d VALUES (%d)",
    "DROP TABLE tt%d",
    "DROP TABLE IF EXISTS tt%d",
    "DROP TABLE pg_temp.shadow",
    "ALTER TABLE tt%d RENAME TO tt9",
    "BEGIN; CREATE TEMP TABLE tt%d (id int) ON COMMIT DROP; INSERT INTO tt%d VALUES (1); COMMIT",
    "DISCARD TEMP",
    "DISCARD ALL",
];

const LOCKS: &[&str] = &[
    "SELECT pg_advisory_lock(%d)",
    "SELECT pg_try_advisory_lock(%d)",
    "SELECT pg_try_advisory_lock(%d)",
    "SELECT pg_try_advisory_lock(1, %d)",
    "SELECT pg_try_advisory_lock_shared(%d)",
    "SELECT pg_advisory_unlock(%d)",
    "SELECT pg_advisory_unlock(%d)",
    "SELECT pg_advisory_unlock(1, %d)",
    "SELECT pg_advisory_unlock_shared(%d)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT pg_advisory_xact_lock(%d)",
    "SELECT pg_try_advisory_xact_lock(%d)",
    "SELECT pg_try_advisory_xact_lock_shared(%d)",
    "DISCARD ALL",
];

const CURSORS: &[&str] = &[
    "DECLARE c%d CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 5) n",
    "DECLARE c%d SCROLL CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 5) n",
    "DECLARE c%d CURSOR FOR SELECT n FROM generate_series(1, 5) n",
    "FETCH %d FROM c%d",
    "FETCH 1 FROM c%d",
    "MOVE 1 IN c%d",
    "CLOSE c%d",
    "CLOSE c%d",
    "CLOSE ALL",
    "DISCARD ALL",
];

const LISTEN: &[&str] = &[
    "LISTEN ch%d",
    "LISTEN ch%d",
    "LISTEN ch%d",
    "UNLISTEN ch%d",
    "UNLISTEN *",
    "NOTIFY ch%d, '@ %v'",
    "NOTIFY ch%d, '@ %v'",
    "NOTIFY ch%d",
    "SELECT pg_notify('ch%d', '@ ' || n) FROM generate_series(1, 3) n",
    "BEGIN; LISTEN ch%d; NOTIFY ch%d, '@ own'; COMMIT",
    "BEGIN; LISTEN ch%d; ROLLBACK",
    "DISCARD ALL",
];

const SEQUENCES: &[&str] = &[
    "INSERT INTO public.t@ (v) VALUES ('%v')",
    "INSERT INTO public.t@ (v) VALUES ('%v'); SELECT lastval()",
    "INSERT INTO public.t@ (v) VALUES ('%v') RETURNING id",
    "SELECT nextval('public.t@_id_seq')",
    "SELECT setval('public.t@_id_seq', %d)",
    "DISCARD SEQUENCES",
    "DISCARD ALL",
];

const HIDDEN: &[&str] = &[
    "SELECT public.hidden_set()",
    "SELECT public.hidden_role()",
    "SELECT public.hidden_table()",
    "SELECT public.hidden_lock()",
    "SELECT public.hidden_prepare()",
    "SELECT public.hidden_listen()",
    "SELECT public.hidden_next()",
];
