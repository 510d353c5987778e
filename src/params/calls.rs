//! Which functions a text calls when it runs, told from its code ([`super::refusable::code_of`]): what a statement only defines, grants
//! or explains isn't called, nor is a table that has a function's name. Errs towards "not called".

use super::traces::{LONGEST_ARGUMENTS, Words, is_in_word};

/// The statements of a text's code, without those of the functions and rules it makes.
pub fn statements(code: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(code);
    let mut in_body = false;
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let end = end_of_statement(text);
            rest = end.map(|end| &text[end + 1..]);
            let statement = &text[..end.unwrap_or(text.len())];
            if in_body {
                in_body = Words::new(statement).next() != Some(b"end");
                continue;
            }
            in_body = begins_body(statement);
            return Some(statement);
        }
    })
}

/// Where the statement ends that a text begins with: a rule's are within parentheses.
fn end_of_statement(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    text.iter().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *byte == b';' && depth == 0
    })
}

/// Whether a function's body follows. In a DO block BEGIN ends what is before it.
fn begins_body(statement: &[u8]) -> bool {
    let mut words = Words::new(statement);
    match words.next() {
        Some(b"atomic") => true,
        Some(b"create") => {
            let mut before = &b""[..];
            std::iter::from_fn(|| words.next())
                .any(|word| std::mem::replace(&mut before, word) == b"begin" && word == b"atomic")
        }
        _ => false,
    }
}

/// What of a statement calls the functions that it names.
pub fn running(statement: &[u8]) -> &[u8] {
    match Words::new(statement).next().unwrap_or_default() {
        b"create" => filling(statement),
        b"explain" => match explained(statement) {
            Some(text) if Words::new(text).next() == Some(b"create") => filling(text),
            text => text.unwrap_or_default(),
        },
        b"alter" | b"drop" | b"comment" | b"grant" | b"revoke" | b"security" | b"prepare" | b"analyze"
        | b"vacuum" => b"",
        _ => statement,
    }
}

/// What EXPLAIN runs, if it does.
pub fn explained(statement: &[u8]) -> Option<&[u8]> {
    let mut words = Words::new(statement);
    let (_, mut behind) = words.next_with_rest().filter(|(word, _)| *word == b"explain")?;
    let runs = if let Some(options) = behind.trim_ascii_start().strip_prefix(b"(") {
        let end = memchr::memchr(b')', options)?;
        behind = &options[end + 1..];
        options[..end].split(|b| *b == b',').any(|option| {
            let mut words = Words::new(option);
            let is_analyze = matches!(words.next(), Some(b"analyze" | b"analyse"));
            is_analyze && !matches!(words.next(), Some(b"false" | b"off" | b"0"))
        })
    } else {
        let (first, rest) = words.next_with_rest()?;
        behind = rest;
        matches!(first, b"analyze" | b"analyse")
    };
    if Words::new(behind).next() == Some(b"verbose") {
        behind = &behind.trim_ascii_start()[b"verbose".len()..];
    }
    // Of these the query runs, and nothing is declared or prepared.
    let is_other = matches!(Words::new(behind).next(), Some(b"declare" | b"prepare" | b"explain"));
    (runs && !is_other).then_some(behind)
}

