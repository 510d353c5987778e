//! Names of custom parameters (`prefix.name`) in texts and in the values of a Bind: PostgreSQL lists them only to who asks by name.

use super::traces::{apostrophes, is_in_word, is_local};
use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use memchr::memmem;
use std::ops::Range;

/// `NAMEDATALEN - 1`.
const LONGEST_PART: usize = 63;

/// Which names a text is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Those it sets or resets by a statement, or by set_config.
    Set,
    /// Beside these, whatever it quotes: what it runs may set that.
    Quoted,
    /// The same of a function's source. A name that it is given is for who calls it to tell.
    Source,
}

/// Calls `name` with the names, in lower case. Whether they are surely all that the text sets: a name it computes, or writes in an unusual
/// way, isn't read (with spaces at the dot, escapes, other than ASCII letters, which PostgreSQL folds by the database's encoding, or very
/// long). What is bound is for [`in_values`].
pub fn in_text(text: &[u8], searched: Where, mut name: impl FnMut(&str)) -> bool {
    let mut text = text.to_ascii_lowercase();
    let (mut at, mut before, mut all) = (0, &b""[..], !hides_names(&text, searched));
    text.retain(|b| *b != b'"');
    let made = if searched == Where::Source { Vec::new() } else { made(&text) };
    while at < text.len() {
        let end = at + text[at..].iter().take_while(|b| is_in_word(**b) || **b == b'.').count();
        let (word, behind) = (&text[at..end], &text[end..]);
        // What is set LOCAL is gone with the transaction.
        let set = matches!(before, b"set" | b"session" | b"reset");
        let quoted = at > 0 && text[at - 1] == b'\'' && behind.first() == Some(&b'\'');
        match plain(word) {
            Some(_) if set && is_cut(before, behind) => all = false,
            Some(custom) if set || quoted && searched != Where::Set => name(custom),
            None if set && !word.is_empty() => {
                all &= !word.contains(&b'.') && behind.trim_ascii_start().first() != Some(&b'.');
            }
            _ => {}
        }
        let called = word.rsplit(|b| *b == b'.').next() == Some(b"set_config");
        if called && behind.trim_ascii_start().starts_with(b"(") && !is_local(behind) {
            all &= match first_literal(behind) {
                Some(literal) => named(literal, &mut name),
                None if searched == Where::Source => is_bound(behind) || is_given(behind, &text),
                None => is_bound(behind) || made.iter().any(|body| body.contains(&at)),
            };
        }
        if !word.is_empty() {
            before = word;
        }
        at = end.max(at + 1);
    }
    all
}

/// The same of a piece of a text too long to be read word by word: only what begins a statement as a SET or RESET does, or calls
/// set_config. What it quotes is data, as likely as not.
pub fn in_piece(piece: &[u8], mut name: impl FnMut(&str)) -> bool {
    let mut all = true;
    // Up to where its name has been told: what is behind is data again.
    let mut look = |at: usize, end: fn(&[u8]) -> Option<usize>| {
        let head = &piece[at..piece.len().min(at + HEAD)];
        let end = end(head).map_or(head.len(), |end| end + 1);
        // 'set ' || …
        let is_cut =
            head[..end].strip_suffix(b" '").is_some_and(|set| set.iter().all(u8::is_ascii_alphabetic));
        all &= !is_cut && in_text(&head[..end], Where::Set, &mut name);
    };
    for at in memchr::memchr2_iter(b'e', b'E', piece) {
        let Some(from) = at.checked_sub(1).filter(|s| piece[*s].eq_ignore_ascii_case(&b's')) else {
            continue;
        };
        if begins_with(&piece[from..], b"set_config") {
            look(from, |head| memchr::memchr(b',', head));
        } else if begins_with(&piece[from..], b"set") || begins_with(&piece[from..], b"session") {
            // Of RESET, too, the last letters.
            let before = if from >= 2 && begins_with(&piece[from - 2..], b"reset") { from - 2 } else { from };
            if begins_statement(&piece[..before]) {
                look(before, |head| memchr::memchr3(b'=', b';', b'\'', head));
            }
        }
    }
    all
}

/// How much is read behind what begins a statement: its words, and a name.
const HEAD: usize = 256;

fn begins_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
}

