//! What a statement may leave behind in its session, told from its text and its command tag. Errs towards "something".

use super::context;
use super::traces::{self, Traces};
use aho_corasick::AhoCorasick;
use aho_corasick::packed::{Config, MatchKind, Searcher};

/// Words in a text that PostgreSQL's command tag can't show: functions that change or tell session state, temporary objects.
const TELLTALES: [&str; 13] = [
    "set_config",
    "advisory",
    "temp",
    "dblink",
    "setseed",
    "replication_",
    "pg_settings",
    "u&\"",
    "currval",
    "lastval",
    "nextval",
    "setval",
    "_backup",
];

/// Longest text that is looked at, in bytes; a longer one counts as leaving something behind.
pub const LONGEST_SCAN: usize = 64 * 1024;

/// Text looked at in one go: folded on the stack, since only a case-sensitive search is a fast one.
const WINDOW: usize = 256;

/// Texts are padded to a multiple of this: a search through whole blocks needs no slow beginning or end.
const BLOCK: usize = 64;

/// Windows overlap by one byte less than the longest telltale, so that none is missed between two.
const OVERLAP: usize = 11;

/// Sets the bit in which upper and lower case differ. It makes more bytes equal than a lower case would, `_` and DEL for
/// one, so it may find a word that isn't there, never miss one that is.
const FOLD: u8 = 0x20;

/// Looks for telltale words in statement texts.
#[derive(Debug)]
pub struct Scanner {
    words: Words,
}

/// The telltales, folded.
#[derive(Debug)]
enum Words {
    /// By vector instructions, several bytes at a time.
    Packed(Searcher),
    /// Byte by byte, for processors without them.
    Plain(AhoCorasick),
}

impl Words {
    fn new() -> Self {
        let folded = folded();
        let packed = Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(&folded).build();
        packed.map_or_else(|| Self::plain(&folded), Self::Packed)
    }

    fn plain(folded: &[Vec<u8>]) -> Self {
        Self::Plain(AhoCorasick::new(folded).expect("a handful of short constant words build an automaton"))
    }

    #[inline]
    fn are_in(&self, text: &[u8]) -> bool {
        match self {
            Self::Packed(words) => words.find(text).is_some(),
            Self::Plain(words) => words.is_match(text),
        }
    }
}

/// As texts are when words are looked for in them.
fn folded() -> [Vec<u8>; TELLTALES.len()] {
    TELLTALES.map(|word| word.bytes().map(|b| b | FOLD).collect())
}

impl Default for Scanner {
    fn default() -> Self {
        debug_assert!(TELLTALES.iter().all(|word| word.len() <= OVERLAP + 1));
        Self { words: Words::new() }
    }
}

impl Scanner {
    /// What a statement with this text may leave behind that its command tag doesn't show.
    #[inline]
    pub fn traces(&self, text: &[u8]) -> Traces {
        if text.len() > LONGEST_SCAN {
            return of_long(text);
        }
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        let text = text.strip_suffix(b";").unwrap_or(text);
        if self.finds_telltale(text) || may_set(text) { looked_at(text) } else { Traces::NONE }
    }

    /// Whether nothing in the text can leave session state: no telltale, and a beginning that no statement has which does.
    #[inline]
    pub fn is_plain(&self, text: &[u8]) -> bool {
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        let text = text.strip_suffix(b";").unwrap_or(text);
        let begins = |three: [u8; 3]| may_set_by(three) || matches!(&three, b"dec" | b"loa" | b"lis");
        text.len() <= LONGEST_SCAN && !self.finds_telltale(text) && !first_letters(text).is_some_and(begins)
    }

    /// Whether one of the words is in the text, or a semicolon: several statements.
    #[inline]
    fn finds_telltale(&self, mut text: &[u8]) -> bool {
        loop {
            let mut window = [0; WINDOW];
            let here = text.len().min(WINDOW);
            window[..here].copy_from_slice(&text[..here]);
            let padded = &mut window[..here.next_multiple_of(BLOCK)];
            for block in padded.as_chunks_mut::<BLOCK>().0 {
                block.iter_mut().for_each(|b| *b |= FOLD);
            }
            let several = padded.iter().fold(false, |any, b| any | (*b == b';'));
            if several || self.words.are_in(padded) {
                return true;
            }
            if here == text.len() {
                return false;
            }
            text = &text[here - OVERLAP..];
        }
    }
}

