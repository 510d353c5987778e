"""The console through drivers, each in the way it is used by default: argument is its URL."""

import asyncio
import sys

import asyncpg
import psycopg
import psycopg2
from psycopg.rows import dict_row

url = sys.argv[1]

# psycopg 3: a transaction around everything, server-side preparation, binary results, autocommit.
with psycopg.connect(url, row_factory=dict_row) as connection:
    pools = connection.execute("SHOW POOLS").fetchall()
    assert {"database", "cl_active", "maxwait_us"} <= pools[0].keys(), pools
    assert isinstance(pools[0]["cl_active"], int) and pools[0]["load_balance_hosts"] is None, pools
    for _ in range(3):
        stats = connection.execute("SHOW STATS", prepare=True, binary=True).fetchall()
    assert int(stats[0]["total_query_count"]) >= 0 and stats[-1]["database"] == "pgweir", stats
    query = "SELECT list FROM lists WHERE list = %s AND items > %b LIMIT %s"
    for _ in range(3):
        found = connection.execute(query, ("databases", 2, 5), prepare=True).fetchall()
    assert found == [{"list": "databases"}], found
    assert connection.execute("SHOW client_encoding").fetchone() == {"client_encoding": "UTF8"}
    connection.execute("SET extra_float_digits = 3")
    try:
        connection.execute("SHOW nothing", prepare=True)
    except psycopg.errors.ProtocolViolation as error:
        assert "invalid command 'SHOW nothing', use SHOW HELP;" in str(error), error
    else:
        raise AssertionError("SHOW nothing gave something")
    connection.rollback()
with psycopg.connect(url, autocommit=True) as connection:
    assert connection.execute("RELOAD").statusmessage == "RELOAD"
    assert connection.execute("").statusmessage is None
    notices = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    connection.execute("SHOW HELP")
    assert notices == ["Console usage"], notices

connection = psycopg2.connect(url)
with connection, connection.cursor() as cursor:
    cursor.execute("SHOW DATABASES")
    assert [column.name for column in cursor.description][:3] == ["name", "host", "port"]
    assert len(cursor.fetchall()) == 3
connection.close()


async def with_asyncpg():
    connection = await asyncpg.connect(url)
    for _ in range(2):
        lists = {row["list"]: row["items"] for row in await connection.fetch("SHOW LISTS")}
        assert lists["databases"] == 3 and lists["used_clients"] >= 1, lists
    totals = {row["name"]: row["value"] for row in await connection.fetch("SHOW TOTALS")}
    assert totals["total_xact_count"] == 0 and len(totals) == 24, totals
    query = "SELECT items FROM lists WHERE list = $1 AND items > $2"
    assert [row["items"] for row in await connection.fetch(query, "databases", "2")] == [3]
    assert await connection.fetch(query, "it's none", None) == []
    assert await connection.execute("RELOAD") == "RELOAD"
    try:
        await connection.fetch("SHOW POOLS WHERE x = $1", 1)
    except asyncpg.ProtocolViolationError as error:
        assert "invalid command" in str(error), error
    else:
        raise AssertionError("parameters were taken")
    await connection.close()


asyncio.run(with_asyncpg())
