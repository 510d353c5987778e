//! Statements by family. Placeholders: `%d` a digit, `%z` a time zone, `%s` a list of schemas, `%v` a value, `@` the
//! client's number, where what is named is everybody's.

use crate::script::Family;

/// Statements that change state; one is taken at random.
pub(crate) fn changes(family: Family) -> &'static [&'static str] {
    match family {
        Family::Startup => &["RESET ALL", "DISCARD ALL", "SET TimeZone TO DEFAULT", "RESET search_path"],
        Family::Parameters => PARAMETERS,
        Family::Roles => ROLES,
        Family::Statements => STATEMENTS,
        Family::Temp => TEMP,
        Family::Locks => LOCKS,
        Family::Cursors => CURSORS,
        Family::Listen => LISTEN,
        Family::Sequences => SEQUENCES,
        Family::Hidden => HIDDEN,
    }
}

/// Statements that show state, own or another's.
pub(crate) fn looks(family: Family) -> &'static [&'static str] {
    match family {
        Family::Startup | Family::Parameters => SHOWN,
        Family::Roles => &["SELECT current_user, session_user", "SHOW role", "SELECT v FROM public.only_r1"],
        Family::Statements => &["SELECT * FROM public.v_prepared", "EXECUTE p%d", "EXECUTE q(%d)"],
        Family::Temp => &["SELECT * FROM public.v_rels", "SELECT * FROM tt%d", "SELECT count(*) FROM shadow"],
        Family::Locks => &["SELECT * FROM public.v_locks"],
        Family::Cursors => &["SELECT * FROM public.v_cursors", "FETCH 1 FROM c%d", "FETCH ALL FROM c%d"],
        Family::Listen => &["SELECT * FROM pg_listening_channels() c ORDER BY c"],
        Family::Sequences => &["SELECT lastval()", "SELECT currval('public.t@_id_seq')"],
        Family::Hidden => &[],
    }
}