/// What a text that is too long to be looked at may leave behind: anything, and it may ask for the last value of a sequence if it has
/// the words for it.
#[cold]
pub fn of_long(text: &[u8]) -> Traces {
    let asks = |at: usize| {
        let word = at.checked_sub(4).and_then(|from| text.get(from..at + 3));
        word.is_some_and(|w| w.eq_ignore_ascii_case(b"currval") || w.eq_ignore_ascii_case(b"lastval"))
    };
    let anything = Traces::ALL.and(Traces::CONTEXT);
    let may_ask = memchr::memchr2_iter(b'v', b'V', text).any(asks);
    if may_ask { anything.and(Traces::SEQUENCES) } else { anything }
}

/// Whether a text begins as those statements do that change parameters or name prepared statements, as far as three letters
/// tell.
#[inline]
fn may_set(text: &[u8]) -> bool {
    first_letters(text).is_some_and(may_set_by)
}

/// The first three letters behind spaces and comments, folded.
#[inline]
fn first_letters(text: &[u8]) -> Option<[u8; 3]> {
    let text =
        if text.first().is_some_and(u8::is_ascii_alphabetic) { text } else { traces::behind_blank(text) };
    text.first_chunk::<3>().map(|letters| letters.map(|b| b | FOLD))
}

#[inline]
fn may_set_by(letters: [u8; 3]) -> bool {
    matches!(
        letters,
        [b's', b'e', b't']
            | [b'r', b'e', b's']
            | [b'd', b'o', _]
            | [b'c', b'a', b'l']
            | [b'd', b'e', b'a']
            | [b'd', b'i', b's']
            | [b'e', b'x', b'e' | b'p']
            | [b'p', b'r', b'e']
            | [b'c', b'r', b'e']
    )
}

#[cold]
fn looked_at(text: &[u8]) -> Traces {
    let text = traces::behind_blank(text);
    let told = Traces::LOOKED_AT.and(traces::resets(text)).and(context::moved_by(text));
    if traces::is_local_set(text) {
        // What is created with pg_temp in front of the search_path is temporary, and its command tag doesn't tell.
        let temporary = traces::of_text(text).within(Traces::TEMPORARY);
        return told.and(Traces::LOCAL_SET).and(temporary);
    }
    let named = if traces::is_plain(text) { Traces::NAMED_SET } else { Traces::NONE };
    traces::of_text(text).and(named).and(told)
}

/// What a command tag tells about the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing outlives the transaction.
    None,
    /// Session state of these kinds may have changed.
    Left(Traces),
    /// DEALLOCATE ALL: no prepared statement is left.
    StatementsGone,
    /// DISCARD SEQUENCES: no last value of a sequence is left.
    SequencesGone,
    /// DISCARD ALL: nothing is left.
    AllGone,
}

/// Whether a CommandComplete's tag is one of those that are nearly all there are and have no effect. No other tag begins so.
#[inline(always)]
pub fn is_commonly_clean(tag: &[u8]) -> bool {
    matches!(tag.first_chunk::<6>(), Some(b"SELECT" | b"INSERT" | b"UPDATE" | b"DELETE" | b"COMMIT"))
}

/// Reads the tag of a CommandComplete (without its zero byte).
#[inline]
pub fn effect(tag: &[u8]) -> Effect {
    if is_commonly_clean(tag) { Effect::None } else { rare_effect(tag) }
}