/// Whether what stands in front of a word lets a statement begin there: nothing, the end of another, or BEGIN in a function's body.
fn begins_statement(before: &[u8]) -> bool {
    let lines = before.iter().rev().take_while(|b| b.is_ascii_whitespace()).any(|b| *b == b'\n');
    let before = before.trim_ascii_end();
    let begin = before.len().checked_sub(5).is_some_and(|at| begins_with(&before[at..], b"begin"));
    let opened = before.last().is_none_or(|last| b";'$".contains(last)) || before.ends_with(b"*/");
    // A comment may end with its line, and a statement begin on the next.
    opened || begin || lines
}

/// The same of the values of a Bind of this text. Only those that set_config names are looked at, if the text tells which: others
/// may be anything. Of a Bind that isn't whole they aren't all.
pub fn in_values(text: &[u8], bind: &[u8], mut name: impl FnMut(&str)) -> bool {
    let values = values(bind);
    let (Some(numbers), Ok(values)) = (named_by(text), &values) else {
        let bind = bind.to_ascii_lowercase();
        let words = bind.split(|b| !is_in_word(*b) && *b != b'.');
        words.filter_map(plain).for_each(&mut name);
        return values.is_ok();
    };
    numbers.iter().all(|number| {
        let value = number.checked_sub(1).and_then(|at| values.get(at)).copied().flatten();
        value.is_none_or(|value| named(&value.to_ascii_lowercase(), &mut name))
    })
}

/// Whether this can be a custom parameter's name: two or more identifiers joined by dots.
pub fn is_custom(name: &[u8]) -> bool {
    let part = |part: &[u8]| {
        part.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_' || *b >= 0x80)
            && part.iter().all(|b| is_in_word(*b))
    };
    name.len() < 128 && name.contains(&b'.') && name.split(|b| *b == b'.').all(part)
}

/// Whether a name that a SET or RESET in a literal has is put together: the literal ends with it, and a SET needs a value.
fn is_cut(before: &[u8], behind: &[u8]) -> bool {
    let closed = apostrophes(behind);
    closed > 0 && (before != b"reset" || behind[closed..].trim_ascii_start().starts_with(b"||"))
}

/// A name that is the same in every encoding, and however it is written: of identifiers PostgreSQL reads 63 bytes.
fn plain(name: &[u8]) -> Option<&str> {
    let short = |part: &[u8]| part.len() <= LONGEST_PART;
    let is_plain = name.is_ascii() && is_custom(name) && name.split(|b| *b == b'.').all(short);
    str::from_utf8(name).ok().filter(|_| is_plain)
}

/// What set_config is told: whether it is understood.
fn named(told: &[u8], name: &mut impl FnMut(&str)) -> bool {
    if let Some(custom) = plain(told) {
        name(custom);
        return true;
    }
    !told.contains(&b'.')
}

/// The first argument of what follows a function's name, if that is a literal without escapes and nothing more; its quotes are
/// doubled where the call itself is within a literal.
fn first_literal(behind: &[u8]) -> Option<&[u8]> {
    let arguments = behind.trim_ascii_start().strip_prefix(b"(")?.trim_ascii_start();
    let ends = |text: &[u8]| {
        let text = text.trim_ascii_start();
        text.starts_with(b",") || text.starts_with(b"::")
    };
    let opened = apostrophes(arguments);
    let literal = &arguments[opened..];
    if opened > 1 && ends(literal) {
        return Some(b"");
    }
    let (literal, behind) = literal.split_at(memchr::memchr(b'\'', literal)?);
    let closed = apostrophes(behind);
    (opened > 0 && opened == closed && ends(&behind[closed..])).then_some(literal)
}

/// Whether names may be written by escapes: `U&"…"`, and in what is quoted for others to run U&'…' and E'\056'.
fn hides_names(text: &[u8], searched: Where) -> bool {
    let (mut name, mut unicode, mut escape) = (false, (false, false), (false, false));
    for (at, three) in text.windows(3).enumerate() {
        let [first, second, _] = *three else { continue };
        name |= three == b"u&\"";
        unicode.0 |= three == b"u&'";
        // An e that ends a word opens nothing: behind 'TimeZone' it is the literal that ends.
        escape.0 |=
            first == b'e' && second == b'\'' && !at.checked_sub(1).is_some_and(|at| is_in_word(text[at]));
        unicode.1 |= first == b'\\' && (second.is_ascii_hexdigit() || second == b'+');
        escape.1 |= first == b'\\' && (second.is_ascii_digit() || matches!(second, b'x' | b'u'));
    }
    name || searched != Where::Set && (unicode == (true, true) || escape == (true, true))
}

