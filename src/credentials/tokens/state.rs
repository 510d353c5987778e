//! What is known of one password that expires, and what is to be done about it. Time is passed in; asks nobody itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::source::TokenError;
use crate::auth::secret::Secret;
use crate::clock::Instant;

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a password that was asked for because its predecessor was refused counts, whoever refuses it.
const DOUBT_PAUSE: Duration = Duration::from_secs(10);

/// A password just given.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    pub(super) secret: Arc<Secret>,
    /// For how long it is good.
    pub(super) lasts: Duration,
}

/// What asking came to.
pub(super) type Outcome = Result<Arc<Secret>, TokenError>;
pub(super) type Waiting = watch::Receiver<Option<Outcome>>;
pub(super) type Told = watch::Sender<Option<Outcome>>;

/// What to do for somebody who needs the password.
#[derive(Debug)]
pub(super) enum Look {
    /// That is it, and if there is a duty to ask, for those to come.
    Use(Arc<Secret>, Option<Told>),
    /// It is asked for; by the caller, if there is a duty.
    Wait(Waiting, Option<Told>),
    /// It could not be had just now.
    Fail(TokenError),
}

#[derive(Debug)]
struct Held {
    secret: Arc<Secret>,
    /// When it is no longer good.
    until: Instant,
    /// When another is to be asked for.
    refresh: Instant,
}

#[derive(Debug)]
struct Failure {
    error: TokenError,
    /// Before that nobody is asked again.
    again: Instant,
    in_a_row: u32,
}

/// One password: the one there is, whether another is being asked for, and how that went last.
#[derive(Debug, Default)]
pub(super) struct State {
    held: Option<Held>,
    flight: Option<Waiting>,
    failure: Option<Failure>,
    /// When a refused one was last replaced.
    doubted: Option<Instant>,
}

impl State {
    /// For somebody who needs it now. `anew`: what is asked costs next to nothing, so that it is asked each time.
    pub(super) fn look(&mut self, now: Instant, anew: bool) -> Look {
        let (good, due) = match &self.held {
            Some(held) if now < held.until => (Some(Arc::clone(&held.secret)), now >= held.refresh),
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

    /// A login by this one was refused: another, if there is one by now, or if it is time to ask. `None`: that's that.
    pub(super) fn doubt(&mut self, refused: &Arc<Secret>, now: Instant) -> Option<Look> {
        match &self.held {
            Some(held) if !Arc::ptr_eq(&held.secret, refused) => {
                return Some(Look::Use(Arc::clone(&held.secret), None));
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
    pub(super) fn upkeep(&mut self, now: Instant) -> Option<Told> {
        let due = self.held.as_ref().is_some_and(|held| now >= held.refresh);
        if due && self.may_ask(now) { self.board().1 } else { None }
    }

    /// The provider has answered. What those who wait are told: on a failure, the old one as long as it is good.
    pub(super) fn land(&mut self, answer: Result<Fresh, TokenError>, now: Instant) -> Outcome {
        self.flight = None;
        match answer {
            Ok(Fresh { secret, lasts }) => {
                let (until, refresh) = (now + lasts, now + lasts / 5 * 4);
                self.held = Some(Held { secret: Arc::clone(&secret), until, refresh });
                self.failure = None;
                Ok(secret)
            }
            Err(error) => {
                let in_a_row = self.failure.as_ref().map_or(0, |failure| failure.in_a_row).saturating_add(1);
                let pause = Duration::from_secs(1 << (in_a_row - 1).min(3)).min(LONGEST_PAUSE);
                self.failure = Some(Failure { error: error.clone(), again: now + pause, in_a_row });
                match &self.held {
                    Some(held) if now < held.until => Ok(Arc::clone(&held.secret)),
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
    fn flight(&self) -> Option<&Waiting> {
        self.flight.as_ref().filter(|flight| flight.has_changed().is_ok())
    }

    fn wait(&mut self) -> Look {
        let (waiting, told) = self.board();
        Look::Wait(waiting, told)
    }

    fn board(&mut self) -> (Waiting, Option<Told>) {
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
    use super::super::source::Why;
    use super::*;
    use crate::config::PasswordSource;
    use zeroize::Zeroizing;

    const LASTS: Duration = Duration::from_secs(100);

    fn fresh(text: &str) -> Result<Fresh, TokenError> {
        let secret = Arc::new(Secret::Plain(Zeroizing::new(text.to_owned())));
        Ok(Fresh { secret, lasts: LASTS })
    }

    fn failed() -> Result<Fresh, TokenError> {
        Err(TokenError::new(&PasswordSource::Command(vec!["x".to_owned()]), Why::GivenUp))
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// What a look comes to, in a word.
    fn word(look: &Look) -> &'static str {
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
        let (mut state, start) = (State::default(), Instant::now());
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
        let (mut state, start) = (State::default(), Instant::now());
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
    fn a_refused_one_is_replaced_once() {
        let (mut state, start) = (State::default(), Instant::now());
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
        let (mut state, start) = (State::default(), Instant::now());
        assert_eq!(word(&state.look(start, true)), "ask");
        assert!(state.land(fresh("a"), start).is_ok());
        assert_eq!(word(&state.look(start, true)), "ask");
        assert!(state.land(failed(), start).is_ok(), "the old one is good");
        assert_eq!(word(&state.look(start, true)), "ask");
        assert!(state.land(failed(), at(start, 100)).is_err());
    }
}
