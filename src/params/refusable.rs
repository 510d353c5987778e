//! Which kinds of session state a statement surely leaves behind: what refusing it goes by. Errs towards "nothing", unlike
//! [`super::traces`]: what is missed here is found behind the transaction, what is refused is lost to its client.

use super::calls;
use super::drivers;
use super::traces::{LONGEST_ARGUMENTS, Traces, Words, comment, contains_word, is_in_word, of_word};

/// A text without what is no code in it, in lower case: literals are emptied, but for names of drivers' parameters and what is false, comments blank, of quoted names the quotes gone. What a DO
/// block runs is code, its statements apart.
pub fn code_of(text: &[u8]) -> Vec<u8> {
    let mut code = Code::default();
    code.take(text, false);
    code.out
}

/// The same of the source of a function.
pub fn code_of_source(source: &[u8]) -> Vec<u8> {
    let mut code = Code::default();
    code.take(source, true);
    code.out
}

/// What the statements of such a text leave by themselves; functions of users that they call aren't looked at.
pub fn of_code(code: &[u8]) -> Traces {
    calls::statements(code).map(of_statement).fold(Traces::NONE, Traces::and)
}

/// Most bytes of `DO LANGUAGE name` in front of what it runs.
const LONGEST_DO: usize = 256;

#[derive(Default)]
struct Code {
    out: Vec<u8>,
    /// Where the statement begins.
    statement: usize,
    /// How many DOs are around it.
    depth: usize,
}

/// Most DOs within each other that are looked into.
const DEEPEST: usize = 16;

impl Code {
    fn take(&mut self, text: &[u8], is_block: bool) {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let rest = &text[at..];
            at += match byte {
                b'\'' => self.literal(rest, false),
                b'"' => self.quoted_name(rest),
                b'$' if !rest.get(1).is_some_and(u8::is_ascii_digit) => self.dollar_quoted(rest),
                b'-' | b'/' if rest.starts_with(b"--") || rest.starts_with(b"/*") => {
                    self.out.push(b' ');
                    Some(comment(rest)).filter(|size| *size > 0).unwrap_or(rest.len())
                }
                _ if is_in_word(byte) => self.word(rest, is_block),
                _ => {
                    self.out.push(byte);
                    if byte == b';' {
                        self.statement = self.out.len();
                    }
                    1
                }
            };
        }
    }

    fn word(&mut self, rest: &[u8], is_block: bool) -> usize {
        let size = rest.iter().take_while(|b| is_in_word(**b)).count();
        let word = rest[..size].to_ascii_lowercase();
        if word == b"e" && rest.get(size) == Some(&b'\'') {
            return size + self.literal(&rest[size..], true);
        }
        if is_block && matches!(&*word, b"begin" | b"then" | b"else" | b"loop") {
            self.end_statement();
        } else {
            self.out.extend_from_slice(&word);
        }
        size
    }

    fn end_statement(&mut self) {
        self.out.push(b';');
        self.statement = self.out.len();
    }

    fn literal(&mut self, rest: &[u8], escapes: bool) -> usize {
        let (mut at, mut body) = (1, Vec::new());
        while let Some(&byte) = rest.get(at) {
            match byte {
                b'\\' if escapes => at += 1,
                b'\'' if rest.get(at + 1) == Some(&b'\'') => {
                    body.push(byte);
                    at += 1;
                }
                b'\'' => break,
                _ => body.push(byte),
            }
            at += 1;
        }
        self.quoted(&body);
        rest.len().min(at + 1)
    }

    fn dollar_quoted(&mut self, rest: &[u8]) -> usize {
        let tag = rest[1..].iter().take_while(|b| is_in_word(**b) && **b != b'$').count() + 2;
        if rest.get(tag - 1) != Some(&b'$') {
            self.out.push(b' ');
            return 1;
        }
        let body = &rest[tag..];
        let end = memchr::memmem::find(body, &rest[..tag]).unwrap_or(body.len());
        self.quoted(&body[..end]);
        rest.len().min(tag + end + tag)
    }

    /// What DO is given runs.
    fn quoted(&mut self, body: &[u8]) {
        let begun = &self.out[self.statement..];
        let mut words = Words::new(begun);
        let runs = self.depth < DEEPEST
            && begun.len() < LONGEST_DO
            && words.next() == Some(b"do")
            && matches!(words.next(), None | Some(b"language"));
        if runs {
            self.end_statement();
            self.depth += 1;
            self.take(body, true);
            self.depth -= 1;
            self.end_statement();
        } else {
            let kept = if drivers::are_own(body) || is_false(body) { body } else { b"" };
            self.out.push(b'\'');
            self.out.extend(kept.iter().map(u8::to_ascii_lowercase));
            self.out.push(b'\'');
        }
    }

    fn quoted_name(&mut self, rest: &[u8]) -> usize {
        let name = &rest[1..];
        let name = &name[..memchr::memchr(b'"', name).unwrap_or(name.len())];
        let is_word = !name.is_empty() && name.iter().all(|b| is_in_word(*b));
        // As a name it is none of SET's words.
        let is_word = is_word && name != b"default";
        let name = if is_word { name.to_ascii_lowercase() } else { b"x".to_vec() };
        self.out.extend_from_slice(&name);
        let size = memchr::memchr(b'"', &rest[1..]).map_or(rest.len(), |end| end + 2);
        rest.len().min(size)
    }
}

