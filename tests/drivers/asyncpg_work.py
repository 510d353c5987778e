"""A day's work by asyncpg with its statement cache on: python asyncpg_work.py URL; prints ok."""
import asyncio
import json
import sys
import uuid

import asyncpg

URL = sys.argv[1]
TABLE = "t_" + uuid.uuid4().hex


async def basics(conn):
    await conn.execute(f"CREATE TABLE {TABLE} (id int PRIMARY KEY, word text, tags text[], doc jsonb, raw bytea)")
    await conn.executemany(
        f"INSERT INTO {TABLE} VALUES ($1, $2, $3, $4, $5)",
        [(n, f"wörd {n}", ["a", f"b{n}"], json.dumps({"n": n}), bytes(range(256))) for n in range(100)],
    )
    for n in range(30):
        row = await conn.fetchrow(f"SELECT word, tags, doc, raw FROM {TABLE} WHERE id = $1", n)
        assert (row["word"], row["tags"], json.loads(row["doc"])) == (f"wörd {n}", ["a", f"b{n}"], {"n": n})
        assert row["raw"] == bytes(range(256))
    statement = await conn.prepare("SELECT $1::int * 2")
    for n in range(30):
        assert await statement.fetchval(n) == 2 * n
        async with conn.transaction():
            assert await statement.fetchval(n) == 2 * n


async def transactions(conn):
    try:
        async with conn.transaction():
            await conn.execute(f"DELETE FROM {TABLE}")
            raise RuntimeError("roll back")
    except RuntimeError:
        pass
    async with conn.transaction():
        try:
            async with conn.transaction():
                await conn.execute(f"INSERT INTO {TABLE} (id) VALUES (1)")
            raise AssertionError("a duplicate key went in")
        except asyncpg.UniqueViolationError:
            pass
        await conn.execute(f"INSERT INTO {TABLE} (id) VALUES (1000)")
    assert await conn.fetchval(f"SELECT count(*) FROM {TABLE}") == 101
    for _ in range(15):
        try:
            await conn.fetchval("SELECT 1/$1::int", 0)
            raise AssertionError("no error")
        except asyncpg.DivisionByZeroError:
            pass


async def copies_and_cursors(conn):
    records = [(n, f"copied {n}") for n in range(2000, 12000)]
    await conn.copy_records_to_table(TABLE, records=records, columns=["id", "word"])
    parts = []

    async def collect(data):
        parts.append(data)

    await conn.copy_from_query(f"SELECT id FROM {TABLE} WHERE id >= 2000 ORDER BY id", output=collect)
    assert b"".join(parts) == "".join(f"{n}\n" for n in range(2000, 12000)).encode()
    async with conn.transaction():
        seen = [row[0] async for row in conn.cursor(f"SELECT id FROM {TABLE} WHERE id >= 2000 ORDER BY id", prefetch=333)]
    assert seen == list(range(2000, 12000))
    assert await conn.fetchval("SELECT $1::bytea", b"x" * 5_000_000) == b"x" * 5_000_000


async def cancel(conn):
    try:
        await conn.fetchval("SELECT pg_sleep(30)", timeout=0.5)
        raise AssertionError("not cancelled")
    except asyncio.TimeoutError:
        assert await conn.fetchval("SELECT 1") == 1


async def concurrently(pool, number):
    for n in range(30):
        async with pool.acquire() as conn, conn.transaction():
            word = f"{number} {n}"
            got = await conn.fetchval(f"UPDATE {TABLE} SET word = $1 WHERE id = $2 RETURNING word", word, number)
            assert got == word
            assert await conn.fetchval(f"SELECT word FROM {TABLE} WHERE id = $1", number) == word


async def notifications(conn):
    """More listeners than there are servers, who work at the same time."""
    heard = asyncio.Queue()
    listeners = [await asyncpg.connect(URL) for _ in range(8)]
    for number, listener in enumerate(listeners):
        told = lambda _, pid, channel, payload, number=number: heard.put_nowait((number, channel, payload))
        await listener.add_listener(TABLE, told)
        await listener.add_listener("Quoted " + TABLE, told)
    for n in range(20):
        channel = TABLE if n % 2 else "Quoted " + TABLE
        await conn.execute("SELECT pg_notify($1, $2)", channel, str(n))
        got = {await asyncio.wait_for(heard.get(), 10) for _ in listeners}
        assert got == {(number, channel, str(n)) for number in range(8)}, got
        assert await asyncio.gather(*(listener.fetchval("SELECT $1::int", n) for listener in listeners)) == [n] * 8
    await listeners[0].execute(f"NOTIFY {TABLE}, 'own'")
    got = {await asyncio.wait_for(heard.get(), 10) for _ in listeners}
    assert got == {(number, TABLE, "own") for number in range(8)}, got
    await asyncio.gather(*(listener.close() for listener in listeners))


async def main():
    conn = await asyncpg.connect(URL)
    await basics(conn)
    await transactions(conn)
    await copies_and_cursors(conn)
    await cancel(conn)
    await notifications(conn)
    async with asyncpg.create_pool(URL, min_size=12, max_size=12) as pool:
        await asyncio.gather(*(concurrently(pool, number) for number in range(24)))
    await conn.execute(f"ALTER TABLE {TABLE} ADD extra int")
    assert len(await conn.fetch(f"SELECT word FROM {TABLE} WHERE id = $1", 1)) == 1
    await conn.execute(f"DROP TABLE {TABLE}")
    await conn.close()


asyncio.run(main())
print("ok")
