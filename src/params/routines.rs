//! Functions that change session state where the text of a statement doesn't show it: called by name, by a trigger, in a view
//! or a policy. PostgreSQL's catalogs tell which there are; a text that has the name of one may leave what it leaves.

use super::calls;
use super::context;
use super::traces::{self, Traces};
use aho_corasick::{AhoCorasick, MatchKind};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Names of functions and relations by which statements leave session state.
#[derive(Debug, Default)]
pub struct Names {
    /// Each with what it may leave, and whether only writing to it does.
    pub names: Vec<(Vec<u8>, Traces, Touch)>,
    /// What calling the functions among them surely leaves.
    pub sure: Vec<(Vec<u8>, Traces)>,
    /// Custom parameters set on the way.
    pub customs: Vec<Box<str>>,
}

/// What has to be done with a named thing before it leaves anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// It is used in whatever way.
    Any,
    /// A table with a trigger is written to.
    Write,
}

#[derive(Debug)]
struct Finder {
    words: AhoCorasick,
    names: Names,
    /// What calling each of them surely leaves.
    sure: Vec<Traces>,
}

/// What it does isn't known.
const ANYTHING: Traces = Traces::ALL.and(Traces::ADVANCES).and(Traces::CONTEXT);

/// There are names to look for.
const SOME: u8 = 1;
/// It isn't known which there are: every statement may leave anything.
const UNKNOWN: u8 = 2;
/// The catalogs are to be read.
const DUE: u8 = 4;

/// What is known of one database's functions. One for all its pools.
#[derive(Debug)]
pub struct Routines {
    state: AtomicU8,
    finder: ArcSwapOption<Finder>,
    reading: AtomicBool,
    /// Whether it was told that they can't be read.
    told: AtomicBool,
    /// Whether functions that take values from sequences are looked for, too.
    sequences: AtomicBool,
    /// Counts what made the knowledge old.
    changes: AtomicU32,
    /// What the catalogs were like when they were read last.
    fingerprint: Mutex<Vec<u8>>,
    /// What sessions began with then.
    defaults: Mutex<Option<Vec<u8>>>,
}

impl Default for Routines {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(UNKNOWN | DUE),
            finder: ArcSwapOption::default(),
            reading: AtomicBool::new(false),
            told: AtomicBool::new(false),
            sequences: AtomicBool::new(false),
            changes: AtomicU32::new(0),
            fingerprint: Mutex::default(),
            defaults: Mutex::default(),
        }
    }
}

impl Routines {
    /// Of a database whose functions don't matter.
    pub fn nothing() -> Self {
        Self { state: AtomicU8::new(0), sequences: AtomicBool::new(true), ..Self::default() }
    }
}

/// The right to read the catalogs; one at a time has it.
#[derive(Debug)]
pub struct Reading<'a> {
    routines: &'a Routines,
    changes: u32,
}

impl Routines {
    /// What a statement with this text may leave by the functions it runs.
    #[inline]
    pub fn traces(&self, text: &[u8]) -> Traces {
        match self.state.load(Ordering::Relaxed) & (SOME | UNKNOWN) {
            0 => Traces::NONE,
            SOME => self.find(text),
            // Not that it takes a value: all clients would keep their servers for it.
            _ => Traces::ALL,
        }
    }

    #[cold]
    fn find(&self, text: &[u8]) -> Traces {
        self.finder.load().as_ref().map_or(Traces::NONE, |finder| finder.traces(text))
    }

    /// Whether a text may have to be refused for the functions it calls: most call none. [`Self::called`] says so surely.
    #[inline]
    pub fn may_be_called(&self, text: &[u8]) -> bool {
        self.state.load(Ordering::Relaxed) & SOME != 0 && self.finds_called(text)
    }

    #[cold]
    fn finds_called(&self, text: &[u8]) -> bool {
        self.finder.load().as_ref().is_some_and(|finder| finder.named(text).next().is_some())
    }

    /// The first function, as far as they are known, that a text calls and that surely leaves one of these kinds, told from the text's
    /// code ([`super::refusable::code_of`]).
    pub fn called(&self, code: &[u8], kinds: Traces) -> Option<Vec<u8>> {
        let finder = self.finder.load();
        let finder = finder.as_ref()?;
        calls::statements(code)
            .find_map(|statement| finder.called(calls::running(statement), kinds))
            .map(<[u8]>::to_vec)
    }

    /// Custom parameters that functions set.
    pub fn customs(&self) -> Vec<Box<str>> {
        self.finder.load().as_ref().map_or_else(Vec::new, |finder| finder.names.customs.clone())
    }

