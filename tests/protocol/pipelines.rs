//! The pipelines both sides are given: simple and extended queries, portals, COPY, and the rest of the protocol.
#![expect(clippy::too_many_lines, reason = "tables")]

use crate::support::messages::{
    self, bind, close_portal, close_statement, copy_data, copy_done, copy_fail, describe_portal,
    describe_statement, execute, flush, function_call, parse, parse_typed, query, sync,
};
use crate::support::oracle::{Piece, Pipeline, Until};

/// The table stays the same one, so that its oid is.
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, word text); TRUNCATE t; GRANT ALL ON t TO PUBLIC";
const ROWS: &str = "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, word text); TRUNCATE t; GRANT ALL ON t TO PUBLIC; \
                    INSERT INTO t SELECT n, 'word ' || n FROM generate_series(1, 10) n";
/// textlen(text) → int4
const TEXTLEN: u32 = 1257;

pub(crate) fn simple() -> Vec<Pipeline> {
    let one = |name, sql: &str| Pipeline::once(name, &[query(sql)]);
    vec![
        one("one row", "SELECT 1 AS one, NULL AS none, 'ä' AS text"),
        one("several statements", "SELECT 1; SELECT 2 WHERE false; SELECT 3, 4"),
        one("error in the second of three", "SELECT 1; SELECT 1/0; SELECT 3"),
        one("syntax error", "SELEKT 1"),
        one("empty", ""),
        one("only blanks and semicolons", " ; ;; "),
        one("only a comment", "-- nothing"),
        one("a notice", "DO $$BEGIN RAISE NOTICE 'seen % and %', 1, 2; END$$"),
        one("many notices", "DO $$BEGIN FOR n IN 1..300 LOOP RAISE NOTICE 'number %', n; END LOOP; END$$"),
        one(
            "an error with detail and hint",
            "DO $$BEGIN RAISE 'bad' USING DETAIL = 'd', HINT = 'h', ERRCODE = '22012'; END$$",
        ),
        one("warning outside a transaction", "ROLLBACK"),
        one("a large row", "SELECT repeat('x', 3000000)"),
        one("many small rows", "SELECT n, repeat('y', n % 100) FROM generate_series(1, 20000) n"),
        one("many columns", &format!("SELECT {}", vec!["1"; 1000].join(","))),
        one("a transaction in one message", "BEGIN; SELECT 1; COMMIT"),
        one("a failed transaction in one message", "BEGIN; SELECT 1/0; COMMIT"),
        one("a long text", &format!("SELECT length('{}')", "z".repeat(200_000))),
        one(
            "DDL and DML tags",
            "INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET word = 'c'; DELETE FROM t",
        )
        .setup(TABLE),
        Pipeline::new(
            "a transaction in several messages, with an error in it",
            TABLE,
            [
                "BEGIN",
                "INSERT INTO t VALUES (1)",
                "SELECT 1/0",
                "SELECT 1",
                "ROLLBACK",
                "SELECT count(*) FROM t",
            ]
            .map(|sql| Piece(query(sql), Until::Ready(1)))
            .to_vec(),
        ),
        Pipeline::new(
            "savepoints",
            TABLE,
            [
                "BEGIN",
                "SAVEPOINT a",
                "SELECT 1/0",
                "ROLLBACK TO a",
                "INSERT INTO t VALUES (1)",
                "COMMIT",
                "TABLE t",
            ]
            .map(|sql| Piece(query(sql), Until::Ready(1)))
            .to_vec(),
        ),
        Pipeline::new(
            "queries sent without waiting",
            "",
            vec![Piece((0..50).flat_map(|n| query(&format!("SELECT {n}"))).collect(), Until::Ready(50))],
        ),
        Pipeline::new(
            "transactions sent without waiting",
            TABLE,
            vec![Piece(
                (0..20)
                    .flat_map(|n| ["BEGIN".into(), format!("INSERT INTO t VALUES ({n})"), "COMMIT".into()])
                    .flat_map(|sql: String| query(&sql))
                    .collect(),
                Until::Ready(60),
            )],
        ),
    ]
}