/// The query that fills the table or materialized view a CREATE makes; empty if none runs.
fn filling(create: &[u8]) -> &[u8] {
    let mut words = Words::new(create);
    let makes = |word: &[u8]| matches!(word, b"table" | b"materialized");
    let modifies =
        |word: &[u8]| matches!(word, b"create" | b"temp" | b"temporary" | b"local" | b"global" | b"unlogged");
    let kind = std::iter::from_fn(|| words.next()).find(|word| !modifies(word));
    if !kind.is_some_and(makes) {
        return b"";
    }
    let (mut depth, mut counted) = (0_usize, 0);
    let query = std::iter::from_fn(|| words.next_with_rest()).find(|(word, behind)| {
        let end = create.len() - behind.len();
        for byte in &create[counted..end] {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        counted = end;
        depth == 0 && *word == b"as"
    });
    let query = query.map_or(&b""[..], |(_, query)| query);
    let mut words = Words::new(query);
    let mut last = [&b""[..]; 2];
    while let Some(word) = words.next() {
        last = [last[1], word];
    }
    if last == [&b"no"[..], b"data"] { b"" } else { query }
}

/// Whether what follows a name may make it a call.
pub fn may_be_called(behind: &[u8]) -> bool {
    behind.trim_ascii_start().first() == Some(&b'(')
}

/// Whether a statement calls what it names from `start` to `end`.
pub fn is_called(statement: &[u8], start: usize, end: usize) -> bool {
    let behind = &statement[end..];
    may_be_called(behind) && !is_relation(&statement[..start]) && !has_columns(behind)
}

/// Whether a table's name or an alias follows, its schema perhaps in between.
fn is_relation(mut before: &[u8]) -> bool {
    let word = loop {
        before = before.trim_ascii_end();
        let is_schema = before.strip_suffix(b".");
        before = is_schema.unwrap_or(before).trim_ascii_end();
        let size = before.iter().rev().take_while(|b| is_in_word(**b)).count();
        let (front, word) = before.split_at(before.len() - size);
        if is_schema.is_none() || size == 0 {
            break word;
        }
        before = front;
    };
    matches!(word, b"into" | b"as" | b"with" | b"recursive" | b"copy")
}

/// Whether what follows a name are the columns of a query in WITH.
fn has_columns(behind: &[u8]) -> bool {
    const QUERIES: [&[u8]; 8] =
        [b"select", b"with", b"values", b"insert", b"update", b"delete", b"merge", b"table"];
    let columns = behind.trim_ascii_start();
    let columns = &columns[..columns.len().min(LONGEST_ARGUMENTS)];
    let Some(end) = memchr::memchr(b')', columns) else { return false };
    let is_name = |b: &u8| is_in_word(*b) || *b == b',' || b.is_ascii_whitespace();
    let mut words = Words::new(&columns[end..]);
    let mut next = || words.next().unwrap_or_default();
    if !columns[1..end].iter().all(is_name) || next() != b"as" {
        return false;
    }
    let query = std::iter::repeat_with(next).find(|word| !matches!(*word, b"not" | b"materialized"));
    query.is_some_and(|word| QUERIES.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::super::refusable::code_of;
    use super::*;

    fn calls(text: &str) -> bool {
        let code = code_of(text.as_bytes());
        statements(&code).any(|statement| {
            let text = running(statement);
            memchr::memmem::find_iter(text, b"f_set").any(|at| is_called(text, at, at + 5))
        })
    }

    #[test]
    fn what_calls() {
        for text in [
            "SELECT f_set()",
            "SELECT 1; SELECT a.f_set (1)",
            "CREATE TABLE t (a, b) AS SELECT f_set(), 2",
            "CREATE UNLOGGED TABLE IF NOT EXISTS t AS (SELECT f_set())",
            "CREATE MATERIALIZED VIEW v AS SELECT f_set() WITH DATA",
            "EXPLAIN ANALYZE VERBOSE SELECT f_set()",
            "EXPLAIN (COSTS off, ANALYZE) SELECT f_set()",
            "EXPLAIN (ANALYZE) CREATE TABLE t AS SELECT f_set()",
            "DROP FUNCTION f_set(); SELECT f_set()",
            "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT f_set()",
            "INSERT INTO t (a) SELECT f_set()",
            "SELECT * FROM f_set() AS (a int)",
            "SELECT * FROM t JOIN u ON f_set(a)",
            "SELECT * FROM f_set(1) AS f_set(a)",
            "DO $$BEGIN IF a THEN PERFORM f_set(); END IF; END$$",
        ] {
            assert!(calls(text), "{text}");
        }
    }

    #[test]
    fn what_only_names() {
        for text in [
            "DROP FUNCTION f_set(int) CASCADE",
            "ALTER FUNCTION f_set() STABLE",
            "COMMENT ON FUNCTION f_set() IS 'x'",
            "GRANT EXECUTE ON FUNCTION f_set() TO a",
            "REVOKE ALL ON FUNCTION f_set() FROM a",
            "SECURITY LABEL ON FUNCTION f_set() IS 'x'",
            "CREATE OR REPLACE FUNCTION f_set() RETURNS void LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT f_set(); END",
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT f_set())",
            "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f_set()",
            "CREATE TABLE t (a int DEFAULT f_set(), b int GENERATED ALWAYS AS (f_set()) STORED)",
            "CREATE TABLE t AS SELECT f_set() WITH NO  DATA",
            "CREATE VIEW v AS SELECT f_set()",
            "EXPLAIN SELECT f_set()",
            "EXPLAIN (ANALYZE off) SELECT f_set()",
            "EXPLAIN VERBOSE SELECT f_set()",
            "EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT f_set()",
            "PREPARE p AS SELECT f_set()",
            "INSERT INTO s.f_set (a) VALUES (1)",
            "WITH f_set (a, b) AS NOT MATERIALIZED (SELECT 1, 2) SELECT * FROM f_set",
            "WITH x AS (SELECT 1), f_set (a) AS (SELECT 1) SELECT * FROM f_set",
            "SELECT * FROM t AS f_set(a)",
            "COPY f_set (a) FROM STDIN",
            "SELECT f_set",
        ] {
            assert!(!calls(text), "{text}");
        }
        let _ = calls(&"EXPLAIN ANALYZE (".repeat(10_000));
        let _ = calls(&"CREATE TABLE f_set(".repeat(10_000));
    }
}