    /// Whether somebody should read the catalogs.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.state.load(Ordering::Relaxed) & DUE != 0 && !self.reading.load(Ordering::Relaxed)
    }

    /// A function may have been made or changed.
    #[cold]
    pub fn outdate(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.state.fetch_or(UNKNOWN | DUE, Ordering::AcqRel);
    }

    /// Somebody asks for last values of sequences: it matters which functions take values.
    #[cold]
    pub fn want_sequences(&self) {
        if !self.sequences.swap(true, Ordering::AcqRel) {
            self.remind();
        }
    }

    /// What is known is some time old.
    pub fn remind(&self) {
        self.state.fetch_or(DUE, Ordering::AcqRel);
    }

    /// They could not be read: whether that is news.
    pub fn is_news(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// Begins to read, unless somebody does or nobody needs to.
    pub fn begin(&self) -> Option<Reading<'_>> {
        let begins = self.is_due() && !self.reading.swap(true, Ordering::AcqRel);
        begins.then(|| Reading { routines: self, changes: self.changes.load(Ordering::Acquire) })
    }
}

impl Reading<'_> {
    /// Whether functions that take values from sequences are looked for, too.
    pub fn wants_sequences(&self) -> bool {
        self.routines.sequences.load(Ordering::Acquire)
    }

    /// Whether the catalogs are as they were when they were read last.
    pub fn is_known(&self, fingerprint: &[u8]) -> bool {
        *self.routines.fingerprint.lock() == fingerprint
    }

    /// What sessions begin with today: whether those that began before have begun with something else.
    pub fn are_others(&self, defaults: Vec<u8>) -> bool {
        let before = self.routines.defaults.lock().replace(defaults.clone());
        before.is_some_and(|before| before != defaults)
    }

    /// They say this.
    pub fn learned(&self, fingerprint: Vec<u8>, names: Names) {
        let finder = Finder::new(names);
        let some = if finder.is_some() { SOME } else { 0 };
        self.routines.finder.store(finder.map(Arc::new));
        *self.routines.fingerprint.lock() = fingerprint;
        self.routines.told.store(false, Ordering::Relaxed);
        let state = &self.routines.state;
        let _ = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |s| Some(s & !SOME | some));
    }

    /// They were read, or can't be and won't be: what is known counts until something changes.
    pub fn done(self) {
        self.routines.state.fetch_and(!(UNKNOWN | DUE), Ordering::AcqRel);
        if self.routines.changes.load(Ordering::Acquire) != self.changes {
            self.routines.state.fetch_or(UNKNOWN | DUE, Ordering::AcqRel);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.routines.reading.store(false, Ordering::Release);
    }
}

impl Finder {
    fn new(names: Names) -> Option<Self> {
        let words = names.names.iter().map(|(name, ..)| name);
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true).match_kind(MatchKind::LeftmostLongest);
        (!names.names.is_empty()).then(|| builder.build(words).ok()).flatten().map(|words| {
            let mut known: HashMap<&[u8], Traces> = HashMap::new();
            for (name, leaves) in &names.sure {
                let all = known.entry(name).or_default();
                *all = all.and(*leaves);
            }
            let surely = |name: &[u8]| known.get(name).copied().unwrap_or_default();
            let sure = names.names.iter().map(|(name, ..)| surely(name)).collect();
            Self { words, names, sure }
        })
    }

    /// Where names are that may be called and surely leave something, and which.
    fn named<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (Range<usize>, usize)> {
        let in_word = |at: Option<&u8>| at.is_some_and(|b| traces::is_in_word(*b));
        self.words.find_iter(text).filter_map(move |hit| {
            let before = hit.start().checked_sub(1).and_then(|at| text.get(at));
            let which = hit.pattern().as_usize();
            let behind = &text[hit.end()..];
            let behind = behind.strip_prefix(b"\"").unwrap_or(behind);
            let is_named = !self.sure[which].is_empty() && !in_word(before) && calls::may_be_called(behind);
            is_named.then_some((hit.range(), which))
        })
    }

    fn called(&self, statement: &[u8], kinds: Traces) -> Option<&[u8]> {
        let mut named = self.named(statement).filter(|(_, which)| self.sure[*which].has(kinds));
        let (_, which) = named.find(|(at, _)| calls::is_called(statement, at.start, at.end))?;
        Some(&self.names.names[which].0)
    }

    fn traces(&self, text: &[u8]) -> Traces {
        let in_word = |at: Option<&u8>| at.is_some_and(|b| traces::is_in_word(*b));
        let (mut found, mut writes) = (Traces::NONE, None);
        for hit in self.words.find_iter(text) {
            let before = hit.start().checked_sub(1).and_then(|at| text.get(at));
            let (_, leaves, touch) = &self.names.names[hit.pattern().as_usize()];
            if found.within(*leaves) == *leaves || in_word(before) || in_word(text.get(hit.end())) {
                continue;
            }
            if *touch == Touch::Any || *writes.get_or_insert_with(|| may_write(text)) {
                found = found.and(*leaves);
            }
        }
        found
    }
}