fn of_statement(statement: &[u8]) -> Traces {
    let mut words = Words::new(statement);
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match (first, second) {
        (b"set", b"local" | b"transaction" | b"constraints") => Traces::NONE,
        (b"set", _) if resets(statement) => Traces::NONE,
        (b"set", b"seed") => Traces::HIDDEN.and(Traces::FOREVER),
        (b"set", _) if drivers::are_set(statement) => Traces::NONE,
        (b"set", _) => Traces::SETTINGS,
        (b"listen", _) => Traces::CHANNELS,
        (b"prepare", b"transaction") => Traces::NONE,
        (b"prepare", _) => Traces::STATEMENTS,
        (b"load", _) => Traces::HIDDEN.and(Traces::FOREVER),
        (b"declare", _) if contains_word(statement, b"hold") && !contains_word(statement, b"without") => {
            Traces::CURSORS
        }
        (b"create", _) => of_create(statement),
        (b"explain", _) => calls::explained(statement).map_or(Traces::NONE, of_statement),
        (b"update", b"pg_settings") => Traces::SETTINGS,
        (b"select" | b"with", _) if makes_temporary(statement) => Traces::TEMPORARY,
        _ => of_calls(calls::running(statement)),
    }
}

/// Whether a SET takes a value back.
fn resets(statement: &[u8]) -> bool {
    let mut words = Words::new(statement);
    let all: Vec<_> = std::iter::from_fn(|| words.next()).collect();
    let is_none = all.last() == Some(&&b"none"[..]) && all.iter().rev().nth(1) == Some(&&b"role"[..]);
    is_none || matches!(&*all, [.., b"default"] | [.., b"zone", b"local"] | [b"set", b"names"])
}

/// What a CREATE leaves: what is defined by it doesn't run, but for what fills a table.
fn of_create(statement: &[u8]) -> Traces {
    let mut words = Words::new(statement);
    let mut temporary = false;
    let kind = loop {
        match words.next() {
            Some(b"temp" | b"temporary") => temporary = true,
            Some(b"create" | b"or" | b"replace" | b"local" | b"global" | b"unlogged" | b"recursive") => {}
            kind => break kind.unwrap_or_default(),
        }
    };
    let mut names = std::iter::from_fn(|| words.next());
    let name = names.find(|word| !matches!(*word, b"if" | b"not" | b"exists" | b"view")).unwrap_or_default();
    temporary |= name.starts_with(b"pg_temp") && !matches!(kind, b"index" | b"unique" | b"trigger" | b"rule");
    let temporary = if temporary && !drops_on_commit(statement) { Traces::TEMPORARY } else { Traces::NONE };
    let filled = of_calls(calls::running(statement));
    // Parameters go back behind the query of a materialized view.
    temporary.and(if kind == b"table" { filled } else { filled.without(Traces::SETTINGS) })
}

fn drops_on_commit(statement: &[u8]) -> bool {
    let mut words = Words::new(statement);
    let all: Vec<_> = std::iter::from_fn(|| words.next()).collect();
    all.windows(3).any(|three| matches!(three, [b"on", b"commit", b"drop"]))
}