/// Where the bodies of functions are that a text makes: they don't run with it.
fn made(text: &[u8]) -> Vec<Range<usize>> {
    let mut bodies: Vec<Range<usize>> = Vec::new();
    for word in [&b"function"[..], b"procedure"] {
        for at in memmem::find_iter(text, word) {
            let before = text[..at].trim_ascii_end();
            if !before.ends_with(b"create") && !before.ends_with(b"replace") {
                continue;
            }
            let Some(from) = memchr::memchr(b'$', &text[at..]).map(|from| at + from) else { continue };
            let Some(size) = memchr::memchr(b'$', &text[from + 1..]).map(|size| size + 2) else { continue };
            let (tag, body) = text[from..].split_at(size);
            let end = memmem::find(body, tag).unwrap_or(body.len());
            bodies.push(from..from + size + end);
        }
    }
    bodies
}

/// What set_config is told first, if that is one word or parameter and no more.
fn first_word(behind: &[u8]) -> Option<&[u8]> {
    let arguments = behind.trim_ascii_start().strip_prefix(b"(")?.trim_ascii_start();
    let (word, behind) = arguments.split_at(arguments.iter().take_while(|b| is_in_word(**b)).count());
    let behind = behind.trim_ascii_start();
    let ends = behind.starts_with(b",") || behind.starts_with(b"::");
    (ends && !word.is_empty()).then_some(word)
}

