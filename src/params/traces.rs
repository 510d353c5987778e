//! Which kinds of session state a statement may leave behind, told from its text. Errs towards "something".

use memchr::memmem;

/// Kinds of session state, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traces(u32);

impl Traces {
    /// Nothing outlives the transaction.
    pub const NONE: Self = Self(0);
    /// Parameters, role and session authorization.
    pub const SETTINGS: Self = Self(1);
    /// Session-level advisory locks.
    pub const LOCKS: Self = Self(2);
    /// Temporary objects.
    pub const TEMPORARY: Self = Self(4);
    /// Cursors WITH HOLD.
    pub const CURSORS: Self = Self(8);
    /// Channels listened to.
    pub const CHANNELS: Self = Self(16);
    /// Statements of PREPARE.
    pub const STATEMENTS: Self = Self(32);
    /// What PostgreSQL doesn't show, custom parameters of unknown names for one.
    pub const HIDDEN: Self = Self(64);
    /// What ties a client to its server for as long as it has it: it can't be moved to another.
    pub const PINS: Self = Self(2 | 4 | 8 | 32 | 8192 | 1_048_576);
    /// Whatever PostgreSQL can show.
    pub const SHOWN: Self = Self(63);
    /// What makes it worth a look at the session behind a transaction.
    pub const LOOKED_BEHIND: Self = Self(63 | 2048 | 8192 | 131_072 | 262_144 | 1_048_576);
    /// Anything at all.
    pub const ALL: Self = Self(127);
    /// No kind of state, on the contrary: the statement is a SET whose command tag says more than it does.
    pub const LOCAL_SET: Self = Self(128);
    /// No kind of state either: whatever custom parameter the statement's SETs and RESETs change, it is known by name.
    pub const NAMED_SET: Self = Self(256);
    /// The words of the text were looked at.
    pub const LOOKED_AT: Self = Self(512);
    /// No kind of state: the statement is DEALLOCATE, DISCARD, PREPARE or EXECUTE, or such a one may be in it.
    pub const NAMES: Self = Self(1024);
    /// No kind of state: functions, triggers or views may have been made, or roles.
    pub const REMADE: Self = Self(2048);
    /// No kind of state: the statement asks for the session's own last value of a sequence.
    pub const SEQUENCES: Self = Self(4096);
    /// What PostgreSQL neither shows nor gives back: libraries loaded, dblink's connections, replication origins, temporary
    /// replication slots, a backup under way, the seed of random(). A session has it to its end. Beside HIDDEN, never alone.
    pub const FOREVER: Self = Self(8192);
    /// A custom parameter that nobody could ask PostgreSQL for: its name isn't known. A session has it until it resets all. Beside
    /// HIDDEN, never alone.
    pub const NAMELESS: Self = Self(1_048_576);
    /// The same, and that it is hidden.
    pub const UNREAD: Self = Self(64 | 1_048_576);
    /// What ties a client to its server whatever PostgreSQL shows.
    pub const LASTING: Self = Self(8192 | 1_048_576);
    /// No kind of state, on the contrary: all parameters went back to their defaults, nameless ones with them.
    pub const ALL_RESET: Self = Self(2_097_152);

    /// No kind of state either: parameters may go back to their defaults.
    pub const RESETS: Self = Self(16384);

    /// No kind of state: the statement takes a value from a sequence, which the client may ask for again.
    pub const ADVANCES: Self = Self(32768);

    /// No kind of state: what PostgreSQL makes of a text at Parse may change ([`super::context`]).
    pub const CONTEXT: Self = Self(65536);

    /// No kind of state: names are resolved otherwise to the end of the transaction ([`super::context`]).
    pub const LOCAL_CONTEXT: Self = Self(524_288);

    /// No kind of state: tables, views or types may have changed, and with them what statements give.
    pub const RESHAPED: Self = Self(131_072);

    /// What concerns those on other servers, too, once the transaction is over.
    pub const OTHERS: Self = Self(2048 | 131_072);