/// Whether a query's result goes INTO a temporary table.
fn makes_temporary(statement: &[u8]) -> bool {
    let mut words = Words::new(statement);
    let all: Vec<_> = std::iter::from_fn(|| words.next()).collect();
    let into = |three: &[&[u8]]| match three {
        [b"into", b"temp" | b"temporary", name] => {
            !matches!(*name, b"values" | b"select" | b"default" | b"overriding" | b"from" | b"where" | b"as")
        }
        [b"into", b"table", name] | [b"into", name, _] => name.starts_with(b"pg_temp"),
        _ => false,
    };
    !all.iter().any(|word| matches!(*word, b"insert" | b"merge")) && all.windows(3).any(into)
}

fn of_calls(statement: &[u8]) -> Traces {
    let (mut found, mut words) = (Traces::NONE, Words::new(statement));
    while let Some((word, behind)) = words.next_with_rest() {
        if !calls::may_be_called(behind) {
            continue;
        }
        let is_lock = word.starts_with(b"pg_advisory_lock") || word.starts_with(b"pg_try_advisory_lock");
        let leaves = match word {
            b"set_config" if third(behind).is_some_and(says_false) && !drivers::are_configured(behind) => {
                Traces::SETTINGS
            }
            b"set_config" => Traces::NONE,
            _ if is_lock => Traces::LOCKS,
            _ => Some(of_word(word, b"", behind)).filter(|t| t.has(Traces::FOREVER)).unwrap_or_default(),
        };
        let end = statement.len() - behind.len();
        if !leaves.is_empty() && calls::is_called(statement, end - word.len(), end) {
            found = found.and(leaves);
        }
    }
    found
}

