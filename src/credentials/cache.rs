//! What PostgreSQL said of users, for a bounded time and in a bounded number. Time is passed in; asks nobody itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use zeroize::Zeroizing;

use crate::auth::login::Mock;
use crate::auth::secret::{Form, Secret, StoredSecret};
use crate::clock::Instant;

/// Users with a secret that are remembered.
const KNOWN: usize = 10_000;
/// Users without one that are remembered: anybody can invent names.
const ABSENT: usize = 1_000;
/// How long at most it is remembered that there is no such user.
const ABSENT_FOR: Duration = Duration::from_secs(5);
/// How long an answer counts whatever speaks against it, so that wrong passwords cost no more than a query each second.
const AT_LEAST: Duration = Duration::from_secs(1);

/// Who was asked for, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The database asked in, as clients name it.
    pub database: Arc<str>,
    /// The user asked as.
    pub by: Arc<str>,
    /// What was asked.
    pub query: Arc<str>,
    /// The user asked for.
    pub user: Arc<str>,
}

/// The secret of a user; `None`: nobody gets in by that name.
pub type Found = Option<Arc<StoredSecret>>;

/// What PostgreSQL says of a user with a secret.
#[derive(Debug)]
pub struct Answer {
    /// The secret as it has it.
    pub text: Zeroizing<String>,
    /// When it stops letting him in by that, if it has said so: VALID UNTIL, by our clock.
    pub until: Option<Instant>,
}

/// What to do for somebody who logs in.
#[derive(Debug)]
pub enum Advice {
    /// That is it.
    Use(Found),
    /// That is it; it is time to ask again for those to come.
    Refresh(Found),
    /// Ask first.
    Ask,
}

struct Entry {
    found: Found,
    /// As PostgreSQL has it, to tell whether it changed.
    text: Option<Zeroizing<String>>,
    since: Instant,
    /// When it counts no more, however young it is.
    until: Option<Instant>,
    /// A login failed by it.
    doubted: bool,
}

/// Answers by user, those used least forgotten first.
pub struct Cache {
    known: LruCache<Key, Entry>,
    absent: LruCache<Key, Entry>,
    /// Known secrets that aren't SCRAM's.
    weak: usize,
}

impl Default for Cache {
    fn default() -> Self {
        // They grow as they fill: without auth_query nothing is allocated.
        Self { known: LruCache::unbounded(), absent: LruCache::unbounded(), weak: 0 }
    }
}

impl Cache {
    /// What is known of a user; `keep` is how long answers count.
    pub fn advice(&mut self, key: &Key, now: Instant, keep: Duration) -> Advice {
        let Some(entry) = self.known.get(key).or_else(|| self.absent.get(key)) else { return Advice::Ask };
        let keep = if entry.found.is_none() { keep.min(ABSENT_FOR) } else { keep };
        let keep = if entry.doubted { keep.min(AT_LEAST) } else { keep };
        let age = now.saturating_duration_since(entry.since);
        if age >= keep || entry.until.is_some_and(|until| now >= until) {
            Advice::Ask
        } else if age >= keep / 2 && entry.found.is_some() && !entry.doubted {
            Advice::Refresh(entry.found.clone())
        } else {
            Advice::Use(entry.found.clone())
        }
    }

    /// Somebody could not log in by what is known: it is soon asked for again.
    pub fn doubt(&mut self, key: &Key) {
        if let Some(entry) = self.known.peek_mut(key).or_else(|| self.absent.peek_mut(key)) {
            entry.doubted = true;
        }
    }

    /// PostgreSQL has answered; `None`: there is no secret that somebody could log in by.
    pub fn learn(&mut self, key: &Key, answer: Option<Answer>, now: Instant) -> Found {
        let (text, until) = answer.map_or((None, None), |answer| (Some(answer.text), answer.until));
        let old = self.take(key);
        let same = old.filter(|old| old.text.is_some() && old.text == text).and_then(|old| old.found);
        // The same secret keeps what was derived from it.
        let found = same.or_else(|| found(text.as_deref().map(String::as_str)));
        let entry = Entry { found: found.clone(), text, since: now, until, doubted: false };
        self.weak += usize::from(entry.is_weak());
        let (cache, most) =
            if found.is_some() { (&mut self.known, KNOWN) } else { (&mut self.absent, ABSENT) };
        cache.put(key.clone(), entry);
        let pushed_out = if cache.len() > most { cache.pop_lru() } else { None };
        self.weak -= usize::from(pushed_out.is_some_and(|(_, entry)| entry.is_weak()));
        found
    }

    /// Whether there was a secret by that name when it was asked for last, however long ago.
    pub fn has_known(&self, key: &Key) -> bool {
        self.known.peek(key).is_some()
    }

    /// Forgets everything: the configuration has changed.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How somebody unknown should be asked so as to look like most users.
    pub fn most_look_like(&self) -> Mock {
        if self.weak * 2 > self.known.len() { Mock::Md5 } else { Mock::Scram }
    }

    fn take(&mut self, key: &Key) -> Option<Entry> {
        let old = self.known.pop(key).or_else(|| self.absent.pop(key))?;
        self.weak -= usize::from(old.is_weak());
        Some(old)
    }
}

