//! Something that is asked for and doesn't count for ever, a password or an issuer's keys: the one there is, and what is to be
//! done about it. Time is passed in; asks nobody itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Instant;

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long what was asked for because its predecessor wouldn't do counts, whomever it doesn't do for.
const DOUBT_PAUSE: Duration = Duration::from_secs(10);

/// Just given.
#[derive(Debug, Clone)]
pub(super) struct Fresh<T> {
    pub(super) value: Arc<T>,
    /// When another is to be asked for.
    pub(super) renew: Duration,
    /// For how long it is good.
    pub(super) lasts: Duration,
}

/// What asking came to.
pub(super) type Outcome<T, E> = Result<Arc<T>, E>;
pub(super) type Waiting<T, E> = watch::Receiver<Option<Outcome<T, E>>>;
pub(super) type Told<T, E> = watch::Sender<Option<Outcome<T, E>>>;

/// What was waited for; `None` if who asks has gone without a word. Cancel safe.
pub(super) async fn answer<T, E: Clone>(mut waiting: Waiting<T, E>) -> Option<Outcome<T, E>> {
    waiting.wait_for(Option::is_some).await.ok()?.clone()
}

/// What to do for somebody who needs it.
#[derive(Debug)]
pub(super) enum Look<T, E> {
    /// That is it, and if there is a duty to ask, for those to come.
    Use(Arc<T>, Option<Told<T, E>>),
    /// It is asked for; by the caller, if there is a duty.
    Wait(Waiting<T, E>, Option<Told<T, E>>),
    /// It could not be had just now.
    Fail(E),
}

#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    /// When it is no longer good.
    until: Instant,
    /// When another is to be asked for.
    refresh: Instant,
}

#[derive(Debug)]
struct Failure<E> {
    error: E,
    /// Before that nobody is asked again.
    again: Instant,
    in_a_row: u32,
}

/// The one there is, whether another is being asked for, and how that went last.
#[derive(Debug)]
pub(super) struct State<T, E> {
    held: Option<Held<T>>,
    flight: Option<Waiting<T, E>>,
    failure: Option<Failure<E>>,
    /// When one that wouldn't do was last replaced.
    doubted: Option<Instant>,
}

impl<T, E> Default for State<T, E> {
    fn default() -> Self {
        Self { held: None, flight: None, failure: None, doubted: None }
    }
}

impl<T, E: Clone> State<T, E> {
    /// For somebody who needs it now. `anew`: what is asked costs next to nothing, so that it is asked each time.
    pub(super) fn look(&mut self, now: Instant, anew: bool) -> Look<T, E> {
        let (good, due) = match &self.held {
            Some(held) if now < held.until => (Some(Arc::clone(&held.value)), now >= held.refresh),
            _ => (None, true),
        };
        match good {
            Some(secret) if !anew => {
                let told = if due && self.may_ask(now) { self.board().1 } else { None };
                Look::Use(secret, told)
            }
            None if !anew && !self.may_ask(now) && self.flight().is_none() => match &self.failure {
                Some(failure) => Look::Fail(failure.error.clone()),
                None => self.wait(),
            },
            _ => self.wait(),
        }
    }

    /// This one wouldn't do: another, if there is one by now, or if it is time to ask. `None`: that's that.
    pub(super) fn doubt(&mut self, refused: &Arc<T>, now: Instant) -> Option<Look<T, E>> {
        match &self.held {
            Some(held) if !Arc::ptr_eq(&held.value, refused) => {
                return Some(Look::Use(Arc::clone(&held.value), None));
            }
            _ => {}
        }
        if self.flight().is_none() {
            let pauses = |since: Instant| now.saturating_duration_since(since) < DOUBT_PAUSE;
            if self.doubted.is_some_and(pauses) {
                return None;
            }
            self.doubted = Some(now);
        }
        Some(self.wait())
    }

    /// The duty to ask, if it is time for that though nobody needs it.
    pub(super) fn upkeep(&mut self, now: Instant) -> Option<Told<T, E>> {
        let due = self.held.as_ref().is_some_and(|held| now >= held.refresh);
        if due && self.may_ask(now) { self.board().1 } else { None }
    }