fn may_write(text: &[u8]) -> bool {
    const WRITES: [&[u8]; 6] = [b"insert", b"update", b"delete", b"merge", b"copy", b"truncate"];
    let text = text.to_ascii_lowercase();
    WRITES.iter().any(|word| memchr::memmem::find(&text, word).is_some())
}

/// What running a function may leave, told from its source.
pub fn of_source(language: &[u8], source: &[u8]) -> Traces {
    if !matches!(language, b"sql" | b"plpgsql") {
        return ANYTHING;
    }
    let text = source.to_ascii_lowercase();
    let (mut found, mut before) = (Traces::NONE, &b""[..]);
    let mut words = traces::Words::new(&text);
    while let Some((word, behind)) = words.next_with_rest() {
        let begins = || is_beginning(&text[..text.len() - behind.len() - word.len()], before);
        found = found.and(match word {
            b"execute" if runs_known_text(behind) => Traces::NONE,
            b"execute" => ANYTHING,
            b"set" if begins() && !traces::is_local_set(&[b"set", before_semicolon(behind)].concat()) => {
                Traces::SETTINGS
            }
            b"reset" if begins() => Traces::SETTINGS,
            b"listen" | b"unlisten" if begins() => Traces::CHANNELS,
            b"prepare" | b"deallocate" if begins() => Traces::STATEMENTS,
            b"load" if begins() => Traces::HIDDEN.and(Traces::FOREVER),
            b"hold" if before == b"with" => Traces::CURSORS,
            b"discard" | b"set" | b"reset" => Traces::NONE,
            b"insert" | b"merge" | b"copy" => Traces::ADVANCES,
            b"pg_settings" if memchr::memmem::find(&text, b"update").is_some() => Traces::SETTINGS,
            _ => traces::of_word(word, before, behind)
                .within(Traces::ALL.and(Traces::SEQUENCES).and(Traces::ADVANCES).and(Traces::LASTING)),
        });
        before = word;
    }
    if found.has(Traces::SETTINGS) { found.and(context::moved_by(source)) } else { found }
}

/// Most bytes of a line that are searched for a comment.
const LONGEST_LINE: usize = 4096;

/// Whether a statement begins behind this.
fn is_beginning(text: &[u8], word: &[u8]) -> bool {
    let text = &text[text.len().saturating_sub(LONGEST_LINE)..];
    let text = text.trim_ascii_end();
    matches!(word, b"begin" | b"then" | b"else" | b"loop") && text.ends_with(word)
        || text.is_empty()
        || text.ends_with(b";")
        || text.ends_with(b"'")
        || text.ends_with(b"$")
        || text.ends_with(b"*/")
        || text.rsplit(|b| *b == b'\n').next().is_some_and(|line| line.windows(2).any(|w| w == b"--"))
}

fn before_semicolon(text: &[u8]) -> &[u8] {
    text.split(|b| *b == b';').next().unwrap_or_default()
}

