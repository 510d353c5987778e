"""A day's work by psycopg2: python psycopg2_work.py URL; prints ok."""
import io
import sys
import threading
import time
import uuid

import psycopg2
import psycopg2.extras

URL = sys.argv[1]
TABLE = "t_" + uuid.uuid4().hex


def basics(conn):
    with conn, conn.cursor() as cur:
        cur.execute(f"CREATE TABLE {TABLE} (id int PRIMARY KEY, word text, tags text[], doc jsonb, raw bytea)")
        rows = [(n, f"wörd {n}", ["a", f"b{n}"], psycopg2.extras.Json({"n": n}), bytes(range(256))) for n in range(100)]
        psycopg2.extras.execute_values(cur, f"INSERT INTO {TABLE} VALUES %s", rows)
    with conn, conn.cursor() as cur:
        cur.execute(f"SELECT word, tags, doc, raw FROM {TABLE} WHERE id = %s", (42,))
        word, tags, doc, raw = cur.fetchone()
        assert (word, tags, doc, bytes(raw)) == ("wörd 42", ["a", "b42"], {"n": 42}, bytes(range(256)))


def transactions(conn):
    with conn.cursor() as cur:
        cur.execute(f"DELETE FROM {TABLE}")
        conn.rollback()
        cur.execute(f"SELECT count(*) FROM {TABLE}")
        assert cur.fetchone() == (100,)
        cur.execute("SAVEPOINT a")
        try:
            cur.execute(f"INSERT INTO {TABLE} (id) VALUES (1)")
            raise AssertionError("a duplicate key went in")
        except psycopg2.errors.UniqueViolation:
            cur.execute("ROLLBACK TO a")
        cur.execute(f"INSERT INTO {TABLE} (id) VALUES (1000)")
        conn.commit()
        try:
            cur.execute("SELECT 1/0")
            raise AssertionError("no error")
        except psycopg2.errors.DivisionByZero:
            conn.rollback()


def copies_and_cursors(conn):
    with conn, conn.cursor() as cur:
        lines = "".join(f"{n}\tcopied {n}\n" for n in range(2000, 12000))
        cur.copy_expert(f"COPY {TABLE} (id, word) FROM STDIN", io.StringIO(lines))
        out = io.StringIO()
        cur.copy_expert(f"COPY (SELECT id, word FROM {TABLE} WHERE id >= 2000 ORDER BY id) TO STDOUT", out)
        assert out.getvalue() == lines
    with conn, conn.cursor("named") as cur:
        cur.itersize = 333
        cur.execute(f"SELECT id FROM {TABLE} WHERE id >= 2000 ORDER BY id")
        assert [row[0] for row in cur] == list(range(2000, 12000))
    with conn, conn.cursor() as cur:
        cur.execute("SELECT %s", ("x" * 5_000_000,))
        assert len(cur.fetchone()[0]) == 5_000_000


def cancel(conn):
    timer = threading.Timer(0.5, conn.cancel)
    timer.start()
    started = time.monotonic()
    try:
        with conn, conn.cursor() as cur:
            cur.execute("SELECT pg_sleep(30)")
        raise AssertionError("not cancelled")
    except psycopg2.errors.QueryCanceled:
        assert time.monotonic() - started < 25
    finally:
        timer.join()


def concurrently(failures):
    try:
        conn = psycopg2.connect(URL)
        for n in range(30):
            with conn, conn.cursor() as cur:
                cur.execute(f"UPDATE {TABLE} SET word = %s WHERE id = 1000 RETURNING word", (str(n),))
                assert cur.fetchone() == (str(n),)
        conn.close()
    except BaseException as error:
        failures.append(error)


conn = psycopg2.connect(URL)
basics(conn)
transactions(conn)
copies_and_cursors(conn)
cancel(conn)
failures = []
threads = [threading.Thread(target=concurrently, args=(failures,)) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
if failures:
    raise failures[0]
with conn, conn.cursor() as cur:
    cur.execute(f"DROP TABLE {TABLE}")
conn.close()
print("ok")
