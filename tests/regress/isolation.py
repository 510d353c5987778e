"""isolationtester through a pooler.

isolationtester asks pg_isolation_test_session_is_blocked(pid, pids) whether a session waits, with the pids its connections were
given at login. A pooler gives process IDs of its own, and the backend changes with each transaction. But isolationtester also
names its sessions: application_name is isolation/SPEC/SESSION, which a pooler must carry to the backend that runs the session's
transaction. The function that takes the original's place in this database finds the backends by that name, and asks the original.

pids are those of sessions in the order of the spec, so a position among them is a session.
"""
import re

from servers import psql

TABLE = "CREATE TABLE pg_catalog.regress_sessions (spec text, position int, session text)"
RENAME = "ALTER FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(int, int[]) RENAME TO regress_backend_is_blocked"
FUNCTION = """
CREATE FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(session int, sessions int[]) RETURNS bool
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH names AS (
        SELECT s.position, left('isolation/' || s.spec || '/' || s.session, 63) AS name FROM regress_sessions s
        WHERE s.spec = split_part(current_setting('application_name'), '/', 2)
    ), backends AS (
        SELECT a.pid, a.state, n.position FROM pg_stat_activity a JOIN names n ON n.name = a.application_name
        WHERE a.datname = current_database()
    )
    SELECT coalesce(bool_or(regress_backend_is_blocked(b.pid, ARRAY(SELECT pid FROM backends))), false)
    FROM backends b WHERE b.position = array_position(sessions, session) AND b.state = 'active'
$$
"""


def see_through_pooler(cluster, database, specs):
    rows = []
    for path in sorted(specs.glob("*.spec")):
        sessions = re.findall(r'^session\s+"?([\w-]+)"?', path.read_text(), flags=re.M)
        rows += [f"('{path.stem}', {at}, '{name}')" for at, name in enumerate(sessions, 1)]
    psql(cluster.address, database, "SET allow_system_table_mods = on", TABLE,
         f"INSERT INTO pg_catalog.regress_sessions VALUES {', '.join(rows)}", RENAME, FUNCTION)
