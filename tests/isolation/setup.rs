//! What the databases hold.

use crate::script::CLIENTS;

/// Objects every client uses, and one table for each.
pub(crate) fn objects() -> String {
    let mut sql = String::new();
    for client in 0..CLIENTS {
        sql.push_str(&format!("CREATE TABLE t{client} (id serial, v text);"));
    }
    sql + SETUP
        + "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC; \
           REVOKE ALL ON only_r1 FROM PUBLIC; GRANT SELECT ON only_r1 TO r1"
}

/// Back to what [`objects`] left, as far as anybody can see: rows are never read.
pub(crate) fn restart() -> String {
    let each = |client| format!("SELECT setval('t{client}_id_seq', 1, false)");
    (0..CLIENTS).map(each).collect::<Vec<_>>().join("; ")
}

/// Roles of the whole cluster.
pub(crate) const ROLES: &str = "CREATE ROLE r1; CREATE ROLE r2; CREATE ROLE r3; GRANT r1, r2 TO trusty";

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