/// What every client is asked when all is over: one statement that shows all of a family.
pub(crate) fn last_look(family: Family) -> Option<&'static str> {
    match family {
        Family::Startup | Family::Parameters => Some(ALL_PARAMETERS),
        Family::Hidden => None,
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
        Family::Startup | Family::Statements | Family::Cursors | Family::Hidden => &[],
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
pub(crate) const LET_GO: &str = "DISCARD TEMP; SELECT pg_advisory_unlock_all(); CLOSE ALL";

const PARAMETERS: &[&str] = &[
    "SET TimeZone = '%z'",
    "SET SESSION TimeZone TO '%z'",
    "SET LOCAL TimeZone = '%z'",
    "SET TIME ZONE '%z'",
    "SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE",
    "SET TIME ZONE LOCAL",
    "SET LOCAL TIME ZONE DEFAULT",
    "SET NAMES 'LATIN1'",
    "SET NAMES",
    "SET client_encoding TO 'UTF8'",
    "SET search_path = %s",
    "SET LOCAL search_path TO %s",
    "SET search_path = ''",
    "SET SCHEMA 's1'",
    "set work_mem = '%dMB'",
    "SET LOCAL work_mem = '%dMB'",
    "SET DateStyle = 'German'",
    "SET datestyle TO ISO, DMY",
    "SET IntervalStyle = 'iso_8601'",
    "SET extra_float_digits = -%d",
    "SET bytea_output = 'escape'",
    "SET statement_timeout = '5%ds'",
    "SET application_name = 'I am @-%d'",
    "SET client_min_messages = 'error'",
    "SET app.tenant_id = '%v'",
    "SET app.x = '%v'",
    "SET app.x TO '%v'; SHOW app.x",
    "SET LOCAL app.x = '%v'",
    "SET \"app\".\"x\" = '%v'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "RESET TimeZone",
    "RESET work_mem",
    "RESET search_path",
    "RESET app.x",
    "RESET app.tenant_id",
    "RESET default_transaction_read_only",
    "RESET ALL",
    "SET TimeZone TO DEFAULT",
    "SET work_mem = DEFAULT",
    "SET LOCAL work_mem TO DEFAULT",
    "SET app.x TO DEFAULT",
    "SELECT set_config('TimeZone', '%z', false)",
    "SELECT set_config('work_mem', '%dMB', true)",
    "SELECT set_config('work_mem', NULL, false)",
    "SELECT set_config('app.x', '%v', false)",
    "SELECT set_config('app.' || 'tenant_id', '%v', true)",
    "SELECT set_config('app.x', v, false) FROM (VALUES ('%v'), ('last')) q(v)",
    "SET no_such_parameter = 1",
    "SET work_mem = 'much'",
    "SET TimeZone = 'Nowhere/Land'",
    "DISCARD ALL",
    "DISCARD ALL",
    "DISCARD PLANS",
    "BEGIN; SET TimeZone = '%z'; SET LOCAL work_mem = '%dMB'; COMMIT",
    "BEGIN; SET TimeZone = '%z'; SET app.x = '%v'; ROLLBACK",
    "BEGIN; SAVEPOINT s; SET work_mem = '%dMB'; ROLLBACK TO s; SET app.x = '%v'; COMMIT",
    "SET work_mem = '%dMB'; SELECT 1/0; SET work_mem = '9MB'",
    "DO $$BEGIN SET app.x = 'kept'; COMMIT; SET LOCAL app.x = 'gone'; SET TimeZone = '%z'; END$$",
    "SELECT public.f_zone()",
];

const SHOWN: &[&str] = &[
    "SHOW TimeZone",
    "SHOW work_mem",
    "SHOW search_path",
    "SHOW statement_timeout",
    "SHOW application_name",
    "SHOW transaction_isolation",
    "SHOW default_transaction_read_only",
    "SELECT current_setting('app.x', true)",
    "SELECT current_setting('app.tenant_id', true)",
    "SELECT timestamptz '2024-03-01 12:00:00Z', interval '1 day 2 hours', 0.1::float8 / 3, '\\x41ff'::bytea",
    "SELECT v FROM which",
    "SELECT current_schemas(false), chr(233)",
    "SELECT current_setting('work_mem'), current_setting('DateStyle'), current_setting('client_encoding')",
];

const ALL_PARAMETERS: &str = "SELECT current_setting('app.x', true), current_setting('app.tenant_id', true), \
    current_setting('TimeZone'), current_setting('work_mem'), current_setting('search_path'), \
    current_setting('statement_timeout'), current_setting('application_name'), current_setting('DateStyle'), \
    current_setting('IntervalStyle'), current_setting('extra_float_digits'), current_setting('bytea_output'), \
    current_setting('client_min_messages'), current_setting('client_encoding'), \
    current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only')";

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

/// Objects every client uses, and one table for each.
pub(crate) fn setup() -> String {
    let mut sql = String::new();
    for client in 0..crate::script::CLIENTS {
        sql.push_str(&format!("CREATE TABLE t{client} (id serial, v text);"));
    }
    sql + SETUP
        + "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC; \
           REVOKE ALL ON only_r1 FROM PUBLIC; GRANT SELECT ON only_r1 TO r1"
}

/// Back to what [`setup`] left, as far as anybody can see: rows are never read.
pub(crate) fn empty() -> String {
    let restart = |client| format!("SELECT setval('t{client}_id_seq', 1, false)");
    (0..crate::script::CLIENTS).map(restart).collect::<Vec<_>>().join("; ")
}

/// Roles of the whole cluster.
pub(crate) const ROLES_SETUP: &str = "CREATE ROLE r1; CREATE ROLE r2; CREATE ROLE r3; GRANT r1, r2 TO trusty";

/// Views, so that the text that looks has no word a pooler could take for a change.
const SETUP: &str = "
CREATE SCHEMA s1; CREATE SCHEMA s2; GRANT USAGE ON SCHEMA s1, s2 TO PUBLIC;
CREATE TABLE which (v text); CREATE TABLE s1.which (v text); CREATE TABLE s2.which (v text);
INSERT INTO which VALUES ('public'); INSERT INTO s1.which VALUES ('s1'); INSERT INTO s2.which VALUES ('s2');
GRANT SELECT ON s1.which, s2.which TO PUBLIC;
CREATE TABLE shadow (v text); INSERT INTO shadow VALUES ('a'), ('b');
CREATE TABLE only_r1 (v text); INSERT INTO only_r1 VALUES ('for r1');
CREATE VIEW v_prepared AS SELECT name, from_sql FROM pg_prepared_statements WHERE from_sql ORDER BY name;
CREATE VIEW v_cursors AS SELECT name, is_holdable FROM pg_cursors WHERE name ~ '^c' ORDER BY name;
CREATE VIEW v_rels AS SELECT relname, relkind FROM pg_class
  WHERE relpersistence = 't' AND relnamespace = pg_my_temp_schema() AND relkind <> 'i' ORDER BY relname;
CREATE VIEW v_locks AS SELECT classid, objid, objsubid, mode, granted FROM pg_locks
  WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1, 2, 3, 4;
CREATE FUNCTION f_run(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END';
CREATE FUNCTION f_zone() RETURNS text LANGUAGE sql SET TimeZone = 'Asia/Kathmandu' AS
  'SELECT current_setting(''TimeZone'')';
CREATE FUNCTION hidden_set() RETURNS void LANGUAGE plpgsql AS
  'BEGIN SET app.x = ''hidden''; SET TimeZone = ''Asia/Dubai''; SET work_mem = ''7MB''; END';
CREATE FUNCTION hidden_role() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET ROLE r2; END';
CREATE FUNCTION hidden_table() RETURNS void LANGUAGE plpgsql AS 'BEGIN CREATE TEMP TABLE tt1 (id int); END';
CREATE FUNCTION hidden_lock() RETURNS bool LANGUAGE sql AS 'SELECT pg_try_advisory_lock(1)';
CREATE FUNCTION hidden_prepare() RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE ''PREPARE p1 AS SELECT 1''; END';
CREATE FUNCTION hidden_listen() RETURNS void LANGUAGE plpgsql AS 'BEGIN LISTEN ch1; END';
CREATE FUNCTION hidden_next() RETURNS bigint LANGUAGE sql AS 'SELECT nextval(''public.t0_id_seq'')';
";
