//! A set of parameter values, interned: two equal sets are the same allocation, so a lease compares pointers.

use super::context;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

type Pairs = Box<[(Box<str>, Box<str>)]>;

/// Names of channels, sorted.
type Channels = Box<[Box<str>]>;

/// Values by name (lower case), sorted, and the channels listened to; what a session has beyond the server's defaults.
#[derive(Debug, PartialEq, Eq, Hash, Default)]
pub struct Set {
    pairs: Pairs,
    channels: Channels,
    parse_context: Box<[u8]>,
    makes_temporary: bool,
    has_identity: bool,
    /// The values the session began with, if it has changed since.
    first: Option<Arc<Self>>,
}

impl Set {
    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (&**n, &**v))
    }

    /// The value of a parameter; `name` in lower case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.pairs.binary_search_by(|p| (*p.0).cmp(name)).ok().map(|i| &*self.pairs[i].1)
    }

    /// The values parsing depends on, as bytes to compare; empty when all are at the server's defaults.
    pub fn parse_context(&self) -> &[u8] {
        &self.parse_context
    }

    /// The values the session began with, to which RESET goes back.
    pub fn first(self: &Arc<Self>) -> &Arc<Self> {
        self.first.as_ref().unwrap_or(self)
    }

    /// The channels it listens to, sorted.
    #[inline]
    pub fn channels(&self) -> &[Box<str>] {
        &self.channels
    }

    /// Whether it listens to this channel.
    pub fn listens_to(&self, channel: &[u8]) -> bool {
        self.channels.binary_search_by(|name| name.as_bytes().cmp(channel)).is_ok()
    }

    /// Whether what a client with these creates may be temporary though no word says so: pg_temp is in its search_path.
    pub fn makes_temporary(&self) -> bool {
        self.makes_temporary
    }

    /// Whether it names a role to run as.
    pub fn has_identity(&self) -> bool {
        self.has_identity
    }

    /// Whether a server needs a closer look before it serves a client with these.
    #[inline]
    pub fn is_peculiar(&self) -> bool {
        self.makes_temporary | self.has_identity
    }

    /// Whether all parameters are at the server's defaults.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// The interner: one for the process, so that every equal set is one allocation.
#[derive(Debug)]
pub struct Sets {
    known: Mutex<Known>,
    empty: Arc<Set>,
}

#[derive(Debug, Default)]
struct Known {
    /// By their values, their channels, and the address of what they began with, 0 for themselves.
    sets: HashMap<(Pairs, Channels, usize), Weak<Set>>,
    purge_at: usize,
}

impl Default for Sets {
    fn default() -> Self {
        let known = Known { sets: HashMap::new(), purge_at: 64 };
        Self { known: Mutex::new(known), empty: Arc::default() }
    }
}

impl Sets {
    /// The set of a session that changed nothing.
    pub fn empty(&self) -> Arc<Set> {
        Arc::clone(&self.empty)
    }

    /// The set of these values; of a name given twice (in any case) the last counts.
    pub fn intern<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<Set> {
        self.share(sorted(pairs), Channels::default(), None)
    }

    /// The set of a session that began with `first`, has these values now and listens to nothing.
    pub fn since<'a>(
        &self,
        first: &Arc<Set>,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Arc<Set> {
        let pairs = sorted(pairs);
        self.changed(first, pairs, Channels::default())
    }

    /// `set` with one value replaced, or removed (`None`: back to the server's default).
    pub fn with(&self, set: &Arc<Set>, name: &str, value: Option<&str>) -> Arc<Set> {
        let name = name.to_ascii_lowercase();
        if set.value(&name) == value {
            return Arc::clone(set);
        }
        let others = set.iter().filter(|(n, _)| *n != name);
        let pairs = sorted(others.chain(value.map(|v| (&*name, v))));
        self.changed(set.first(), pairs, set.channels.clone())
    }