    /// No kind of state: a parameter was reported to have changed, by the session or by a new configuration of the server's.
    pub const REPORTED: Self = Self(262_144);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of `self` that are in `other` too.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of `self` that aren't in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is no kind.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a kind of `other` is among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a text with a telltale word in it may leave behind: a look at the words around it.
pub fn of_text(text: &[u8]) -> Traces {
    if text.windows(3).any(|w| w.eq_ignore_ascii_case(b"u&\"")) {
        return Traces::ALL;
    }
    let text = text.to_ascii_lowercase();
    let (mut traces, mut before) = (Traces::NONE, &b""[..]);
    let mut words = Words::new(&text);
    let (mut updates, mut settings) = (false, false);
    while let Some(word) = words.next() {
        traces = traces.and(of_word(word, before, &text[words.at..]));
        updates |= word == b"update";
        settings |= word == b"pg_settings";
        before = word;
    }
    if updates && settings { traces.and(Traces::SETTINGS) } else { traces }
}

pub(super) fn of_word(word: &[u8], before: &[u8], behind: &[u8]) -> Traces {
    match word {
        b"prepare" if behind.trim_ascii_start().starts_with(b"transaction") => Traces::NONE,
        b"deallocate" | b"discard" | b"prepare" => Traces::NAMES,
        b"currval" | b"lastval" => Traces::SEQUENCES,
        b"nextval" | b"setval" => Traces::ADVANCES,
        // What is run may be anything that was prepared.
        b"execute" => Traces::SHOWN.and(Traces::NAMES),
        // Whatever they run stays if it isn't transactional and they fail; then there is no command tag.
        b"do" if runs_text(behind) && memmem::find(behind, b"create").is_some() => {
            Traces::ALL.and(Traces::REMADE).and(Traces::RESHAPED)
        }
        b"do" if runs_text(behind) => Traces::ALL,
        b"call" => Traces::ALL,
        b"set_config" if is_local(behind) => Traces::NONE,
        b"set_config" if names_a_literal(behind) => Traces::SETTINGS,
        // Only whoever knows the name can ask for a custom parameter's value.
        b"set_config" => Traces::SETTINGS.and(Traces::HIDDEN),
        b"temp" | b"temporary" => match before {
            b"create" | b"replace" | b"into" | b"local" | b"global" => Traces::TEMPORARY,
            _ => Traces::NONE,
        },
        _ if word.starts_with(b"pg_temp") => Traces::TEMPORARY,
        _ if word.starts_with(b"pg_advisory") || word.starts_with(b"pg_try_advisory") => {
            if word.windows(4).any(|w| w == b"xact") { Traces::NONE } else { Traces::LOCKS }
        }
        b"dblink_connect"
        | b"dblink_connect_u"
        | b"pg_replication_origin_session_setup"
        | b"setseed"
        | b"pg_backup_start"
        | b"pg_start_backup"
        | b"pg_create_physical_replication_slot"
        | b"pg_create_logical_replication_slot" => Traces::HIDDEN.and(Traces::FOREVER),
        // In a DO block; by itself it has a command tag that tells.
        b"load" if matches!(behind.trim_ascii_start().first(), Some(b'\'' | b'$')) => {
            Traces::HIDDEN.and(Traces::FOREVER)
        }
        b"seed" if matches!(before, b"set" | b"session") => Traces::HIDDEN.and(Traces::FOREVER),
        _ if word.starts_with(b"dblink") || word.starts_with(b"pg_replication_origin") => Traces::HIDDEN,
        _ => Traces::NONE,
    }
}

/// Whether DO's text or language follows: in `ON CONFLICT … DO` neither does.
pub(super) fn runs_text(behind: &[u8]) -> bool {
    let behind = behind.trim_ascii_start();
    behind.starts_with(b"'")
        || behind.starts_with(b"$")
        || behind.starts_with(b"e'")
        || behind.starts_with(b"language")
}

/// Whether the first argument is a plain literal.
pub(super) fn names_a_literal(behind: &[u8]) -> bool {
    let arguments = behind.trim_ascii_start().strip_prefix(b"(").map(<[u8]>::trim_ascii_start);
    let Some(literal) = arguments.and_then(|a| a.strip_prefix(b"'")) else { return false };
    let Some(end) = memchr::memchr(b'\'', literal) else { return false };
    literal[end + 1..].trim_ascii_start().starts_with(b",")
}

/// Most bytes of a call's arguments that are looked at.
pub(super) const LONGEST_ARGUMENTS: usize = 1024;

/// How many apostrophes a literal begins with: as many as its quotes are made of, more than one within other literals, and twice
/// as many where it is empty. A call's first argument, being a name, is not.
pub(super) fn apostrophes(text: &[u8]) -> usize {
    text.iter().take_while(|b| **b == b'\'').count()
}

/// Whether the arguments that begin `behind` are set_config's with `true` as the third. A backslash may hide where
/// literals end, so with one the answer is no.
pub(super) fn is_local(behind: &[u8]) -> bool {
    let Some(arguments) = behind.trim_ascii_start().strip_prefix(b"(") else { return false };
    let arguments = &arguments[..arguments.len().min(LONGEST_ARGUMENTS)];
    let first = arguments.trim_ascii_start();
    let width = apostrophes(first);
    let is_empty = first[width..].first().is_none_or(|b| b",)|:".contains(b) || b.is_ascii_whitespace());
    let width = if is_empty { 1 } else { width.max(1) };
    let (mut depth, mut commas, mut last, mut quote, mut next) = (0, 0, 0, None, 0);
    for (at, &byte) in arguments.iter().enumerate() {
        if at < next {
            continue;
        }
        if width > 1 && byte == b'\'' && quote != Some(b'"') {
            next = at + apostrophes(&arguments[at..]);
            match (next - at, quote) {
                (size, None) if size == width => quote = Some(byte),
                (size, Some(_)) if size == width => quote = None,
                (size, _) if size == 2 * width => {}
                _ => return false,
            }
            continue;
        }
        match (quote, byte) {
            // A parameter.
            (None, b'$') if arguments.get(at + 1).is_some_and(u8::is_ascii_digit) => {}
            (_, b'\\' | b'$') => return false,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(' | b'[') => depth += 1,
            (None, b')') if depth == 0 => {
                return commas == 2 && arguments[last..at].trim_ascii() == b"true";
            }
            (None, b')' | b']') => depth -= 1,
            (None, b',') if depth == 0 => {
                commas += 1;
                last = at + 1;
            }
            (None, b'-' | b'/') => return false,
            (None, _) => {}
        }
    }
    false
}

/// Whether the text is one SET that ends with its transaction: SET LOCAL, SET TRANSACTION, SET CONSTRAINTS.
pub fn is_local_set(text: &[u8]) -> bool {
    let text = text.strip_suffix(&[0]).unwrap_or(text).trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let begins = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"set"));
    let second = words.next().unwrap_or_default();
    let local = [&b"local"[..], b"transaction", b"constraints"];
    begins && local.iter().any(|word| second.eq_ignore_ascii_case(word)) && !text.contains(&b';')
}

/// Whether RESET ALL is the last of the text's statements, which has nothing that could be something else than it seems.
fn ends_by_resetting_all(text: &[u8]) -> bool {
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let plain =
        text.iter().all(|b| b.is_ascii_alphanumeric() || b.is_ascii_whitespace() || b"_;()*,.=".contains(b));
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let reset = text.strip_suffix(b"all").filter(|rest| rest.last().is_some_and(u8::is_ascii_whitespace));
    let before = reset.and_then(|rest| rest.trim_ascii_end().strip_suffix(b"reset"));
    plain && before.is_some_and(|before| before.trim_ascii_end().last().is_none_or(|b| *b == b';'))
}

/// Whether parameters may go back to their defaults, and whether all do by what the text ends with: by RESET, DISCARD, a SET TO DEFAULT,
/// TIME ZONE LOCAL, NAMES alone, or
/// set_config with NULL.
pub fn resets(text: &[u8]) -> Traces {
    let text = text.to_ascii_lowercase();
    let (mut sets, mut to_default, mut calls, mut null) = (false, false, false, false);
    let (mut words, mut before) = (Words::new(&text), &b""[..]);
    while let Some(word) = words.next() {
        match word {
            b"reset" | b"discard" if ends_by_resetting_all(&text) => {
                return Traces::RESETS.and(Traces::ALL_RESET);
            }
            b"reset" | b"discard" => return Traces::RESETS,
            b"set" => sets = true,
            b"default" => to_default = true,
            b"local" => to_default |= before == b"zone",
            b"names" => to_default |= matches!(before, b"set" | b"session" | b"local"),
            b"set_config" => calls = true,
            b"null" => null = true,
            _ => {}
        }
        before = word;
    }
    if sets && to_default || calls && null { Traces::RESETS } else { Traces::NONE }
}

/// Whether [`super::custom_names::in_text`] finds the names of all parameters that SETs and RESETs of the text change: no comment is in between.
pub fn is_plain(text: &[u8]) -> bool {
    !text.windows(2).any(|w| w == b"--" || w == b"/*")
}

/// Whether some word of the text is this one.
pub(super) fn contains_word(text: &[u8], wanted: &[u8]) -> bool {
    let mut words = Words::new(text);
    std::iter::from_fn(|| words.next()).any(|word| word == wanted)
}

/// The words of a lower-case text outside comments; quotes separate words and hide nothing, since what is quoted may be run.
#[derive(Debug)]
pub struct Words<'a> {
    text: &'a [u8],
    /// Where the last word ended.
    at: usize,
    /// How many comments without an end there may yet be: each costs a look at all that follows. Behind these they are no comments,
    /// and their words count.
    endless: u8,
}

