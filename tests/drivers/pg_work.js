// A day's work by node-postgres: NODE_PATH=… node pg_work.js URL; prints ok.
"use strict";
const assert = require("node:assert");
const crypto = require("node:crypto");
const { Client, Pool } = require("pg");

const url = process.argv[2];
const table = "t_" + crypto.randomUUID().replaceAll("-", "");

async function basics(client) {
  await client.query(`CREATE TABLE ${table} (id int PRIMARY KEY, word text, tags text[], doc jsonb, raw bytea)`);
  const raw = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  for (let n = 0; n < 50; n++) {
    await client.query({
      name: "insert",
      text: `INSERT INTO ${table} VALUES ($1, $2, $3, $4, $5)`,
      values: [n, `wörd ${n}`, ["a", `b${n}`], { n }, raw],
    });
  }
  for (let n = 0; n < 30; n++) {
    const { rows } = await client.query({ name: "by id", text: `SELECT * FROM ${table} WHERE id = $1`, values: [n] });
    assert.deepStrictEqual(rows, [{ id: n, word: `wörd ${n}`, tags: ["a", `b${n}`], doc: { n }, raw }]);
  }
  const several = await client.query("SELECT 1 AS one; SELECT 2 AS two");
  assert.deepStrictEqual(several.map((result) => result.rows), [[{ one: 1 }], [{ two: 2 }]]);
  const big = await client.query("SELECT $1::text AS big", ["x".repeat(5_000_000)]);
  assert.strictEqual(big.rows[0].big.length, 5_000_000);
}

async function transactions(client) {
  await client.query("BEGIN");
  await client.query(`DELETE FROM ${table}`);
  await client.query("ROLLBACK");
  await client.query("BEGIN");
  await client.query("SAVEPOINT a");
  await assert.rejects(client.query(`INSERT INTO ${table} (id) VALUES ($1)`, [1]), { code: "23505" });
  await client.query("ROLLBACK TO a");
  await client.query(`INSERT INTO ${table} (id) VALUES (1000)`);
  await client.query("COMMIT");
  const { rows } = await client.query(`SELECT count(*)::int AS n FROM ${table}`);
  assert.strictEqual(rows[0].n, 51);
  await assert.rejects(client.query({ name: "fails", text: "SELECT 1/$1::int", values: [0] }), { code: "22012" });
  await assert.rejects(client.query({ name: "broken", text: "SELEKT" }), { code: "42601" });
  assert.strictEqual((await client.query({ name: "broken", text: "SELECT 1 AS one" })).rows[0].one, 1);
}

async function concurrently(pool, number) {
  for (let n = 0; n < 30; n++) {
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      const { rows } = await client.query({
        name: "update",
        text: `UPDATE ${table} SET word = $1 WHERE id = $2 RETURNING word`,
        values: [`${number} ${n}`, number],
      });
      assert.strictEqual(rows[0].word, `${number} ${n}`);
      await client.query("COMMIT");
    } finally {
      client.release();
    }
  }
}

async function main() {
  const client = new Client({ connectionString: url });
  await client.connect();
  await basics(client);
  await transactions(client);
  const pool = new Pool({ connectionString: url, max: 12 });
  await Promise.all(Array.from({ length: 24 }, (_, number) => concurrently(pool, number)));
  await pool.end();
  await client.query(`DROP TABLE ${table}`);
  await client.end();
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
