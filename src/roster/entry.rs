//! One client as others see it: what it is doing since when, and how to make it stop.

use super::Roster;
use super::key::{Key, LongSecret, SecretSize};
use super::limits::Limits;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use subtle::ConstantTimeEq as _;

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix-domain socket.
    Unix,
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing.
    Idle = 0,
    /// In line for a server.
    Waiting = 1,
    /// It has a server, which works for it.
    Active = 2,
    /// It has a server, which waits for it: within a transaction, or a batch without its Sync.
    IdleInTransaction = 3,
}

/// What a session is asked from outside: to end, and why, or something small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kick {
    /// pgweir stops; what runs may finish.
    Shutdown = 1,
    /// pgweir stops at once.
    Now = 2,
    /// client_idle_timeout
    ClientIdle = 3,
    /// idle_transaction_timeout
    IdleInTransaction = 4,
    /// KILL, or a reload has removed its database.
    Killed = 5,
    /// KILL_CLIENT
    Forced = 6,
    /// Not to end, but to say what only itself knows: see [`Roster::ask`].
    Ask = 7,
    /// Not to end, but to give up what a command of the console waits for.
    Cancel = 8,
    /// query_timeout
    Query = 9,
    /// transaction_timeout, perhaps: only the session knows when its transaction began.
    Transaction = 10,
    /// query_wait_timeout of its own user, where that isn't the pool's.
    QueryWait = 11,
    /// Not to end, but to tell the client that it waits: query_wait_notify.
    Notify = 12,
    /// Not to end, but to give up a server that has not answered its check, if it hasn't.
    Unanswered = 13,
    /// A reload has given its database another user.
    Moved = 14,
}

impl Kick {
    const ALL: [Self; 14] = [
        Self::Shutdown,
        Self::Now,
        Self::ClientIdle,
        Self::IdleInTransaction,
        Self::Killed,
        Self::Forced,
        Self::Ask,
        Self::Cancel,
        Self::Query,
        Self::Transaction,
        Self::QueryWait,
        Self::Notify,
        Self::Unanswered,
        Self::Moved,
    ];

    /// What passes if it doesn't end the session when it is heard.
    const PASSING: [Self; 9] = [
        Self::ClientIdle,
        Self::IdleInTransaction,
        Self::Ask,
        Self::Cancel,
        Self::Query,
        Self::Transaction,
        Self::QueryWait,
        Self::Notify,
        Self::Unanswered,
    ];

    /// Whether it passes if it doesn't end the session when it is heard.
    pub fn is_passing(self) -> bool {
        Self::PASSING.contains(&self)
    }

    /// Whether it comes before another that is still to be answered.
    fn overrides(self, other: u8) -> bool {
        let urgent = matches!(self, Self::Now | Self::Killed | Self::Forced | Self::Moved);
        urgent || other == 0 || (other == Self::Ask as u8 && self != Self::Ask)
    }
}

/// Beside a [`Kick`]: something waits for the session elsewhere.
const MAIL: u8 = 0x80;

/// What the clients of a pool have in common.
#[derive(Debug, Default)]
pub struct Place {
    /// Database by its name here.
    pub database: Arc<str>,
    /// User of the pool.
    pub user: Arc<str>,
    /// User the clients have logged in as.
    pub login: Arc<str>,
    /// Where they are entered.
    pub roster: Arc<Roster>,
    /// How long they may take for something.
    pub limits: Limits,
}

/// A client that is about to be entered.
#[derive(Debug)]
pub struct Newcomer {
    /// Never reused.
    pub id: u64,
    /// Where it comes from.
    pub address: ClientAddress,
    /// Its pool.
    pub place: Arc<Place>,
    /// How long its secret is to be.
    pub size: SecretSize,
    /// Wakes its task, of which a session is the last part.
    pub waker: Waker,
}

/// A client's entry. Each idle client has one: what few clients need lies apart.
#[derive(Debug)]
pub struct Entry {
    /// Never reused.
    pub id: u64,
    /// Its pool.
    pub place: Arc<Place>,
    pub(super) pid: u32,
    short_secret: [u8; 4],
    origin: Origin,
    /// A [`Kick`], and [`MAIL`].
    kicked: AtomicU8,
    /// Phase in the low two bits, nanoseconds of the roster's clock above.
    phase: AtomicU64,
    waker: Waker,
    rare: Option<Box<Rare>>,
}

/// What only clients of IPv6 and of protocol 3.2 need.
#[derive(Debug)]
struct Rare {
    address: Option<SocketAddrV6>,
    secret: Option<LongSecret>,
}

/// An address in bytes, so that it needs no alignment.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Unix,
    V4([u8; 4], [u8; 2]),
    /// In [`Rare`].
    V6,
}

impl Entry {
    pub(super) fn new(newcomer: Newcomer, key: Key) -> Self {
        let Newcomer { id, address, place, waker, .. } = newcomer;
        let (origin, v6) = match address {
            ClientAddress::Unix => (Origin::Unix, None),
            ClientAddress::Tcp(SocketAddr::V4(a)) => {
                (Origin::V4(a.ip().octets(), a.port().to_ne_bytes()), None)
            }
            ClientAddress::Tcp(SocketAddr::V6(a)) => (Origin::V6, Some(a)),
        };
        let rare = Rare { address: v6, secret: key.long };
        let is_rare = rare.address.is_some() || rare.secret.is_some();
        Self {
            id,
            place,
            pid: key.pid,
            short_secret: key.short,
            origin,
            kicked: AtomicU8::new(0),
            phase: AtomicU64::new(0),
            waker,
            rare: is_rare.then(|| Box::new(rare)),
        }
    }