/// What a text of PostgreSQL's is as a secret.
pub(super) fn found(text: Option<&str>) -> Found {
    let secret = text.and_then(|text| Secret::parse(text).ok());
    let usable = secret.filter(|secret| secret.form() != Form::Empty);
    usable.map(|secret| Arc::new(StoredSecret::new(secret)))
}

impl Entry {
    fn is_weak(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.secret().form() != Form::Scram)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} known, {} absent)", self.known.len(), self.absent.len())
    }
}

#[cfg(test)]
impl Answer {
    /// A secret without an end.
    pub(crate) fn of(secret: &str) -> Self {
        Self { text: Zeroizing::new(secret.to_owned()), until: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(30);

    fn key(user: &str) -> Key {
        Key { database: "d".into(), by: "b".into(), query: "q".into(), user: user.into() }
    }

    fn text(secret: &str) -> Option<Answer> {
        Some(Answer::of(secret))
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    fn word(advice: &Advice) -> &'static str {
        match advice {
            Advice::Use(Some(_)) => "use",
            Advice::Use(None) => "nobody",
            Advice::Refresh(_) => "refresh",
            Advice::Ask => "ask",
        }
    }

    #[test]
    fn answers_count_for_a_while() {
        let start = Instant::now();
        for (secret, doubted, age, keep, expected) in [
            ("x", false, 0, KEEP, "use"),
            ("x", false, 14_999, KEEP, "use"),
            ("x", false, 15_000, KEEP, "refresh"),
            ("x", false, 29_999, KEEP, "refresh"),
            ("x", false, 30_000, KEEP, "ask"),
            ("x", false, 0, Duration::ZERO, "ask"),
            ("x", true, 400, KEEP, "use"),
            ("x", true, 999, KEEP, "use"),
            ("x", true, 1_000, KEEP, "ask"),
            ("", false, 4_999, KEEP, "nobody"),
            ("", false, 5_000, KEEP, "ask"),
            ("", true, 999, KEEP, "nobody"),
            ("", true, 1_000, KEEP, "ask"),
        ] {
            let (mut cache, key) = (Cache::default(), key("u"));
            cache.learn(&key, text(secret), start);
            if doubted {
                cache.doubt(&key);
            }
            let advice = cache.advice(&key, at(start, age), keep);
            assert_eq!(word(&advice), expected, "{secret:?} {doubted} {age}");
        }
        assert_eq!(word(&Cache::default().advice(&key("u"), start, KEEP)), "ask");
    }

    #[test]
    fn no_answer_outlives_its_secret() {
        let start = Instant::now();
        for (until, doubted, age, expected) in [
            (0, false, 0, "ask"),
            (400, false, 399, "use"),
            (400, false, 400, "ask"),
            (400, true, 399, "use"),
            (400, true, 400, "ask"),
            (20_000, false, 14_999, "use"),
            (20_000, false, 19_999, "refresh"),
            (20_000, false, 20_000, "ask"),
            (60_000, false, 29_999, "refresh"),
            (60_000, false, 30_000, "ask"),
        ] {
            let (mut cache, key) = (Cache::default(), key("u"));
            let until = Some(at(start, until));
            cache.learn(&key, Some(Answer { until, ..Answer::of("x") }), start);
            if doubted {
                cache.doubt(&key);
            }
            let advice = cache.advice(&key, at(start, age), KEEP);
            assert_eq!(word(&advice), expected, "{until:?} {doubted} {age}");
        }
        // The next answer counts by what it says itself.
        let (mut cache, key) = (Cache::default(), key("u"));
        let first = cache.learn(&key, Some(Answer { until: Some(start), ..Answer::of("x") }), start);
        let second = cache.learn(&key, text("x"), start);
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        assert_eq!(word(&cache.advice(&key, at(start, 1), KEEP)), "use");
    }

    #[test]
    fn the_same_secret_stays_the_same() {
        let (mut cache, key, now) = (Cache::default(), key("u"), Instant::now());
        let first = cache.learn(&key, text("x"), now).unwrap();
        let again = cache.learn(&key, text("x"), now).unwrap();
        let changed = cache.learn(&key, text("y"), now).unwrap();
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &changed));
        assert!(cache.learn(&key, None, now).is_none());
        assert_eq!(word(&cache.advice(&key, now, KEEP)), "nobody");
    }

    #[test]
    fn what_can_be_no_secret_lets_nobody_in() {
        for secret in ["", "SCRAM-SHA-256$nonsense"] {
            assert!(Cache::default().learn(&key("u"), text(secret), Instant::now()).is_none(), "{secret}");
        }
    }

    #[test]
    fn invented_names_push_out_nobody_who_exists() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.learn(&key("u"), text("x"), now);
        for n in 0..ABSENT + 10 {
            cache.learn(&key(&n.to_string()), None, now);
        }
        assert_eq!((cache.known.len(), cache.absent.len()), (1, ABSENT));
        assert_eq!(word(&cache.advice(&key("u"), now, KEEP)), "use");
    }

    #[test]
    fn strangers_look_like_the_majority() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        assert_eq!(cache.most_look_like(), Mock::Scram);
        cache.learn(&key("a"), text("md5e10adc3949ba59abbe56e057f20f883e"), now);
        assert_eq!(cache.most_look_like(), Mock::Md5);
        cache.learn(&key("a"), None, now);
        assert_eq!((cache.most_look_like(), cache.weak), (Mock::Scram, 0));
    }
}