impl<'a> Words<'a> {
    /// From the text's beginning.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, endless: 8 }
    }

    /// The next word, and the text behind it.
    pub fn next_with_rest(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let word = self.next()?;
        Some((word, &self.text[self.at..]))
    }

    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = &self.text[self.at..];
            let first = *rest.first()?;
            if is_in_word(first) {
                let size = rest.iter().take_while(|b| is_in_word(**b)).count();
                self.at += size;
                return Some(&rest[..size]);
            }
            let comment = if self.endless > 0 { comment(rest) } else { 0 };
            self.endless -= u8::from(comment == 0 && self.endless > 0 && rest.starts_with(b"/*"));
            self.at += comment.max(1);
        }
    }
}

/// The text from its first word on: without the spaces and comments before it.
#[cold]
pub fn behind_blank(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        match comment(text) {
            0 => return text,
            size => text = &text[size..],
        }
    }
}

/// Size of the comment at the front, 0 if there is none. One that never ends is none.
pub(super) fn comment(text: &[u8]) -> usize {
    if text.starts_with(b"--") {
        return memchr::memchr2(b'\n', b'\r', text).unwrap_or(0);
    }
    if !text.starts_with(b"/*") {
        return 0;
    }
    let (mut depth, mut at) = (1, 2);
    while depth > 0 {
        match text.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            Some(_) => at += 1,
            None => return 0,
        }
    }
    at
}

