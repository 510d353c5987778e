//! Messages whose bodies don't hold what their type has: PostgreSQL answers by an ERROR and goes on behind the next Sync.

use crate::support::messages::{bind, copy_data, copy_done, execute, message, parse, query, sync};
use crate::support::oracle::{Piece, Pipeline, Until};

/// What to call it, its type and its body.
type Malformed = (&'static str, u8, &'static [u8]);

const BODIES: &[Malformed] = &[
    ("Parse without a body", b'P', b""),
    ("Parse without the end of its name", b'P', b"name"),
    ("Parse without the end of its text", b'P', b"name\0SELECT 1"),
    ("Parse without types", b'P', b"name\0SELECT 1\0"),
    ("Parse with too few types", b'P', b"name\0SELECT 1\0\0\x02\0\0\0\x17"),
    ("Parse with bytes behind its end", b'P', b"name\0SELECT 1\0\0\0more"),
    ("Parse of the unnamed with bytes behind its end", b'P', b"\0SELECT 1\0\0\0more"),
    ("Parse with as many types as can be", b'P', b"\0SELECT 1\0\xff\xff\0\0\0\x17"),
    ("Parse in no encoding", b'P', b"name\0SELECT '\xff'\0\0\0"),
    ("Bind without a body", b'B', b""),
    ("Bind without the end of a name", b'B', b"\0s"),
    ("Bind without formats", b'B', b"\0s\0"),
    ("Bind with too few formats", b'B', b"\0s\0\0\x02\0\0"),
    ("Bind with too many formats", b'B', b"\0s\0\0\x02\0\0\0\0\0\x01\0\0\0\x011\0\0"),
    ("Bind with too few values", b'B', b"\0s\0\0\0\0\x01"),
    ("Bind with more values than there are parameters", b'B', b"\0s\0\0\0\0\x02\0\0\0\x011\0\0\0\x012\0\0"),
    ("Bind with a value that ends too early", b'B', b"\0s\0\0\0\0\x01\0\0\0\x7f1\0\0"),
    ("Bind with a value of negative length", b'B', b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
    ("Bind without formats of results", b'B', b"\0s\0\0\0\0\x01\0\0\0\x011"),
    ("Bind with bytes behind its end", b'B', b"\0s\0\0\0\0\x01\0\0\0\x011\0\0more"),
    ("Describe without a body", b'D', b""),
    ("Describe of a bad kind", b'D', b"Xs\0"),
    ("Describe without the end of the name", b'D', b"Ss"),
    ("Describe of a portal without its name", b'D', b"P"),
    ("Describe with bytes behind its end", b'D', b"Ss\0more"),
    ("Describe of a portal with bytes behind its end", b'D', b"P\0more"),
    ("Execute without a body", b'E', b""),
    ("Execute without a limit", b'E', b"\0"),
    ("Execute with half a limit", b'E', b"\0\0\0"),
    ("Execute with bytes behind its end", b'E', b"\0\0\0\0\0more"),
    ("Close without a body", b'C', b""),
    ("Close of a bad kind", b'C', b"Xs\0"),
    ("Close without the end of the name", b'C', b"Ss"),
    ("Close with bytes behind its end", b'C', b"Ss\0more"),
    ("Flush with a body", b'H', b"more"),
    ("Sync with a body", b'S', b"more"),
    ("Query without a body", b'Q', b""),
    ("Query without an end", b'Q', b"SELECT 1"),
    ("Query with a text behind its end", b'Q', b"SELECT 1\0SELECT 2\0"),
    ("Query of what ends a statement with a text behind its end", b'Q', b"DEALLOCATE s\0more"),
    ("FunctionCall without a body", b'F', b""),
    ("FunctionCall that is too short", b'F', b"\0\0\x04"),
];

/// Alone, behind what has been done in its batch, and within a transaction; and what is behind it sees a session that has gone on.
pub(crate) fn malformed() -> Vec<Pipeline> {
    let short = BODIES.iter().map(|(name, tag, body)| (*name, *tag, body.to_vec()));
    let long =
        [("", 100_000), ("name", 100_000), ("", 2_000_000), ("name", 2_000_000)].map(|(name, length)| {
            let text = format!("{name}\0SELECT 1 -- {}\0", "x".repeat(length));
            ("long Parse with too few types", b'P', [text.as_bytes(), &[0, 2, 0, 0, 0, 23]].concat())
        });
    let all = short.chain(long).flat_map(|(name, tag, body)| {
        let wrong = message(tag, &body);
        // These end by a ReadyForQuery of their own.
        let ends = matches!(tag, b'S' | b'Q' | b'F');
        let end = |ready: usize| Until::Ready(ready + usize::from(ends));
        let prepare = || Piece([parse("s", "SELECT $1::int"), sync()].concat(), Until::Ready(1));
        let runs = || {
            let run = [bind("", "s", &[Some("7")]), execute("", 0), sync(), query("SELECT 'still here'")];
            Piece(run.concat(), Until::Ready(2))
        };
        let text = "SELECT 'skipped'";
        let skipped = [parse("later", text), bind("", "later", &[]), execute("", 0), sync()].concat();
        let in_batch = [parse("t", "SELECT 1"), bind("", "t", &[]), execute("", 0), wrong.clone(), sync()];
        let transaction = |then: &[u8]| Piece([query("BEGIN"), then.to_vec()].concat(), end(2));
        let case = |pieces| Pipeline::new(name, "", pieces);
        [
            case(vec![Piece([wrong.clone(), sync()].concat(), end(1)), prepare(), runs()]),
            case(vec![prepare(), Piece([wrong.clone(), skipped].concat(), end(1)), runs()]),
            case(vec![prepare(), Piece(in_batch.concat(), end(1)), runs()]),
            case(vec![
                prepare(),
                transaction(&[wrong, sync()].concat()),
                runs(),
                Piece(query("ROLLBACK"), Until::Ready(1)),
                runs(),
            ]),
        ]
    });
    all.chain([in_copy(b'H'), in_copy(b'S')]).collect()
}

/// In front of COPY data, where PostgreSQL ignores it.
fn in_copy(tag: u8) -> Pipeline {
    let copy = "COPY pg_temp.malformed FROM STDIN";
    let begun = [query("BEGIN; CREATE TEMP TABLE malformed (n int)"), parse("", copy), bind("", "", &[])];
    let data = [execute("", 0), message(tag, b"more"), copy_data(b"1\n"), copy_done(), sync()];
    let end =
        [query("SELECT count(*) FROM pg_temp.malformed"), query("ROLLBACK"), query("SELECT 'still here'")];
    let all = [begun.concat(), data.concat(), end.concat()].concat();
    Pipeline::new("a body in front of COPY data", "", vec![Piece(all, Until::Ready(5))])
}