pub(crate) fn extended() -> Vec<Pipeline> {
    let all = |name: &str, statement: &str, parameters: &[Option<&str>]| {
        [bind(name, statement, parameters), describe_portal(name), execute(name, 0)].concat()
    };
    vec![
        Pipeline::once("unnamed", &[parse("", "SELECT $1::int + 1"), all("", "", &[Some("41")]), sync()]),
        Pipeline::once("named", &[parse("s", "SELECT $1::text"), all("", "s", &[Some("x")]), sync()]),
        Pipeline::once("NULL parameter", &[parse("s", "SELECT $1::text"), all("", "s", &[None]), sync()]),
        Pipeline::once(
            "typed parameters",
            &[parse_typed("s", "SELECT $1, $2", &[23, 25]), describe_statement("s"), sync()],
        ),
        Pipeline::once(
            "describe statement without rows",
            &[parse("s", "BEGIN"), describe_statement("s"), sync()],
        ),
        Pipeline::once("empty query", &[parse("", ""), all("", "", &[]), sync()]),
        Pipeline::once("a lone Sync", &[sync()]),
        Pipeline::new("Syncs alone", "", vec![Piece([sync(), sync(), sync()].concat(), Until::Ready(3))]),
        Pipeline::once("close what is not there", &[close_statement("nope"), close_portal("nope"), sync()]),
        Pipeline::once(
            "error in Parse, the rest is skipped",
            &[parse("s", "SELEKT"), all("", "s", &[]), sync()],
        ),
        Pipeline::once("error in Bind", &[parse("s", "SELECT $1::int"), all("", "s", &[Some("x")]), sync()]),
        Pipeline::once(
            "error in Execute",
            &[parse("s", "SELECT 1/$1::int"), all("", "s", &[Some("0")]), sync()],
        ),
        Pipeline::once(
            "wrong number of parameters",
            &[parse("s", "SELECT $1::int"), all("", "s", &[]), sync()],
        ),
        Pipeline::once("unknown statement", &[all("", "nope", &[]), sync()]),
        Pipeline::once("describe an unknown statement", &[describe_statement("nope"), sync()]),
        Pipeline::once("unknown portal", &[execute("nope", 0), sync()]),
        Pipeline::once("describe an unknown portal", &[describe_portal("nope"), sync()]),
        Pipeline::once(
            "duplicate Parse",
            &[parse("s", "SELECT 1"), parse("s", "SELECT 2"), all("", "s", &[]), sync()],
        ),
        Pipeline::once(
            "duplicate Parse with a syntax error",
            &[parse("s", "SELECT 1"), parse("s", "SELEKT 2"), sync()],
        ),
        Pipeline::once(
            "closed and parsed again",
            &[
                parse("s", "SELECT 1"),
                close_statement("s"),
                parse("s", "SELECT 2"),
                all("", "s", &[]),
                sync(),
            ],
        ),
        Pipeline::new(
            "a failed Parse leaves no name",
            "",
            vec![
                Piece([parse("s", "SELEKT"), sync()].concat(), Until::Ready(1)),
                Piece([parse("s", "SELECT 1"), all("", "s", &[]), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "an error ahead of a Parse leaves no name",
            "",
            vec![
                Piece([parse("", "SELEKT"), parse("s", "SELECT 1"), sync()].concat(), Until::Ready(1)),
                Piece([all("", "s", &[]), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "two errors in one write",
            "",
            vec![Piece(
                [
                    parse("a", "SELEKT"),
                    sync(),
                    parse("a", "SELECT 1"),
                    all("", "a", &[]),
                    sync(),
                    all("", "b", &[]),
                    sync(),
                ]
                .concat(),
                Until::Ready(3),
            )],
        ),
        Pipeline::new(
            "Flush after each message",
            "",
            vec![
                Piece([parse("s", "SELECT $1::int"), flush()].concat(), Until::Count(b'1', 1)),
                Piece([describe_statement("s"), flush()].concat(), Until::Count(b'T', 1)),
                Piece([bind("p", "s", &[Some("7")]), flush()].concat(), Until::Count(b'2', 1)),
                Piece([describe_portal("p"), flush()].concat(), Until::Count(b'T', 1)),
                Piece([execute("p", 0), flush()].concat(), Until::Count(b'C', 1)),
                Piece([close_portal("p"), close_statement("s"), flush()].concat(), Until::Count(b'3', 2)),
                Piece(sync(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "an error at a Flush, then Sync",
            "",
            vec![
                Piece([parse("s", "SELEKT"), flush()].concat(), Until::Count(b'E', 1)),
                Piece([parse("s", "SELECT 1"), flush(), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "Flush only, then Sync later",
            "",
            vec![
                Piece([parse("s", "SELECT 1"), all("", "s", &[]), flush()].concat(), Until::Count(b'C', 1)),
                Piece([all("", "s", &[]), flush()].concat(), Until::Count(b'C', 1)),
                Piece(sync(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "the unnamed statement lives on",
            "",
            vec![
                Piece([parse("", "SELECT $1::text"), sync()].concat(), Until::Ready(1)),
                Piece([all("", "", &[Some("a")]), sync()].concat(), Until::Ready(1)),
                Piece([all("", "", &[Some("b")]), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "a simple query ends the unnamed statement",
            "",
            vec![
                Piece([parse("", "SELECT 1"), sync()].concat(), Until::Ready(1)),
                Piece(query("SELECT 2"), Until::Ready(1)),
                Piece([all("", "", &[]), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "a named statement over transactions",
            "",
            vec![
                Piece([parse("s", "SELECT $1::int"), sync()].concat(), Until::Ready(1)),
                Piece(query("BEGIN"), Until::Ready(1)),
                Piece([all("", "s", &[Some("1")]), sync()].concat(), Until::Ready(1)),
                Piece(query("ROLLBACK"), Until::Ready(1)),
                Piece([all("", "s", &[Some("2")]), sync()].concat(), Until::Ready(1)),
                Piece([close_statement("s"), sync()].concat(), Until::Ready(1)),
                Piece([all("", "s", &[Some("3")]), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "many executions without waiting",
            ROWS,
            vec![Piece(
                std::iter::once(parse("s", "SELECT word FROM t WHERE id = $1"))
                    .chain((0..200).map(|n| [all("", "s", &[Some(&(n % 12).to_string())]), sync()].concat()))
                    .collect::<Vec<_>>()
                    .concat(),
                Until::Ready(200),
            )],
        ),
        Pipeline::new(
            "many statements",
            "",
            vec![Piece(
                (0..300)
                    .map(|n| {
                        [
                            parse(&format!("s{n}"), &format!("SELECT {n}")),
                            all("", &format!("s{n}"), &[]),
                            sync(),
                        ]
                        .concat()
                    })
                    .collect::<Vec<_>>()
                    .concat(),
                Until::Ready(300),
            )],
        ),
        Pipeline::once("simple query between Parse and Sync", &[parse("s", "SELECT 1"), query("SELECT 2")]),
        Pipeline::once(
            "a large parameter",
            &[parse("s", "SELECT length($1)"), all("", "s", &[Some(&"x".repeat(1_000_000))]), sync()],
        ),
    ]
}

/// Statements and their names: what a pooler has to keep in step with PostgreSQL.
pub(crate) fn statements() -> Vec<Pipeline> {
    let run = |name: &str| [bind("", name, &[]), execute("", 0)].concat();
    let long = |last: &str| format!("{}{last}", "n".repeat(69));
    vec![
        Pipeline::once(
            "an error names the statement as the client did, one of two with one text",
            &[parse("a", "SELECT $1"), parse("b", "SELECT $1"), run("b"), sync()],
        ),
        Pipeline::once(
            "an error names a name of which PostgreSQL ignores the end",
            &[parse(&long("a"), "SELECT $1"), parse(&long("b"), "SELECT 2"), sync()],
        ),
        Pipeline::once(
            "an error names a statement closed behind it",
            &[parse("a", "SELECT $1"), parse("a", "SELECT 2"), sync(), close_statement("a"), flush()],
        ),
        Pipeline::new(
            "a skipped simple query leaves the unnamed statement",
            "",
            vec![
                Piece([parse("", "SELECT 1"), sync()].concat(), Until::Ready(1)),
                Piece([run("nope"), query("SELECT 2"), sync()].concat(), Until::Ready(1)),
                Piece([run(""), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "a text known already, parsed in a transaction just failed",
            "",
            vec![Piece(
                [
                    [parse("a", "SELECT 1"), sync(), query("BEGIN"), query("SELECT 1/0")].concat(),
                    [parse("b", "SELECT 1"), sync(), query("ROLLBACK")].concat(),
                ]
                .concat(),
                Until::Ready(5),
            )],
        ),
        Pipeline::new(
            "DEALLOCATE ALL, then the same names again",
            "",
            vec![
                Piece([parse("a", "SELECT 1"), parse("", "SELECT 2"), sync()].concat(), Until::Ready(1)),
                Piece([query("DEALLOCATE ALL")].concat(), Until::Ready(1)),
                Piece([run("a"), sync(), parse("a", "SELECT 1"), run("a"), sync()].concat(), Until::Ready(2)),
                Piece(query("DISCARD ALL"), Until::Ready(1)),
                Piece([parse("a", "SELECT 3"), run("a"), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "DEALLOCATE ALL and Parses sent at once",
            "",
            vec![
                Piece([parse("a", "SELECT 1"), sync()].concat(), Until::Ready(1)),
                Piece(
                    [
                        [query("DEALLOCATE ALL"), parse("b", "SELECT 2"), run("b"), sync()].concat(),
                        [parse("a", "SELECT 3"), run("a"), sync()].concat(),
                    ]
                    .concat(),
                    Until::Ready(3),
                ),
                Piece([run("a"), run("b"), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::once("a name like pgweir's own", &[describe_statement("pgweir_1"), sync()]),
        Pipeline::once(
            "a name with one like pgweir's own in it",
            &[parse("a", "SELECT 1"), describe_statement("my_pgweir_1"), sync()],
        ),
    ]
}

pub(crate) fn portals() -> Vec<Pipeline> {
    let rows = "SELECT * FROM t ORDER BY id";
    vec![
        Pipeline::once(
            "suspended and continued",
            &[
                parse("", rows),
                bind("p", "", &[]),
                execute("p", 3),
                execute("p", 3),
                execute("p", 0),
                execute("p", 3),
                sync(),
            ],
        )
        .setup(ROWS),
        Pipeline::new(
            "continued over Syncs in a transaction",
            ROWS,
            vec![
                Piece(query("BEGIN"), Until::Ready(1)),
                Piece(
                    [parse("s", rows), bind("p", "s", &[]), execute("p", 4), sync()].concat(),
                    Until::Ready(1),
                ),
                Piece([execute("p", 4), sync()].concat(), Until::Ready(1)),
                Piece([close_portal("p"), execute("p", 4), sync()].concat(), Until::Ready(1)),
                Piece(query("ROLLBACK"), Until::Ready(1)),
            ],
        ),
        Pipeline::once(
            "two portals interleaved",
            &[
                parse("s", rows),
                bind("a", "s", &[]),
                bind("b", "s", &[]),
                execute("a", 1),
                execute("b", 2),
                execute("a", 1),
                execute("b", 2),
                sync(),
            ],
        )
        .setup(ROWS),
        Pipeline::new(
            "a portal does not outlive its transaction",
            ROWS,
            vec![
                Piece(
                    [parse("s", rows), bind("p", "s", &[]), execute("p", 1), sync()].concat(),
                    Until::Ready(1),
                ),
                Piece([execute("p", 1), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::once(
            "duplicate portal",
            &[parse("s", rows), bind("p", "s", &[]), bind("p", "s", &[]), sync()],
        )
        .setup(ROWS),
        Pipeline::new("a cursor in a transaction", ROWS, {
            [
                "BEGIN",
                "DECLARE c CURSOR FOR TABLE t",
                "FETCH 2 FROM c",
                "MOVE 3 IN c",
                "FETCH ALL FROM c",
                "CLOSE c",
                "COMMIT",
            ]
            .map(|sql| Piece(query(sql), Until::Ready(1)))
            .to_vec()
        }),
    ]
}

pub(crate) fn copies() -> Vec<Pipeline> {
    let line = |n: usize| copy_data(format!("{n}\tword {n}\n").as_bytes());
    let lines = |n: usize| (0..n).flat_map(line).collect::<Vec<u8>>();
    vec![
        Pipeline::once("COPY out", &[query("COPY t TO STDOUT")]).setup(ROWS),
        Pipeline::once(
            "COPY out, large",
            &[query("COPY (SELECT repeat('x', 500) FROM generate_series(1, 5000)) TO STDOUT")],
        ),
        Pipeline::once(
            "COPY out between others",
            &[query("SELECT 1; COPY t TO STDOUT WITH CSV HEADER; SELECT 2")],
        )
        .setup(ROWS),
        Pipeline::once("COPY out, binary", &[query("COPY t TO STDOUT (FORMAT binary)")]).setup(ROWS),
        Pipeline::once(
            "COPY out fails on the way",
            &[query("COPY (SELECT 1/(500 - n) FROM generate_series(1, 900) n) TO STDOUT")],
        ),
        Pipeline::new(
            "COPY in",
            TABLE,
            vec![
                Piece(query("COPY t FROM STDIN"), Until::Count(b'G', 1)),
                Piece([lines(1000), copy_done()].concat(), Until::Ready(1)),
                Piece(query("SELECT count(*), max(word) FROM t"), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "COPY in with all sent at once",
            TABLE,
            vec![Piece(
                [query("COPY t FROM STDIN"), lines(10), copy_done(), query("SELECT count(*) FROM t")]
                    .concat(),
                Until::Ready(2),
            )],
        ),
        Pipeline::new(
            "COPY in fails by the client",
            TABLE,
            vec![
                Piece(query("COPY t FROM STDIN"), Until::Count(b'G', 1)),
                Piece([lines(3), copy_fail("changed my mind")].concat(), Until::Ready(1)),
                Piece(query("SELECT count(*) FROM t"), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "COPY in fails by its data, more data follows",
            TABLE,
            vec![
                Piece(query("COPY t FROM STDIN"), Until::Count(b'G', 1)),
                Piece([copy_data(b"x\ty\n"), lines(2000), copy_done()].concat(), Until::Ready(1)),
                Piece(query("SELECT count(*) FROM t"), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "COPY in, Flush and Sync within are ignored",
            TABLE,
            vec![
                Piece(query("COPY t FROM STDIN"), Until::Count(b'G', 1)),
                Piece([line(1), flush(), sync(), line(2), copy_done()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "COPY in by the extended protocol",
            TABLE,
            vec![
                Piece(
                    [parse("", "COPY t FROM STDIN"), bind("", "", &[]), execute("", 0), flush()].concat(),
                    Until::Count(b'G', 1),
                ),
                Piece([lines(5), copy_done(), sync()].concat(), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "COPY in by the extended protocol with its Sync sent ahead",
            TABLE,
            vec![
                Piece(
                    [parse("", "COPY t FROM STDIN"), bind("", "", &[]), execute("", 0), sync()].concat(),
                    Until::Count(b'G', 1),
                ),
                Piece([lines(5), copy_done(), sync()].concat(), Until::Ready(1)),
                Piece(query("SELECT count(*) FROM t"), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "statements behind a COPY in with its Sync sent ahead",
            TABLE,
            vec![
                Piece(
                    [
                        [parse("", "COPY t FROM STDIN"), bind("", "", &[]), execute("", 0), sync()].concat(),
                        [lines(5), copy_done(), sync()].concat(),
                    ]
                    .concat(),
                    Until::Ready(1),
                ),
                Piece(
                    [parse("s", "SELECT 1"), bind("", "s", &[]), execute("", 0), sync()].concat(),
                    Until::Ready(1),
                ),
            ],
        ),
        Pipeline::new(
            "late copy data outside a copy",
            "",
            vec![
                Piece([copy_data(b"x"), copy_done(), copy_fail("x")].concat(), Until::Nothing),
                Piece(query("SELECT 1"), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "a message of one long line",
            TABLE,
            vec![
                Piece(query("COPY t (id, word) FROM STDIN"), Until::Count(b'G', 1)),
                Piece(
                    [copy_data(format!("1\t{}\n", "w".repeat(5_000_000)).as_bytes()), copy_done()].concat(),
                    Until::Ready(1),
                ),
                Piece(query("SELECT length(word) FROM t"), Until::Ready(1)),
            ],
        ),
    ]
}

pub(crate) fn others() -> Vec<Pipeline> {
    vec![
        Pipeline::once("function call", &[function_call(TEXTLEN, &["four"])]),
        Pipeline::once("function call that fails", &[function_call(1, &[])]),
        Pipeline::new(
            "function call in a transaction",
            "",
            vec![
                Piece(query("BEGIN"), Until::Ready(1)),
                Piece(function_call(TEXTLEN, &["four"]), Until::Ready(1)),
                Piece(query("COMMIT"), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "parameter changes are reported",
            "",
            vec![
                Piece(query("SET TimeZone = 'Asia/Tokyo'"), Until::Ready(1)),
                Piece(query("SHOW TimeZone"), Until::Ready(1)),
                Piece(query("SET application_name = 'it''s me'"), Until::Ready(1)),
                Piece(query("RESET TimeZone"), Until::Ready(1)),
            ],
        ),
        Pipeline::new(
            "a notification to oneself",
            "",
            vec![
                Piece(query("LISTEN a"), Until::Ready(1)),
                Piece(query("NOTIFY a, 'payload'"), Until::Count(b'A', 1)),
            ],
        ),
        Pipeline::new("Terminate ends it", "", vec![Piece(messages::terminate(), Until::Closed)]),
        Pipeline::new(
            "Terminate behind a query",
            "",
            vec![Piece([query("SELECT 1"), messages::terminate()].concat(), Until::Closed)],
        ),
    ]
}