/// Whether EXECUTE is given a literal that begins as statements do that leave nothing: the words in it are looked at anyhow.
fn runs_known_text(behind: &[u8]) -> bool {
    const HARMLESS: [&[u8]; 14] = [
        b"select",
        b"insert",
        b"update",
        b"delete",
        b"with",
        b"merge",
        b"alter",
        b"drop",
        b"truncate",
        b"copy",
        b"refresh",
        b"analyze",
        b"grant",
        b"comment",
    ];
    let mut text = behind.trim_ascii_start();
    for front in [&b"("[..], b"format", b"(", b"e'", b"'"] {
        text = text.strip_prefix(front).unwrap_or(text).trim_ascii_start();
    }
    let word = text.split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default();
    let literal = behind.len() > text.len() && behind[..behind.len() - text.len()].contains(&b'\'');
    let creates = word == b"create" && !traces::of_text(text).has(Traces::TEMPORARY);
    literal && (HARMLESS.contains(&word) || creates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        for (source, leaves) in [
            ("BEGIN RETURN NEW; END", Traces::NONE),
            ("BEGIN PERFORM set_config('app.t', x, false); END", Traces::SETTINGS),
            ("BEGIN PERFORM set_config('app.t', x, true); END", Traces::NONE),
            ("BEGIN SET app.x = 'hidden'; END", Traces::SETTINGS),
            ("BEGIN -- so\n SET ROLE r; END", Traces::SETTINGS),
            ("BEGIN SET LOCAL work_mem = '1MB'; END", Traces::NONE),
            ("BEGIN UPDATE t SET a = 1;\n UPDATE t\n SET b = 2; END", Traces::NONE),
            ("BEGIN IF a THEN RESET ALL; END IF; END", Traces::SETTINGS),
            ("BEGIN LISTEN a; END", Traces::CHANNELS),
            ("BEGIN RETURN nextval('s'); END", Traces::ADVANCES),
            ("INSERT INTO t DEFAULT VALUES", Traces::ADVANCES),
            ("BEGIN EXECUTE 'PREPARE p1 AS SELECT 1'; END", ANYTHING),
            ("BEGIN EXECUTE format('INSERT INTO %I VALUES ($1.*)', t) USING NEW; END", Traces::ADVANCES),
            ("BEGIN EXECUTE 'SELECT set_config(' || x; END", Traces::SETTINGS.and(Traces::HIDDEN)),
            ("BEGIN EXECUTE 'create temp table x ()'; END", ANYTHING),
            ("BEGIN EXECUTE format('CREATE INDEX ON %I (a)', t); END", Traces::NONE),
            ("BEGIN EXECUTE q; END", ANYTHING),
            ("BEGIN CREATE TEMP TABLE tt1 (id int); END", Traces::TEMPORARY),
            ("SELECT pg_try_advisory_lock(1)", Traces::LOCKS),
            ("BEGIN update pg_settings set setting = '1' where name = 'work_mem'; END", Traces::SETTINGS),
            ("DECLARE c CURSOR FOR SELECT 1; BEGIN OPEN c; END", Traces::NONE),
            ("BEGIN DECLARE c CURSOR WITH HOLD FOR SELECT 1; END", Traces::CURSORS),
        ] {
            let found = of_source(b"plpgsql", source.as_bytes());
            assert_eq!(found.without(Traces::CONTEXT), leaves.without(Traces::CONTEXT), "{source}");
        }
        assert_eq!(of_source(b"plpython3u", b"pass"), ANYTHING);
        assert!(of_source(b"sql", b"SELECT set_config('timezone', 'CET', false)").has(Traces::CONTEXT));
    }

    #[test]
    fn names_in_texts() {
        let routines = Routines::default();
        assert_eq!(routines.traces(b"SELECT 1"), Traces::ALL, "nothing is known yet");
        let reading = routines.begin().expect("due");
        assert!(routines.begin().is_none(), "one at a time");
        let names = vec![
            (b"set_tenant".to_vec(), Traces::SETTINGS, Touch::Any),
            (b"orders".to_vec(), Traces::LOCKS, Touch::Write),
        ];
        reading.learned(b"1".to_vec(), Names { names, ..Names::default() });
        reading.done();
        for (text, leaves) in [
            ("SELECT public.SET_TENANT(5)", Traces::SETTINGS),
            ("select set_tenants(), my_set_tenant()", Traces::NONE),
            ("SELECT * FROM \"orders\"", Traces::NONE),
            ("INSERT INTO orders VALUES (set_tenant(1))", Traces::SETTINGS.and(Traces::LOCKS)),
        ] {
            assert_eq!(routines.traces(text.as_bytes()), leaves, "{text}");
        }
        assert!(routines.begin().is_none(), "all is known");
    }

    #[test]
    fn what_changes_meanwhile_is_read_again() {
        let routines = Routines::default();
        let reading = routines.begin().expect("due");
        routines.outdate();
        reading.learned(b"1".to_vec(), Names::default());
        reading.done();
        assert_eq!(routines.traces(b"SELECT 1"), Traces::ALL);
        let reading = routines.begin().expect("due again");
        assert!(reading.is_known(b"1") && !reading.is_known(b"2"));
        reading.done();
        assert_eq!(routines.traces(b"SELECT 1"), Traces::NONE);
        drop(routines.begin());
        routines.remind();
        drop(routines.begin().expect("reminded"));
        assert!(routines.is_due(), "one that was dropped has read nothing");
    }
}