    /// Where the client comes from.
    pub fn address(&self) -> ClientAddress {
        match (self.origin, self.rare.as_ref().and_then(|rare| rare.address)) {
            (Origin::V4(ip, port), _) => {
                ClientAddress::Tcp(SocketAddr::new(Ipv4Addr::from(ip).into(), u16::from_ne_bytes(port)))
            }
            (Origin::V6, Some(address)) => ClientAddress::Tcp(SocketAddr::V6(address)),
            _ => ClientAddress::Unix,
        }
    }

    /// The process ID a CancelRequest for this client names: random, positive as an Int32, and never a server's.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The secret a CancelRequest has to bring.
    pub fn secret(&self) -> &[u8] {
        match self.rare.as_ref().and_then(|rare| rare.secret.as_ref()) {
            Some(long) => long.bytes(),
            None => &self.short_secret,
        }
    }

    /// Whether this is the secret, in constant time.
    pub fn has_secret(&self, secret: &[u8]) -> bool {
        self.secret().ct_eq(secret).into()
    }

    /// What the client does now; written by its session only.
    #[inline]
    pub fn set_phase(&self, phase: Phase, now: u64) {
        self.phase.store(now << 2 | phase as u64, Ordering::Relaxed);
    }

    /// What the client does, and since when by the roster's clock.
    pub fn phase(&self) -> (Phase, u64) {
        let packed = self.phase.load(Ordering::Relaxed);
        let phase = match packed & 3 {
            0 => Phase::Idle,
            1 => Phase::Waiting,
            2 => Phase::Active,
            _ => Phase::IdleInTransaction,
        };
        (phase, packed >> 2)
    }

    /// Asks something of the session. The first asks; only [`Kick::Now`] and an operator's word override.
    pub fn kick(&self, kick: Kick) {
        let _ = self.kicked.fetch_update(Ordering::Release, Ordering::Relaxed, |now| {
            kick.overrides(now & !MAIL).then_some(now & MAIL | kick as u8)
        });
        self.waker.wake_by_ref();
    }

    /// Tells the session that something waits for it elsewhere.
    pub fn knock(&self) {
        self.kicked.fetch_or(MAIL, Ordering::Release);
        self.waker.wake_by_ref();
    }

    /// Whether something waits for the session.
    pub fn has_mail(&self) -> bool {
        self.kicked.load(Ordering::Acquire) & MAIL != 0
    }

    /// The session is about to take what waits.
    pub fn answer_knock(&self) {
        self.kicked.fetch_and(!MAIL, Ordering::AcqRel);
    }

    /// Whether the session is asked something.
    #[inline]
    pub fn is_called(&self) -> bool {
        self.kicked.load(Ordering::Acquire) != 0
    }

    /// Whether the session is asked to end.
    pub fn kicked(&self) -> Option<Kick> {
        match self.kicked.load(Ordering::Acquire) & !MAIL {
            0 => None,
            asked => Kick::ALL.get(usize::from(asked) - 1).copied(),
        }
    }

    /// Not to end after all: a timeout that no longer applies when the session gets to hear of it, or what has been done.
    pub fn forgive(&self) {
        let passing = Kick::PASSING.map(|kick| kick as u8);
        let _ = self.kicked.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| {
            passing.contains(&(now & !MAIL)).then_some(now & MAIL)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every client costs beside its task; two more words are the counts of its `Arc`. May only grow for a reason.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 64, "{} bytes", size_of::<Entry>());
    }

    #[test]
    fn what_is_asked_first_stands_unless_it_matters_less() {
        let place = Place { database: "d".into(), user: "u".into(), login: "u".into(), ..Place::default() };
        let newcomer = Newcomer {
            id: 1,
            address: ClientAddress::Unix,
            place: Arc::new(place),
            size: SecretSize::Short,
            waker: Waker::noop().clone(),
        };
        let entry = Entry::new(newcomer, Key::random(SecretSize::Short));
        use Kick::{Ask, ClientIdle, Forced, Now, Shutdown};
        for (asked, then, stands) in [
            (Ask, Shutdown, Shutdown),
            (Ask, ClientIdle, ClientIdle),
            (ClientIdle, Ask, ClientIdle),
            (Shutdown, ClientIdle, Shutdown),
            (Shutdown, Forced, Forced),
            (Forced, Now, Now),
        ] {
            entry.kicked.store(0, Ordering::Relaxed);
            entry.kick(asked);
            entry.kick(then);
            assert_eq!(entry.kicked(), Some(stands), "{asked:?}, {then:?}");
        }
        for kick in Kick::ALL {
            entry.kicked.store(kick as u8, Ordering::Relaxed);
            assert_eq!(entry.kicked(), Some(kick));
        }
    }

    #[test]
    fn addresses_and_secrets_come_back() {
        let place = Arc::new(Place {
            database: "db".into(),
            user: "me".into(),
            login: "me".into(),
            ..Place::default()
        });
        let addresses = ["1.2.3.4:5", "[fe80::1%3]:7"].map(|a| ClientAddress::Tcp(a.parse().unwrap()));
        for address in addresses.into_iter().chain([ClientAddress::Unix]) {
            for (size, length) in [(SecretSize::Short, 4), (SecretSize::Long, 32)] {
                let place = Arc::clone(&place);
                let waker = Waker::noop().clone();
                let key = Key::random(size);
                let entry = Entry::new(Newcomer { id: 1, address, place, size, waker }, key);
                assert_eq!((entry.address(), entry.secret().len()), (address, length));
                assert!(entry.has_secret(entry.secret()) && !entry.has_secret(&[0; 8]));
            }
        }
    }
}