fn rare_effect(tag: &[u8]) -> Effect {
    let word = &tag[..memchr::memchr(b' ', tag).unwrap_or(tag.len())];
    match word {
        b"BEGIN" | b"ROLLBACK" | b"MERGE" | b"COPY" | b"FETCH" | b"SAVEPOINT" | b"RELEASE" | b"START"
        | b"MOVE" | b"CLOSE" | b"SHOW" | b"EXPLAIN" | b"CREATE" | b"ALTER" | b"DROP" | b"TRUNCATE"
        | b"GRANT" | b"REVOKE" | b"COMMENT" | b"ANALYZE" | b"VACUUM" | b"REINDEX" | b"CLUSTER" | b"LOCK"
        | b"NOTIFY" | b"CHECKPOINT" | b"REFRESH" | b"SECURITY" | b"REASSIGN" | b"IMPORT" => Effect::None,
        _ => match tag {
            b"DISCARD ALL" => Effect::AllGone,
            b"DEALLOCATE ALL" => Effect::StatementsGone,
            b"DISCARD SEQUENCES" => Effect::SequencesGone,
            b"SET CONSTRAINTS" | b"PREPARE TRANSACTION" | b"DISCARD PLANS" => Effect::None,
            b"SET" | b"RESET" => Effect::Left(Traces::SETTINGS),
            b"LISTEN" | b"UNLISTEN" => Effect::Left(Traces::CHANNELS),
            b"PREPARE" | b"DEALLOCATE" => Effect::Left(Traces::STATEMENTS),
            b"DECLARE CURSOR" => Effect::Left(Traces::CURSORS),
            b"LOAD" => Effect::Left(Traces::HIDDEN.and(Traces::FOREVER)),
            b"DISCARD TEMP" => Effect::Left(Traces::TEMPORARY),
            _ => Effect::Left(Traces::ALL),
        },
    }
}

/// What a command with this tag may have made: a function, or another way to one, which may have been used at once; or a role.
/// Or what it may have changed or dropped, so that statements made before give something else.
#[inline]
pub fn remakes(tag: &[u8]) -> Traces {
    match tag.first_chunk::<4>() {
        Some(b"CREA" | b"ALTE" | b"DROP") => makes(tag).and(reshapes(tag)),
        _ => Traces::NONE,
    }
}

#[cold]
fn reshapes(tag: &[u8]) -> Traces {
    let kinds: [&[u8]; 12] = [
        b"TABLE",
        b"VIEW",
        b"MATERIALIZED VIEW",
        b"FOREIGN TABLE",
        b"TYPE",
        b"DOMAIN",
        b"FUNCTION",
        b"PROCEDURE",
        b"ROUTINE",
        b"SCHEMA",
        b"EXTENSION",
        b"OWNED",
    ];
    let behind = tag.strip_prefix(b"ALTER ").or_else(|| tag.strip_prefix(b"DROP "));
    // A view may be replaced, with more columns; other things have to be dropped first.
    let reshapes = behind.is_some_and(|kind| kinds.contains(&kind)) || tag == b"CREATE VIEW";
    if reshapes { Traces::RESHAPED.and(Traces::CONTEXT) } else { Traces::NONE }
}

#[cold]
fn makes(tag: &[u8]) -> Traces {
    let Some(behind) = tag.strip_prefix(b"CREATE ").or_else(|| tag.strip_prefix(b"ALTER ")) else {
        return Traces::NONE;
    };
    if matches!(behind, b"ROLE" | b"DATABASE") {
        return Traces::REMADE;
    }
    let makes: [&[u8]; 12] = [
        b"FUNCTION",
        b"PROCEDURE",
        b"ROUTINE",
        b"AGGREGATE",
        b"TRIGGER",
        b"VIEW",
        b"MATERIALIZED VIEW",
        b"RULE",
        b"POLICY",
        b"EXTENSION",
        b"SCHEMA",
        b"DOMAIN",
    ];
    let makes = makes.contains(&behind) || tag.ends_with(b" TABLE") || tag.ends_with(b" INDEX");
    if makes { Traces::ALL.and(Traces::REMADE) } else { Traces::NONE }
}

/// Whether a command with this tag may have taken values from sequences.
pub fn advances(tag: &[u8]) -> bool {
    matches!(tag.first_chunk::<4>(), Some(b"INSE" | b"MERG" | b"COPY" | b"CALL")) || tag == b"DO"
}