fn is_false(value: &[u8]) -> bool {
    let words = [&b"false"[..], b"f", b"off", b"no", b"n", b"0"];
    words.iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// Whether an argument is false: the word, or a literal that is read as that.
fn says_false(argument: &[u8]) -> bool {
    let end = memchr::memmem::find(argument, b"::").unwrap_or(argument.len());
    let value = argument[..end].trim_ascii();
    let literal = value.strip_prefix(b"'").and_then(|value| value.strip_suffix(b"'"));
    literal.map_or(value == b"false", is_false)
}

/// A call's third and last argument.
fn third(behind: &[u8]) -> Option<&[u8]> {
    let arguments = behind.trim_ascii_start().strip_prefix(b"(")?;
    let arguments = &arguments[..arguments.len().min(LONGEST_ARGUMENTS)];
    let (mut depth, mut commas, mut last) = (0, 0, 0);
    for (at, byte) in arguments.iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' if depth == 0 => return (commas == 2).then(|| arguments[last..at].trim_ascii()),
            b')' | b']' => depth -= 1,
            b',' if depth == 0 => (commas, last) = (commas + 1, at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_nesting_ends() {
        let nested: String = (0..100_000).map(|level| format!("do $a{level}$")).collect();
        let found = of_code(&code_of(nested.as_bytes()));
        assert_eq!(found, Traces::NONE);
        assert_eq!(of_code(&code_of("SELECT set_config(".repeat(50_000).as_bytes())), Traces::NONE);
    }

    #[test]
    fn what_is_surely_left() {
        for (text, leaves) in [
            ("SET a = 1", Traces::SETTINGS),
            ("SELECT 1; /* x */ LISTEN a", Traces::CHANNELS),
            ("SELECT \"set_config\"('a.b', 'x, y', false)", Traces::SETTINGS),
            ("SET search_path = s1, \"default\"", Traces::SETTINGS),
            ("SELECT set_config('a', 'b', 'f')", Traces::SETTINGS),
            ("SELECT set_config('a', 'b', false :: bool)", Traces::SETTINGS),
            ("SELECT set_config('a', 'b', 'OFF'::boolean)", Traces::SETTINGS),
            ("SET jit.a = 'jit'", Traces::SETTINGS),
            ("SET SESSION search_path = jit", Traces::SETTINGS),
            ("SET SESSION AUTHORIZATION jit", Traces::SETTINGS),
            ("SELECT set_config('jit.a', 'jit', false)", Traces::SETTINGS),
            ("SELECT set_config('jit', 'off', false), set_config(name, 'jit', false)", Traces::SETTINGS),
            ("SET jit = off; SET work_mem = '1MB'", Traces::SETTINGS),
            ("SELECT pg_catalog.pg_try_advisory_lock_shared (1)", Traces::LOCKS),
            ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", Traces::TEMPORARY),
            ("CREATE TABLE IF NOT EXISTS pg_temp.t (a int)", Traces::TEMPORARY),
            ("CREATE TEMP TABLE t ON COMMIT PRESERVE ROWS AS SELECT 1", Traces::TEMPORARY),
            ("CREATE TABLE t AS SELECT pg_advisory_lock(1)", Traces::LOCKS),
            (
                "CREATE MATERIALIZED VIEW v AS SELECT pg_advisory_lock(1), set_config('a', 'b', false)",
                Traces::LOCKS,
            ),
            ("EXPLAIN (ANALYZE, COSTS off) CREATE TEMP TABLE t AS SELECT 1", Traces::TEMPORARY),
            ("SELECT 1 INTO TEMP t", Traces::TEMPORARY),
            ("PREPARE p AS SELECT 1", Traces::STATEMENTS),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Traces::CURSORS),
            ("LOAD 'x'", Traces::HIDDEN.and(Traces::FOREVER)),
            ("SELECT setseed(0.5)", Traces::HIDDEN.and(Traces::FOREVER)),
            ("DO $x$BEGIN IF true THEN CREATE TEMP TABLE t (); END IF; END$x$", Traces::TEMPORARY),
            ("do language plpgsql 'begin perform set_config(''a'', ''b'', false); end'", Traces::SETTINGS),
        ] {
            assert_eq!(of_code(&code_of(text.as_bytes())), leaves, "{text}");
        }
        let source = b"DECLARE x int; BEGIN PERFORM pg_advisory_lock(1); RETURN 'set'; END";
        assert_eq!(of_code(&code_of_source(source)), Traces::LOCKS);
    }

    #[test]
    fn what_leaves_nothing() {
        for text in [
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
            "RESET work_mem",
            "SET work_mem TO DEFAULT",
            "SET SESSION AUTHORIZATION DEFAULT",
            "SET ROLE NONE",
            "SET LOCAL work_mem = '1MB'",
            "SET extra_float_digits = 3; set session DateStyle TO 'ISO'; SET \"TimeZone\" = 'UTC'",
            "SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE; SET NAMES 'utf8'; SET XML OPTION DOCUMENT",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "SELECT current_setting('jit') AS cur, set_config( 'JIT' , 'off', false)",
            "SELECT set_config('TimeZone', $1, false)",
            "SELECT set_config('a', 'f', true), set_config('a', 'b', 't'), set_config('a', 'b', x::bool)",
            "SELECT set_config($1, $2, $3), set_config('a', 'b', true)",
            "SELECT pg_advisory_unlock(1), pg_advisory_xact_lock(2)",
            "BEGIN; CREATE TEMP TABLE t (a int) ON COMMIT DROP; COMMIT",
            "DROP TABLE IF EXISTS pg_temp.x",
            "INSERT INTO temp VALUES (1)",
            "CREATE INDEX ON pg_temp.x (a)",
            "SELECT * FROM pg_temp.x",
            "COMMENT ON TABLE t IS 'x; create temp table y'",
            "SELECT 'pg_advisory_lock(1)', $$; SET a = 1$$, E'\\'; SET a = 1'",
            "SELECT 1 -- ; SET a = 1",
            "/* ; SET a = 1 */ SELECT 1 AS \"; LISTEN x\"",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$SELECT pg_advisory_lock(1)$$",
            "CREATE VIEW v AS SELECT pg_advisory_lock(1)",
            "CREATE TABLE t (a text DEFAULT set_config('a', 'b', false))",
            "ALTER TABLE t ALTER a SET DEFAULT set_config('a', 'b', false)",
            "EXPLAIN SELECT pg_advisory_lock(1)",
            "EXPLAIN CREATE TEMP TABLE t AS SELECT 1",
            "GRANT EXECUTE ON FUNCTION set_config(text, text, bool), pg_advisory_lock(int) TO a",
            "DO $$BEGIN UPDATE t SET a = 1; END$$",
            "SELECT CASE WHEN a THEN load ELSE listen END FROM t",
            "SELECT 'open",
            "SELECT $x$ open",
            "SELECT \"open",
        ] {
            assert_eq!(of_code(&code_of(text.as_bytes())), Traces::NONE, "{text}");
        }
    }
}
