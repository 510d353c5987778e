//! Many sockets and one clock on one thread: epoll with a timer that keeps microseconds, which epoll's own time limit
//! does not everywhere.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, Result, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The timer's token.
const TIMER: u64 = u64::MAX;
/// Sockets told about at once.
const AT_ONCE: usize = 512;

pub(crate) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer is set to.
    set_to: Option<Instant>,
}

impl Poller {
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Self { epoll, timer, set_to: None })
    }

    /// Tells about the socket whenever there is something to read; closing it ends that.
    pub(crate) fn add(&self, socket: &impl AsFd, token: usize) -> Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(token as u64), EventFlags::IN)
    }

    /// Waits until a socket is readable or it is that time; puts the tokens of the readable ones into `ready`.
    pub(crate) fn wait(&mut self, until: Option<Instant>, ready: &mut Vec<usize>) -> Result<()> {
        ready.clear();
        if until != self.set_to {
            self.set(until)?;
        }
        let mut room = [MaybeUninit::<Event>::uninit(); AT_ONCE];
        let events = match epoll::wait(&self.epoll, &mut room, None) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        for event in events {
            match event.data.u64() {
                TIMER => {
                    read(&self.timer, &mut [0; 8]).ok();
                    self.set_to = None;
                }
                token => ready.push(token as usize),
            }
        }
        Ok(())
    }

    fn set(&mut self, until: Option<Instant>) -> Result<()> {
        // Zero would stop the timer.
        let soonest = Duration::from_nanos(1);
        let left = until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()).max(soonest));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(left).map_err(|_| Errno::INVAL)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.set_to = until;
        Ok(())
    }
}
