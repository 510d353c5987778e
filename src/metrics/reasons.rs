//! The closed sets of label values: why and how things happened. Bounded by construction; no text from outside
//! becomes one of these labels.

use super::cell::Count;

/// Declares an enum whose variants are label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$each])* $variant,)+ }

        impl $name {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// How it reads as a label, in a log or in the console.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }

        impl Label for $name {
            fn label(self) -> &'static str {
                self.label()
            }

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// A value of a closed set of label values.
pub(super) trait Label: Copy {
    fn label(self) -> &'static str;
    /// Its place in the set.
    fn index(self) -> usize;
}

labels! {
    /// Why a client did not get in.
    LoginFailure {
        /// Wrong or missing password, SCRAM proof or certificate; also an unknown user, who looks the same.
        Credentials = "credentials",
        /// The rules forbid this client: an hba `reject`, or no rule that fits.
        Rejected = "rejected",
        /// TLS is required and was not used.
        TlsRequired = "tls_required",
        /// TLS could not be begun.
        TlsHandshake = "tls_handshake",
        /// No such database, known only after the password was proved.
        NoDatabase = "no_database",
        /// The database is disabled, or pgweir is going down.
        Unavailable = "unavailable",
        /// A limit of the database or the user on client connections.
        Limit = "limit",
        /// A startup parameter that is neither tracked nor ignored, or that PostgreSQL refused.
        Parameter = "parameter",
        /// No server could be had in time.
        NoServer = "no_server",
        /// client_login_timeout.
        Timeout = "timeout",
        /// Not the protocol.
        Protocol = "protocol",
        /// The client went away during login.
        ClientLost = "client_lost",
    }
}

labels! {
    /// Why a client connection was turned away before its login began.
    Refusal {
        /// max_client_conn is reached.
        MaxClientConn = "max_client_conn",
        /// No file descriptor or memory for it.
        Resources = "resources",
    }
}

labels! {
    /// Why pgweir closed a server, or lost it.
    CloseReason {
        /// server_lifetime.
        Lifetime = "lifetime",
        /// server_idle_timeout.
        IdleTimeout = "idle_timeout",
        /// It made room under a cap that another pool was waiting for.
        Evicted = "evicted",
        /// The pool has become smaller.
        Shrunk = "shrunk",
        /// Its settings have changed, or RECONNECT.
        Reconnect = "reconnect",
        /// PAUSE, KILL, or the pool was removed.
        Command = "command",
        /// pgweir is going down.
        Shutdown = "shutdown",
        /// The server closed it or the network failed.
        ServerLost = "server_lost",
        /// The client left in the middle of something that could not be undone in time.
        ClientLost = "client_lost",
        /// What it owes or which state it is in is no longer certain.
        Doubt = "doubt",
        /// server_reset_query, or replaying the client's session state, failed.
        ResetFailed = "reset_failed",
        /// The check of an idle server failed.
        CheckFailed = "check_failed",
        /// query_timeout, transaction_timeout or idle_transaction_timeout.
        Timeout = "timeout",
    }
}

labels! {
    /// Which session state keeps a client on its server.
    PinReason {
        /// A temporary table.
        TempTable = "temp_table",
        /// A session advisory lock.
        AdvisoryLock = "advisory_lock",
        /// A cursor WITH HOLD.
        HoldCursor = "hold_cursor",
        /// LISTEN.
        Listen = "listen",
        /// SQL PREPARE.
        SqlPrepare = "sql_prepare",
        /// A value of a sequence, with `sequence_hold = "session"`.
        Sequence = "sequence",
        /// A parameter that the user may not set, set by a function for it.
        Setting = "setting",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// What became of a CancelRequest whose key was known.
    CancelOutcome {
        /// Passed on to PostgreSQL.
        Sent = "sent",
        /// The client was waiting for a server; it is no longer.
        Waiting = "waiting",
        /// The client had nothing to cancel.
        Ignored = "ignored",
    }
}

/// One counter for each value of a label.
#[derive(Debug)]
pub(super) struct ByLabel<C, const N: usize>([C; N]);

impl<C: Count, const N: usize> Default for ByLabel<C, N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| C::default()))
    }
}

impl<C: Count, const N: usize> ByLabel<C, N> {
    #[inline]
    pub(super) fn add(&self, label: impl Label) {
        self.0[label.index()].add(1);
    }

    pub(super) fn add_to(&self, totals: &mut [u64; N]) {
        for (total, own) in totals.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(own.value());
        }
    }

    pub(super) fn values(&self) -> [u64; N] {
        std::array::from_fn(|i| self.0[i].value())
    }
}