    /// It may have changed: who needs it next has another asked for, if nobody does by then.
    pub(super) fn remind(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.refresh = held.refresh.min(now);
        }
    }

    /// There is an answer. What those who wait are told: on a failure, the old one as long as it is good.
    pub(super) fn land(&mut self, answer: Result<Fresh<T>, E>, now: Instant) -> Outcome<T, E> {
        self.flight = None;
        match answer {
            Ok(Fresh { value, renew, lasts }) => {
                self.held =
                    Some(Held { value: Arc::clone(&value), until: now + lasts, refresh: now + renew });
                self.failure = None;
                Ok(value)
            }
            Err(error) => {
                let in_a_row = self.failure.as_ref().map_or(0, |failure| failure.in_a_row).saturating_add(1);
                let pause = Duration::from_secs(1 << (in_a_row - 1).min(3)).min(LONGEST_PAUSE);
                self.failure = Some(Failure { error: error.clone(), again: now + pause, in_a_row });
                match &self.held {
                    Some(held) if now < held.until => Ok(Arc::clone(&held.value)),
                    _ => Err(error),
                }
            }
        }
    }

    /// For how long the one there is is still good.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.held.as_ref().map_or(Duration::ZERO, |held| held.until.saturating_duration_since(now))
    }

    fn may_ask(&self, now: Instant) -> bool {
        self.failure.as_ref().is_none_or(|failure| now >= failure.again)
    }

    /// The flight under way; one that ended without an answer is none.
    fn flight(&self) -> Option<&Waiting<T, E>> {
        self.flight.as_ref().filter(|flight| flight.has_changed().is_ok())
    }

    fn wait(&mut self) -> Look<T, E> {
        let (waiting, told) = self.board();
        Look::Wait(waiting, told)
    }

    fn board(&mut self) -> (Waiting<T, E>, Option<Told<T, E>>) {
        if let Some(flight) = self.flight() {
            return (flight.clone(), None);
        }
        let (told, waiting) = watch::channel(None);
        self.flight = Some(waiting.clone());
        (waiting, Some(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Text = State<String, &'static str>;

    fn fresh(text: &str) -> Result<Fresh<String>, &'static str> {
        let (renew, lasts) = (Duration::from_secs(80), Duration::from_secs(100));
        Ok(Fresh { value: Arc::new(text.to_owned()), renew, lasts })
    }

    fn failed() -> Result<Fresh<String>, &'static str> {
        Err("failed")
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// What a look comes to, in a word.
    fn word(look: &Look<String, &str>) -> &'static str {
        match look {
            Look::Use(_, None) => "use",
            Look::Use(_, Some(_)) => "use, ask",
            Look::Wait(_, None) => "wait",
            Look::Wait(_, Some(_)) => "ask",
            Look::Fail(_) => "fail",
        }
    }

    #[test]
    fn one_asks_for_all_and_again_in_time() {
        let (mut state, start) = (Text::default(), Instant::now());
        assert!(state.upkeep(start).is_none(), "nobody has needed it yet");
        let first = state.look(start, false);
        assert_eq!(word(&first), "ask");
        assert_eq!(word(&state.look(start, false)), "wait");
        assert!(state.land(fresh("a"), start).is_ok());
        assert_eq!(word(&state.look(at(start, 79), false)), "use");
        assert!(state.upkeep(at(start, 79)).is_none());
        let told = state.upkeep(at(start, 80));
        assert!(told.is_some());
        assert_eq!(word(&state.look(at(start, 80), false)), "use", "it is being asked for");
        assert_eq!(word(&state.look(at(start, 100), false)), "wait", "the old one has ended");
        drop(told);
        assert_eq!(word(&state.look(at(start, 100), false)), "ask", "who had the duty is gone");
    }

    #[test]
    fn the_old_one_outlives_failures_until_its_end() {
        let (mut state, start) = (Text::default(), Instant::now());
        state.look(start, false);
        assert!(state.land(failed(), start).is_err());
        assert_eq!(word(&state.look(start, false)), "fail", "nobody is asked again at once");
        assert_eq!(word(&state.look(at(start, 1), false)), "ask");
        assert!(state.land(fresh("a"), at(start, 1)).is_ok());
        assert_eq!(word(&state.look(at(start, 90), false)), "use, ask");
        assert!(state.land(failed(), at(start, 91)).is_ok(), "the old one is good");
        assert_eq!(word(&state.look(at(start, 91), false)), "use");
        assert_eq!(word(&state.look(at(start, 92), false)), "use, ask");
        assert!(state.land(failed(), at(start, 101)).is_err(), "no longer");
        assert_eq!(word(&state.look(at(start, 102), false)), "fail");
        assert_eq!(word(&state.look(at(start, 103), false)), "ask");
        assert!(state.land(fresh("b"), at(start, 103)).is_ok());
        assert_eq!(word(&state.look(at(start, 104), false)), "use");
    }

    #[test]
    fn who_is_reminded_asks_behind_the_next() {
        let (mut state, start) = (Text::default(), Instant::now());
        state.remind(start);
        state.look(start, false);
        assert!(state.land(fresh("a"), start).is_ok());
        assert_eq!(word(&state.look(at(start, 1), false)), "use");
        state.remind(at(start, 1));
        assert_eq!(word(&state.look(at(start, 1), false)), "use, ask");
    }

    #[test]
    fn a_refused_one_is_replaced_once() {
        let (mut state, start) = (Text::default(), Instant::now());
        state.look(start, false);
        let first = state.land(fresh("a"), start).unwrap();
        let doubt = state.doubt(&first, start).unwrap();
        assert_eq!(word(&doubt), "ask");
        assert_eq!(state.doubt(&first, start).as_ref().map(word), Some("wait"));
        let second = state.land(fresh("b"), start).unwrap();
        assert_eq!(state.doubt(&first, at(start, 1)).as_ref().map(word), Some("use"), "there is another");
        assert!(state.doubt(&second, at(start, 9)).is_none(), "it was asked for just now");
        assert_eq!(state.doubt(&second, at(start, 10)).as_ref().map(word), Some("ask"));
    }

    #[test]
    fn what_costs_nothing_is_asked_each_time() {
        let (mut state, start) = (Text::default(), Instant::now());
        assert_eq!(word(&state.look(start, true)), "ask");
        assert!(state.land(fresh("a"), start).is_ok());
        assert_eq!(word(&state.look(start, true)), "ask");
        assert!(state.land(failed(), start).is_ok(), "the old one is good");
        assert_eq!(word(&state.look(start, true)), "ask");
        assert!(state.land(failed(), at(start, 100)).is_err());
    }
}