/// Whether set_config is told its name by a parameter.
fn is_bound(behind: &[u8]) -> bool {
    let digits = first_word(behind).and_then(|word| word.strip_prefix(b"$"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// Whether a function takes the name it tells set_config from who calls it: it declares no such variable and gives it no value.
fn is_given(behind: &[u8], source: &[u8]) -> bool {
    let Some(name) = first_word(behind) else { return false };
    let own = memmem::find_iter(source, name).any(|at| {
        let (before, behind) = (source[..at].trim_ascii_end(), &source[at + name.len()..]);
        let in_word = |b: Option<&u8>| b.is_some_and(|b| is_in_word(*b));
        let apart = !in_word(at.checked_sub(1).and_then(|at| source.get(at))) && !in_word(behind.first());
        let next = behind.trim_ascii_start();
        let assigned = next.starts_with(b":=") || next.starts_with(b"=") && before.ends_with(b";");
        let taken = [&b"into"[..], b"for", b"foreach", b"declare"].iter().any(|w| before.ends_with(w));
        let declared = [&b"text"[..], b"varchar", b"name", b"record", b"character", b"constant", b"alias"];
        apart && (assigned || taken || declared.iter().any(|kind| next.starts_with(kind)))
    });
    !own
}

/// The numbers of the parameters that tell set_config its names; `None` if there may be other ways to one.
fn named_by(text: &[u8]) -> Option<Vec<usize>> {
    let text = text.to_ascii_lowercase();
    let mut numbers = Vec::new();
    for at in memmem::find_iter(&text, "set_config") {
        let behind = &text[at + "set_config".len()..];
        if first_literal(behind).is_some() {
            continue;
        }
        let arguments =
            behind.trim_ascii_start().strip_prefix(b"(")?.trim_ascii_start().strip_prefix(b"$")?;
        let digits = arguments.iter().take_while(|b| b.is_ascii_digit()).count();
        let ends = arguments[digits..].trim_ascii_start();
        if !ends.starts_with(b",") && !ends.starts_with(b"::") {
            return None;
        }
        numbers.push(str::from_utf8(&arguments[..digits]).ok()?.parse().ok()?);
    }
    (!numbers.is_empty()).then_some(numbers)
}

/// The values of a Bind, `None` for NULL.
///
/// # Errors
/// When it isn't whole.
fn values(bind: &[u8]) -> Result<Vec<Option<&[u8]>>, WireError> {
    let mut c = Cursor::new(bind);
    for _portal_and_statement in 0..2 {
        c.cstr()?;
    }
    let formats = c.u16()?;
    c.bytes(2 * usize::from(formats))?;
    let count = c.u16()?;
    (0..count).map(|_| usize::try_from(c.i32()?).ok().map(|size| c.bytes(size)).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, searched: Where) -> (Vec<String>, bool) {
        let mut names = Vec::new();
        let all = in_text(text.as_bytes(), searched, |name| names.push(name.to_owned()));
        (names, all)
    }

    #[test]
    fn names_that_are_set() {
        let set = |text| names(text, Where::Set);
        let all = |names: &[&str]| (names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), true);
        assert_eq!(
            set("SET App.Tenant = 1; set session a.b to 2;RESET c.d"),
            all(&["app.tenant", "a.b", "c.d"])
        );
        assert_eq!(set("SET x = 1; SET \"App\".\"x\" = 1; RESET \"a.y\""), all(&["app.x", "a.y"]));
        let call = "SELECT set_config('app.x', 'user1.name', false) FROM s.t WHERE z = 'a.b.c' AND v = '1.5'";
        assert_eq!(set(call), all(&["app.x"]));
        assert_eq!(names(call, Where::Quoted), all(&["app.x", "app.x", "user1.name", "a.b.c"]));
        // What they name is another's to say, or gone with the transaction.
        assert_eq!(set("SELECT pg_catalog.set_config('app.x', 'y', false)"), all(&["app.x"]));
        assert_eq!(set("SELECT set_config($1, $2, false), set_config($3::text, 'y', $4)"), all(&[]));
        assert_eq!(set("SELECT set_config('app.' || 'x', 'y', true), E'\\n', 'set_config'"), all(&[]));
        assert_eq!(set("SELECT set_config('app.größe', 'y', true)"), all(&[]));
        assert_eq!(set("SET work_mem = '1.5MB'; UPDATE t SET a = b.c"), all(&[]));
    }

    #[test]
    fn names_that_cannot_be_read() {
        let long = format!("SET app.{} = 1", "x".repeat(64));
        for text in [
            "SET app .spaced = 'x'",
            "SET app. spaced = 'x'",
            "SET app.größe = 'x'",
            "SELECT set_config('app.größe', 'x', false)",
            "SELECT set_config('app. x', 'x', false)",
            "SELECT set_config('app. x'::text, 'x', $1)",
            "SELECT set_config('ap' || 'p.x', 'y', false)",
            "SELECT set_config($1 || '.x', 'y', false)",
            "SELECT set_config(key, value, false) FROM json_each_text($1)",
            "SELECT set_config(concat('app', '.x'), 'y', false)",
            "SELECT set_config(E'app\\056x', 'y', false)",
            "SELECT set_config(U&'app\\002ex', 'y', false)",
            "SET U&\"\\0061pp.x\" = 1",
            &long,
        ] {
            assert!(!names(text, Where::Set).1, "{text}");
        }
    }

    #[test]
    fn names_in_what_is_run() {
        for (text, searched, all) in [
            (
                "DO $$DECLARE k text := 'app'; BEGIN PERFORM set_config(k || '.x', 'y', false); END$$",
                Where::Quoted,
                false,
            ),
            ("DO $$BEGIN PERFORM set_config(k, 'y', false); END$$", Where::Quoted, false),
            ("SELECT set_tenant(E'app\\056x')", Where::Quoted, false),
            (
                "EXECUTE p; SELECT '\\x41ff'::bytea; SELECT set_config('TimeZone', 'UTC', false)",
                Where::Quoted,
                true,
            ),
            ("SELECT set_tenant(E'app\\056x', 'TimeZone')", Where::Quoted, false),
            ("DO $$BEGIN EXECUTE 'set app.t_' || '17=5'; END$$", Where::Quoted, false),
            ("SELECT dyn('set ' || 'app.t' || '_13=5')", Where::Quoted, false),
            ("SELECT dyn('set app.t = 5; reset app.u')", Where::Quoted, true),
            ("SELECT dyn('reset app.' || 'u')", Where::Quoted, false),
            ("SELECT f_run('SELECT set_config(''role'', ''r2'', false)')", Where::Quoted, true),
            ("SELECT f_run('SELECT set_config('''', ''r2'', false)')", Where::Quoted, true),
            ("SELECT f_run('SELECT set_config(''a''||''.b'', ''r2'', false)')", Where::Quoted, false),
            ("SELECT set_config('it''s.x', 'y', false)", Where::Quoted, false),
            ("SELECT set_tenant('app.x', E'a\\nb')", Where::Quoted, true),
            (
                "CREATE OR REPLACE FUNCTION f(k text) RETURNS text LANGUAGE sql AS $f$SELECT set_config(k, 'y', false)$f$",
                Where::Quoted,
                true,
            ),
            ("CREATE FUNCTION f() AS $$$$; SELECT set_config(k, 'y', false)", Where::Quoted, false),
            ("BEGIN PERFORM set_config(k, v, false); END", Where::Source, true),
            ("SELECT set_config($1, $2, false)", Where::Source, true),
            ("BEGIN PERFORM set_config('app.' || k, v, false); END", Where::Source, false),
            ("BEGIN PERFORM set_config(r.k, v, false); END", Where::Source, false),
            ("DECLARE k text; BEGIN PERFORM set_config(k, v, false); END", Where::Source, false),
            ("BEGIN k := 'app.' || v; PERFORM set_config(k, v, false); END", Where::Source, false),
            (
                "BEGIN FOR k IN SELECT 1 LOOP PERFORM set_config(k, v, false); END LOOP; END",
                Where::Source,
                false,
            ),
        ] {
            assert_eq!(names(text, searched).1, all, "{text}");
        }
    }

    #[test]
    fn names_in_pieces_of_long_texts() {
        let names = |text: &str| {
            let mut names = Vec::new();
            let all = in_piece(text.as_bytes(), |name| names.push(name.to_owned()));
            (names.join(" "), all)
        };
        for (text, found, all) in [
            ("SET app.x = 'xxx", "app.x", true),
            (
                "; reset app.y; INSERT INTO t VALUES ('we set e.g. foo.bar, locally', 'john.doe', 'offset a.b')",
                "app.y",
                true,
            ),
            ("DO $$BEGIN SET app.x = 1; set session b.c = 2; END$$", "app.x b.c", true),
            ("INSERT INTO t SELECT 'a', set_config('app.d', 'xxxx", "app.d", true),
            ("INSERT INTO t SELECT set_config('app.' || v, 'xxxx", "", false),
            ("SET U&\"\\0061pp.x\" = 1", "", false),
            ("VALUES ('set app.x')", "", false),
            ("VALUES ('to set app.x'), ('set', 'a.b')", "", true),
            ("SELECT 1; -- c\n  set app.x='z'", "app.x", true),
            ("SELECT dyn('set app.x=''z''')", "app.x", true),
            ("DO $$BEGIN EXECUTE 'set ' || 'app.' || 'x=5'; END$$", "", false),
        ] {
            assert_eq!(names(text), (found.to_owned(), all), "{text}");
        }
    }

    #[test]
    fn names_that_are_bound() {
        let bind = |values: &[&str]| {
            let mut body = b"portal\0name\0\0\x01\0\0\0".to_vec();
            body.push(u8::try_from(values.len()).unwrap());
            for value in values {
                body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
            body.extend_from_slice(b"\0\0");
            body
        };
        let bound = |text: &str, values: &[&str]| {
            let mut names = Vec::new();
            let all = in_values(text.as_bytes(), &bind(values), |name| names.push(name.to_owned()));
            (names.join(" "), all)
        };
        let call = "SELECT set_config($1, $2, false)";
        assert_eq!(bound(call, &["App.x", "john.doe"]), ("app.x".into(), true));
        assert_eq!(bound(call, &["work_mem", "john.doe"]), (String::new(), true));
        assert_eq!(bound(call, &["app.größe", "x"]), (String::new(), false));
        assert_eq!(bound("SELECT set_config($2::text, $1, false)", &["a.b", "c.d"]), ("c.d".into(), true));
        let any = "SELECT set_config(a || $1, $2, false)";
        assert_eq!(bound(any, &["a.b", "c.d"]), ("a.b c.d".into(), true));
        let mut cut = Vec::new();
        assert!(!in_values(call.as_bytes(), &bind(&["a.b", "c.d"])[..25], |name| cut.push(name.to_owned())));
        assert_eq!(cut, ["a.b"]);
        assert_eq!(values(b"p\0s\0\0\0\0\x01\xff\xff\xff\xff\0\0"), Ok(vec![None]));
    }
}
