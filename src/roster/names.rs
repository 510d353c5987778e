//! What clients call themselves, for scrapes: a session that has been idle since it was asked last calls itself what it did then,
//! so only those are woken that have done something since.

use super::told::{Asked, until_answered};
use super::{Entry, Phase, Roster};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A client and its application_name; `None` if it did not answer in time.
pub type Named = (Arc<Entry>, Option<Arc<str>>);

#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By the client's number.
    clients: HashMap<u64, Name>,
    /// Each name once, however many have it.
    texts: HashSet<Arc<str>>,
}

#[derive(Debug)]
struct Name {
    text: Arc<str>,
    /// It holds for as long as the client does this since then; `None`: it may have changed by now.
    during: Option<(Phase, u64)>,
}

impl Known {
    fn holds(&self, entry: &Entry) -> bool {
        self.clients.get(&entry.id).is_some_and(|name| name.during == Some(entry.phase()))
    }

    fn forget_the_gone(&mut self, clients: &[Arc<Entry>]) {
        // Numbers are never reused: those of the gone only take room.
        if self.clients.len() > clients.len() {
            let here: HashSet<u64> = clients.iter().map(|entry| entry.id).collect();
            self.clients.retain(|id, _| here.contains(id));
        }
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }
}

impl Roster {
    /// All who have logged in, in no order, with what they call themselves. Wakes the sessions that have done something since
    /// they were asked last, some microseconds each. Takes some 50 bytes a client until [`Self::forget_names`].
    pub async fn ask_for_names(self: &Arc<Self>) -> Vec<Named> {
        let _turn = self.answers.begin(Asked::Names).await;
        let clients = self.list();
        let moved = {
            let mut known = self.answers.names.0.lock();
            let moved: Vec<_> = clients.iter().filter(|entry| !known.holds(entry)).cloned().collect();
            known.forget_the_gone(&clients);
            moved.iter().for_each(|entry| drop(known.clients.remove(&entry.id)));
            moved
        };
        until_answered(&moved).await;
        let known = self.answers.names.0.lock();
        let name = |entry: &Arc<Entry>| known.clients.get(&entry.id).map(|name| Arc::clone(&name.text));
        clients.into_iter().map(|entry| (Arc::clone(&entry), name(&entry))).collect()
    }

    /// Whether a session that is asked need say no more than its name.
    pub fn asks_for_names(&self) -> bool {
        self.answers.names_only.load(Ordering::Relaxed)
    }

    /// A session's answer to [`Self::ask_for_names`]; `settled` says that the name can't change before the client's phase does.
    pub fn tell_name(&self, entry: &Entry, name: &str, settled: bool) {
        let mut known = self.answers.names.0.lock();
        let text = known.texts.get(name).cloned().unwrap_or_else(|| {
            let text: Arc<str> = name.into();
            known.texts.insert(Arc::clone(&text));
            text
        });
        let during = settled.then(|| entry.phase());
        known.clients.insert(entry.id, Name { text, during });
    }

    /// Nobody asks for names any more, until the next does.
    pub fn forget_names(&self) {
        *self.answers.names.0.lock() = Known::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::enter;
    use super::super::{Kick, Membership, SecretSize};
    use super::*;

    /// Asks, and has those answer that are asked: who they were, and what all are called.
    async fn asked(
        roster: &Arc<Roster>,
        sessions: &[(&Membership, &str, bool)],
    ) -> (Vec<u64>, Vec<(u64, String)>) {
        let mut called = Vec::new();
        let answer = async {
            while !roster.asks_for_names() {
                tokio::task::yield_now().await;
            }
            for (member, name, settled) in sessions {
                let entry = member.entry();
                if entry.kicked() == Some(Kick::Ask) {
                    called.push(entry.id);
                    roster.tell_name(entry, name, *settled);
                    entry.forgive();
                }
            }
        };
        let (names, ()) = tokio::join!(roster.ask_for_names(), answer);
        let mut names: Vec<_> = names
            .into_iter()
            .map(|(entry, name)| (entry.id, name.as_deref().unwrap_or("?").to_owned()))
            .collect();
        names.sort();
        (called, names)
    }

    #[tokio::test]
    async fn only_who_has_done_something_is_asked_again() {
        let roster = Arc::new(Roster::default());
        let (one, two) = (enter(&roster, SecretSize::Short), enter(&roster, SecretSize::Short));
        let (first, second) = (one.entry().id, two.entry().id);
        let called = |n: &str, m: &str| vec![(first, n.to_owned()), (second, m.to_owned())];
        let all = asked(&roster, &[(&one, "a", true), (&two, "b", false)]).await;
        assert_eq!(all, (vec![first, second], called("a", "b")));
        let unsettled = asked(&roster, &[(&one, "x", true), (&two, "c", true)]).await;
        assert_eq!(unsettled, (vec![second], called("a", "c")));
        assert_eq!(asked(&roster, &[(&one, "x", true), (&two, "x", true)]).await, (vec![], called("a", "c")));
        one.entry().set_phase(Phase::Active, 7);
        one.entry().set_phase(Phase::Idle, 8);
        let moved = asked(&roster, &[(&one, "d", true), (&two, "x", true)]).await;
        assert_eq!(moved, (vec![first], called("d", "c")));
        drop(two);
        let left = asked(&roster, &[(&one, "x", true)]).await;
        assert_eq!(left, (vec![], called("d", "c")[..1].to_vec()));
        assert_eq!(roster.answers.names.0.lock().clients.len(), 1);
        roster.forget_names();
        assert_eq!(asked(&roster, &[(&one, "e", true)]).await.0, [first]);
    }
}
