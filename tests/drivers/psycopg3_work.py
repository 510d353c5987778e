"""A day's work by psycopg 3, everything prepared at once: python psycopg3_work.py URL; prints ok."""
import sys
import threading
import uuid

import psycopg
from psycopg.types.json import Jsonb

URL = sys.argv[1]
TABLE = "t_" + uuid.uuid4().hex


def connect():
    conn = psycopg.connect(URL)
    conn.prepare_threshold = 0
    return conn


def basics(conn):
    with conn.transaction():
        conn.execute(f"CREATE TABLE {TABLE} (id int PRIMARY KEY, word text, tags text[], doc jsonb, raw bytea)")
    with conn.transaction(), conn.cursor() as cur:
        rows = [(n, f"wörd {n}", ["a", f"b{n}"], Jsonb({"n": n}), bytes(range(256))) for n in range(100)]
        cur.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s, %s)", rows)
    for n in range(30):
        with conn.transaction():
            row = conn.execute(f"SELECT word, tags, doc, raw FROM {TABLE} WHERE id = %s", (n,)).fetchone()
            assert row == (f"wörd {n}", ["a", f"b{n}"], {"n": n}, bytes(range(256))), row
    for binary in (False, True):
        row = conn.execute("SELECT %s::int, %s::float8, %s::text", (1, 0.5, "x"), binary=binary).fetchone()
        assert row == (1, 0.5, "x"), row
    conn.commit()


def transactions(conn):
    conn.execute(f"DELETE FROM {TABLE}")
    conn.rollback()
    with conn.transaction():
        try:
            with conn.transaction():
                conn.execute(f"INSERT INTO {TABLE} (id) VALUES (1)")
            raise AssertionError("a duplicate key went in")
        except psycopg.errors.UniqueViolation:
            pass
        conn.execute(f"INSERT INTO {TABLE} (id) VALUES (1000)")
    assert conn.execute(f"SELECT count(*) FROM {TABLE}").fetchone() == (101,)
    conn.commit()
    for _ in range(15):
        try:
            conn.execute("SELECT 1/%s::int", (0,))
            raise AssertionError("no error")
        except psycopg.errors.DivisionByZero:
            conn.rollback()


def pipeline(conn):
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int", (n,)) for n in range(200)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(200))
    conn.commit()
    try:
        with conn.pipeline():
            conn.execute("SELECT 1")
            conn.execute("SELECT 1/0")
            conn.execute("SELECT 2")
        raise AssertionError("no error")
    except psycopg.errors.DivisionByZero:
        conn.rollback()


def copies_and_cursors(conn):
    with conn.transaction(), conn.cursor() as cur:
        with cur.copy(f"COPY {TABLE} (id, word) FROM STDIN") as copy:
            for n in range(2000, 12000):
                copy.write_row((n, f"copied {n}"))
        with cur.copy(f"COPY (SELECT id FROM {TABLE} WHERE id >= 2000 ORDER BY id) TO STDOUT") as copy:
            assert [int(row[0]) for row in copy.rows()] == list(range(2000, 12000))
    with conn.transaction(), conn.cursor("named") as cur:
        cur.itersize = 333
        cur.execute(f"SELECT id FROM {TABLE} WHERE id >= 2000 ORDER BY id")
        assert [row[0] for row in cur] == list(range(2000, 12000))
    try:
        with conn.transaction(), conn.cursor() as cur, cur.copy(f"COPY {TABLE} (id) FROM STDIN") as copy:
            copy.write("not a number\n")
        raise AssertionError("no error")
    except psycopg.errors.InvalidTextRepresentation:
        pass
    with conn.transaction():
        big = conn.execute("SELECT %s::bytea", (b"x" * 5_000_000,)).fetchone()[0]
        assert big == b"x" * 5_000_000


def cancel(conn):
    timer = threading.Timer(0.5, conn.cancel)
    timer.start()
    try:
        conn.execute("SELECT pg_sleep(30)")
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        conn.rollback()
    finally:
        timer.join()


def notifications():
    """More listeners than there are servers; own notifications come with the answer to COMMIT."""
    listeners = [psycopg.connect(URL, autocommit=number % 2 == 0) for number in range(8)]
    for listener in listeners:
        listener.execute(f"LISTEN {TABLE}")
        listener.commit()
    for n in range(10):
        listeners[n % 8].execute("SELECT pg_notify(%s, %s)", (TABLE, str(n)))
        listeners[n % 8].commit()
        for listener in listeners:
            heard = [notify.payload for notify in listener.notifies(timeout=10, stop_after=1)]
            assert heard == [str(n)], heard
    for listener in listeners:
        listener.execute("UNLISTEN *")
        listener.commit()
        listener.close()


def concurrently(failures):
    try:
        with connect() as conn:
            for n in range(30):
                with conn.transaction():
                    row = conn.execute(f"UPDATE {TABLE} SET word = %s WHERE id = 1000 RETURNING word", (str(n),)).fetchone()
                    assert row == (str(n),)
    except BaseException as error:
        failures.append(error)


with connect() as conn:
    basics(conn)
    transactions(conn)
    pipeline(conn)
    copies_and_cursors(conn)
    cancel(conn)
    notifications()
    failures = []
    threads = [threading.Thread(target=concurrently, args=(failures,)) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if failures:
        raise failures[0]
    conn.execute(f"DROP TABLE {TABLE}")
print("ok")