pub(super) fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_share_a_bit() {
        const SINGLE: [Traces; 22] = [
            Traces::SETTINGS,
            Traces::LOCKS,
            Traces::TEMPORARY,
            Traces::CURSORS,
            Traces::CHANNELS,
            Traces::STATEMENTS,
            Traces::HIDDEN,
            Traces::LOCAL_SET,
            Traces::NAMED_SET,
            Traces::LOOKED_AT,
            Traces::NAMES,
            Traces::REMADE,
            Traces::SEQUENCES,
            Traces::FOREVER,
            Traces::RESETS,
            Traces::ADVANCES,
            Traces::CONTEXT,
            Traces::LOCAL_CONTEXT,
            Traces::RESHAPED,
            Traces::REPORTED,
            Traces::NAMELESS,
            Traces::ALL_RESET,
        ];
        let all = SINGLE.iter().fold(Traces::NONE, |all, kind| all.and(*kind));
        assert_eq!(all.0.count_ones() as usize, SINGLE.len());
        assert_eq!(Traces::UNREAD, Traces::HIDDEN.and(Traces::NAMELESS));
        assert_eq!(Traces::OTHERS, Traces::REMADE.and(Traces::RESHAPED));
        assert_eq!(Traces::LASTING, Traces::FOREVER.and(Traces::NAMELESS));
        assert!(
            Traces::LOOKED_BEHIND.has(Traces::REPORTED) && !Traces::LOOKED_BEHIND.has(Traces::LOCAL_CONTEXT)
        );
    }

    #[test]
    fn texts_with_telltales() {
        for (text, traces) in [
            ("SELECT set_config('a.b', 'x', false)", Traces::SETTINGS),
            ("SELECT set_config('a.b', $1, $2)", Traces::SETTINGS),
            ("SELECT set_config($1, $2, false)", Traces::SETTINGS.and(Traces::HIDDEN)),
            ("SELECT set_config('a.' || 'b', $2, false)", Traces::SETTINGS.and(Traces::HIDDEN)),
            ("SELECT pg_catalog.set_config('a.b', 'x', TRUE ), 1", Traces::NONE),
            ("SELECT set_config('a', f(1, 2), true), set_config('b', 'x', false)", Traces::SETTINGS),
            ("SELECT set_config('a', E'\\', true)', false)", Traces::SETTINGS),
            ("SELECT set_config('a', /* , true) */ 'b', false)", Traces::SETTINGS),
            ("SELECT set_config('a', $$, true)$$, false)", Traces::SETTINGS),
            ("SELECT set_config('a', $1, true)", Traces::NONE),
            ("SELECT set_config('a', $1$, true)$1$, false)", Traces::SETTINGS),
            ("SELECT set_config('', ', true', false)", Traces::SETTINGS),
            ("SELECT run('SELECT set_config(''a.'' || ''b'', ''x, y'', true)')", Traces::NONE),
            ("SELECT run('SELECT set_config(''a.'' || ''b'', '''', true)')", Traces::NONE),
            (
                "SELECT run('SELECT set_config(''a.'' || ''b'', '', true)')",
                Traces::SETTINGS.and(Traces::HIDDEN),
            ),
            (
                "SELECT run('SELECT set_config(''a.'' || ''b'', '', true'', false)')",
                Traces::SETTINGS.and(Traces::HIDDEN),
            ),
            (
                "SELECT run('SELECT set_config(''a.'' || ''b'', ''x'', false), f(''x, true'')')",
                Traces::SETTINGS.and(Traces::HIDDEN),
            ),
            ("SELECT temperature, temp FROM template", Traces::NONE),
            ("CREATE /* a /* nested */ */ TEMP TABLE t ()", Traces::TEMPORARY),
            ("DO $$BEGIN PREPARE p AS SELECT 1; RAISE; END$$", Traces::ALL.and(Traces::NAMES)),
            ("do language plpgsql 'begin end'", Traces::ALL),
            ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING; SELECT 1", Traces::NONE),
            ("CREATE -- x\n TEMPORARY TABLE t ()", Traces::TEMPORARY),
            ("SELECT 1 INTO TEMP t", Traces::TEMPORARY),
            ("EXECUTE 'create temp table t ()'", Traces::SHOWN.and(Traces::NAMES)),
            ("SELECT 1; DEALLOCATE a", Traces::NAMES),
            ("SELECT lastval(), currval('s'), lastvalue FROM t", Traces::SEQUENCES),
            ("SELECT pg_advisory_xact_lock(1)", Traces::NONE),
            ("SELECT \"pg_try_advisory_lock\"(1)", Traces::LOCKS),
            ("SELECT advisory FROM fish", Traces::NONE),
            ("UPDATE pg_settings SET setting = 1", Traces::SETTINGS),
            ("SELECT * FROM pg_settings", Traces::NONE),
            (
                "SELECT dblink_connect('x'), pg_advisory_lock(1)",
                Traces::HIDDEN.and(Traces::LOCKS).and(Traces::FOREVER),
            ),
            ("SELECT * FROM dblink('x', 'SELECT 1') t (a int)", Traces::HIDDEN),
            ("DO $$BEGIN LOAD 'x'; END$$", Traces::ALL.and(Traces::FOREVER)),
            ("DO $$BEGIN UPDATE load SET load = 1; END$$", Traces::ALL),
            ("SELECT U&\"set\\005fconfig\"('a', 'b', false)", Traces::ALL),
        ] {
            assert_eq!(of_text(text.as_bytes()), traces, "{text}");
        }
    }

    #[test]
    fn what_may_reset() {
        for (text, may) in [
            ("RESET ALL", true),
            ("SELECT 1; discard all", true),
            ("SET a TO DEFAULT", true),
            ("SET TIME ZONE LOCAL", true),
            ("SET NAMES", true),
            ("SELECT set_config('a', NULL, false)", true),
            ("SET LOCAL ROLE anon", false),
            ("SET LOCAL search_path = schema1, names", false),
            ("UPDATE t SET local = 1, names = NULL", false),
            ("SELECT set_config('a', 'b', true)", false),
        ] {
            assert_eq!(!resets(text.as_bytes()).is_empty(), may, "{text}");
        }
    }

    #[test]
    fn sets_that_end_with_the_transaction() {
        for text in [
            "SET LOCAL x = 1",
            " set\n transaction isolation level serializable;\0",
            "SET CONSTRAINTS ALL DEFERRED",
        ] {
            assert!(is_local_set(text.as_bytes()), "{text}");
        }
        for text in [
            "SET x = 1",
            "SET LOCAL x = 1; SET y = 2",
            "SETLOCAL",
            "SET/**/LOCAL x = 1",
            "SET localx = 1",
            "",
        ] {
            assert!(!is_local_set(text.as_bytes()), "{text}");
        }
    }
}
