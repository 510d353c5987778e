//! The task of a connection: what is rare and large is boxed for as long as it lasts, the session lies in the task itself.

use super::connection::{Arrival, open};
use super::session::Session;
use super::turnstile::{Place, Turnstile};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Serves a connection; ready when it is closed.
#[derive(Debug)]
pub struct Connection(Part);

enum Part {
    Arrived(Box<Arrival>),
    LoggingIn(Boxed<Option<Session>>, Turn),
    Session(Session),
    Leaving(Boxed<()>, Option<Turn>),
    Over,
}

/// Every step of a login takes a turn, and the farewell of who has no server one.
struct Turn {
    stile: Arc<Turnstile>,
    place: Place,
}

impl Turn {
    fn at(stile: &Arc<Turnstile>) -> Self {
        Self { stile: Arc::clone(stile), place: Place::default() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stile.poll_turn(cx.waker(), &mut self.place)
    }
}

impl Connection {
    /// A connection that has been accepted.
    pub fn new(arrival: Arrival) -> Self {
        Self(Part::Arrived(Box::new(arrival)))
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.0 = match &mut self.0 {
                Part::Session(session) => {
                    let end = ready!(session.poll(cx));
                    let Part::Session(session) = std::mem::replace(&mut self.0, Part::Over) else { continue };
                    let turn = session.is_idle().then(|| Turn::at(&session.context.shared.turnstile));
                    Part::Leaving(Box::pin(session.farewell(*end)), turn)
                }
                Part::Arrived(_) => {
                    let Part::Arrived(arrival) = std::mem::replace(&mut self.0, Part::Over) else { continue };
                    let turn = Turn::at(&arrival.shared.turnstile);
                    Part::LoggingIn(Box::pin(open(arrival)), turn)
                }
                Part::LoggingIn(opening, turn) => {
                    ready!(turn.poll(cx));
                    match ready!(opening.as_mut().poll(cx)) {
                        Some(session) => {
                            session.begin_service();
                            Part::Session(session)
                        }
                        None => Part::Over,
                    }
                }
                Part::Leaving(farewell, turn) => {
                    if let Some(waits) = turn {
                        ready!(waits.poll(cx));
                        *turn = None;
                    }
                    ready!(farewell.as_mut().poll(cx));
                    Part::Over
                }
                Part::Over => return Poll::Ready(()),
            };
        }
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Arrived(_) => "Arrived",
            Self::LoggingIn(..) => "LoggingIn",
            Self::Session(_) => "Session",
            Self::Leaving(..) => "Leaving",
            Self::Over => "Over",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// What a connection holds before it has logged in. It is copied as it is boxed.
    #[test]
    fn a_login_is_small() {
        assert!(size(open) <= 6 * 1024, "{} bytes", size(open));
    }

    /// What every idle client costs beside its socket and its entry in the roster. Tokio adds 104 bytes and rounds up to a
    /// multiple of 128: eight more bytes here, and every client costs half as much again.
    #[test]
    fn a_connection_fits_into_a_task_of_256_bytes() {
        assert!(size_of::<Connection>() <= 152, "{} bytes", size_of::<Connection>());
    }
}