    /// `set` with exactly these channels.
    pub fn listening<'a>(&self, set: &Arc<Set>, channels: impl IntoIterator<Item = &'a str>) -> Arc<Set> {
        let channels: std::collections::BTreeSet<Box<str>> = channels.into_iter().map(Box::from).collect();
        let channels: Channels = channels.into_iter().collect();
        if set.channels == channels {
            return Arc::clone(set);
        }
        self.changed(set.first(), set.pairs.clone(), channels)
    }

    fn changed(&self, first: &Arc<Set>, pairs: Pairs, channels: Channels) -> Arc<Set> {
        if first.pairs == pairs && channels.is_empty() {
            return Arc::clone(first);
        }
        self.share(pairs, channels, Some(first))
    }

    fn share(&self, pairs: Pairs, channels: Channels, first: Option<&Arc<Set>>) -> Arc<Set> {
        if pairs.is_empty() && channels.is_empty() && first.is_none_or(|first| first.is_empty()) {
            return self.empty();
        }
        let mut known = self.known.lock();
        let key = (pairs, channels, first.map_or(0, |first| Arc::as_ptr(first).addr()));
        if let Some(set) = known.sets.get(&key).and_then(Weak::upgrade) {
            return set;
        }
        if known.sets.len() >= known.purge_at {
            known.sets.retain(|_, set| set.strong_count() > 0);
            known.purge_at = (known.sets.len() * 2).max(64);
        }
        let set = Arc::new(Set {
            makes_temporary: key.0.iter().any(|(n, v)| **n == *"search_path" && v.contains("pg_temp")),
            has_identity: key.0.iter().any(|(n, _)| matches!(&**n, "role" | "session_authorization")),
            parse_context: parse_context(&key.0),
            pairs: key.0.clone(),
            channels: key.1.clone(),
            first: first.map(Arc::clone),
        });
        known.sets.insert(key, Arc::downgrade(&set));
        set
    }
}

/// By name in lower case; of a name given twice the last counts.
fn sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Pairs {
    let mut sorted = std::collections::BTreeMap::new();
    for (name, value) in pairs {
        sorted.insert(name.to_ascii_lowercase().into_boxed_str(), Box::from(value));
    }
    sorted.into_iter().collect()
}

fn parse_context(pairs: &Pairs) -> Box<[u8]> {
    let mut context = Vec::new();
    for (name, value) in pairs.iter().filter(|(name, _)| context::has(name)) {
        [name.as_bytes(), b"\0", value.as_bytes(), b"\0"]
            .iter()
            .for_each(|part| context.extend_from_slice(part));
    }
    context.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one() {
        let sets = Sets::default();
        let a = sets.intern([("TimeZone", "UTC"), ("datestyle", "ISO")]);
        let b = sets.intern([("DateStyle", "German"), ("timezone", "UTC"), ("DATESTYLE", "ISO")]);
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.iter().collect::<Vec<_>>(), [("datestyle", "ISO"), ("timezone", "UTC")]);
        let c = sets.with(&a, "TimeZone", Some("CET"));
        assert_eq!(c.value("timezone"), Some("CET"));
        assert!(Arc::ptr_eq(&a, &sets.with(&c, "timezone", Some("UTC"))));
        let none = sets.with(&sets.with(&a, "timezone", None), "datestyle", None);
        assert!(none.is_empty() && Arc::ptr_eq(none.first(), &a) && Arc::ptr_eq(a.first(), &a));
        let set = sets.with(&sets.empty(), "timezone", Some("CET"));
        assert!(set.first().is_empty() && !Arc::ptr_eq(&set, &sets.intern([("timezone", "CET")])));
        let none = sets.with(&set, "timezone", None);
        assert_eq!(
            sets.intern([("TimeZone", "CET"), ("application_name", "x")]).parse_context(),
            b"timezone\0CET\0"
        );
        assert_eq!(
            sets.intern([("array_nulls", "off"), ("work_mem", "1MB")]).parse_context(),
            b"array_nulls\0off\0"
        );
        assert!(Arc::ptr_eq(&none, &sets.empty()) && none.is_empty());
    }

    #[test]
    fn channels_are_part_of_a_set() {
        let sets = Sets::default();
        let a = sets.intern([("timezone", "UTC")]);
        let listening = sets.listening(&a, ["b", "A", "b"]);
        assert!(listening.listens_to(b"A") && listening.listens_to(b"b") && !listening.listens_to(b"a"));
        assert!(Arc::ptr_eq(listening.first(), &a) && a.channels().is_empty());
        let other = sets.with(&listening, "timezone", Some("CET"));
        assert_eq!(other.channels(), listening.channels());
        assert!(Arc::ptr_eq(&sets.with(&other, "timezone", Some("UTC")), &listening));
        assert!(Arc::ptr_eq(&sets.listening(&listening, []), &a));
        let none = sets.listening(&sets.listening(&sets.empty(), ["x"]), []);
        assert!(Arc::ptr_eq(&none, &sets.empty()));
    }

    #[test]
    fn forgotten_sets_are_purged() {
        let sets = Sets::default();
        for i in 0..10_000 {
            sets.intern([("application_name", &*i.to_string())]);
        }
        assert!(sets.known.lock().sets.len() <= 64);
    }
}