/// What a command with this tag may have ended of the kinds that hold a client on its server.
pub fn ends(tag: &[u8]) -> Traces {
    match memchr::memchr(b' ', tag).map_or(tag, |end| &tag[..end]) {
        b"DROP" => Traces::TEMPORARY,
        b"CLOSE" => Traces::CURSORS,
        _ => Traces::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::super::refusable;
    use super::*;

    #[test]
    fn tags() {
        for clean in [
            "SELECT 1",
            "INSERT 0 1",
            "BEGIN",
            "COPY 5",
            "SET CONSTRAINTS",
            "CREATE TABLE",
            "COMMIT PREPARED",
            "START TRANSACTION",
            "PREPARE TRANSACTION",
        ] {
            assert_eq!(effect(clean.as_bytes()), Effect::None, "{clean}");
        }
        for dirty in [
            "SET",
            "RESET",
            "LISTEN",
            "UNLISTEN",
            "PREPARE",
            "DEALLOCATE",
            "DECLARE CURSOR",
            "DO",
            "CALL",
            "LOAD",
            "DISCARD TEMP",
            "",
            "FUTURE COMMAND",
        ] {
            assert!(matches!(effect(dirty.as_bytes()), Effect::Left(_)), "{dirty}");
        }
        for (tag, reshapes) in [
            ("ALTER TABLE", true),
            ("DROP VIEW", true),
            ("CREATE VIEW", true),
            ("ALTER TYPE", true),
            ("CREATE TABLE", false),
            ("DROP INDEX", false),
            ("ALTER ROLE", false),
            ("DELETE 5", false),
        ] {
            assert_eq!(remakes(tag.as_bytes()).has(Traces::RESHAPED), reshapes, "{tag}");
        }
        assert_eq!(effect(b"DISCARD ALL"), Effect::AllGone);
        assert_eq!(effect(b"DEALLOCATE ALL"), Effect::StatementsGone);
    }

    #[test]
    fn long_and_local_texts() {
        let long = |begin: &str| of_long(&[begin.as_bytes(), &vec![b'v'; LONGEST_SCAN]].concat());
        assert!(long("INSERT INTO t VALUES (CurrVal('s'), '").has(Traces::SEQUENCES));
        assert!(!long("INSERT INTO t VALUES (1, 'values").has(Traces::SEQUENCES));
        let local = Scanner::default().traces(b"SET LOCAL search_path = pg_temp");
        assert!(local.has(Traces::LOCAL_SET) && local.has(Traces::TEMPORARY));
    }

    #[test]
    fn texts() {
        for scanner in [Scanner::default(), Scanner { words: Words::plain(&folded()) }] {
            finds_what_leaves_state(&scanner);
        }
    }

    #[test]
    fn a_set_behind_spaces_and_comments_is_one() {
        for text in [
            "SET a.b = 1",
            " set a.b = 1",
            "\n\t reset a.b",
            "/* by /* me */ */ SET a.b = 1",
            "-- mine\n DO $$$$",
        ] {
            assert!(may_set(text.as_bytes()), "{text}");
        }
        for text in ["SELECT 1", " SELECT 1", "/* SET */ SELECT 1", "-- SET", "/* SET", "", " ", "(SELECT 1)"]
        {
            assert!(!may_set(text.as_bytes()), "{text}");
        }
    }

    fn finds_what_leaves_state(scanner: &Scanner) {
        for dirty in [
            "create TEMPORARY table x()",
            "select Set_Config('a','b',false)",
            "SELECT pg_try_advisory_lock(1)",
            "select * into pg_temp.x",
        ] {
            assert!(!scanner.traces(dirty.as_bytes()).is_empty(), "{dirty}");
            assert!(!scanner.is_plain(dirty.as_bytes()), "{dirty}");
        }
        assert!(scanner.traces(b"SELECT abalance FROM pgbench_accounts WHERE aid = 1;\0").is_empty());
        assert!(scanner.is_plain(b"SELECT abalance FROM pgbench_accounts WHERE aid = 1;\0"));
        // What is refused must not pass for plain.
        for leaves in ["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "load 'x'", "LISTEN a", "/* b */ Listen a"]
        {
            let traces = refusable::of_code(&refusable::code_of(leaves.as_bytes()));
            assert!(!traces.is_empty() && !scanner.is_plain(leaves.as_bytes()), "{leaves}");
        }
        assert!(!scanner.traces(b"SELECT 1; SET a = 1;\0").is_empty());
        assert_eq!(scanner.traces(&vec![b' '; LONGEST_SCAN + 1]), Traces::ALL.and(Traces::CONTEXT));
        assert!(TELLTALES.iter().all(|word| word.len() <= OVERLAP + 1));
        for at in 0..1100 {
            let text = [&vec![b' '; at], &b"PG_Replication_Origin"[..], &[b'y'; 700]].concat();
            assert!(scanner.traces(&text).has(Traces::HIDDEN), "missed at {at}");
        }
    }
}
