//! What a server tells by the way, beside what its client has asked for. Pure; data only.

/// What a chunk of the server's told beyond its bytes; to be taken after every chunk.
#[derive(Debug, Default)]
pub struct Heard {
    /// ParameterStatus: name, value, and whether it answers pgweir's own prelude.
    pub parameters: Vec<(String, String, bool)>,
    /// SQLSTATEs of errors passed to the client.
    pub errors: Vec<[u8; 5]>,
    /// Statements refused by pgweir: of their errors, PostgreSQL's none.
    pub refused: u32,
    /// Body of the error that failed the prelude.
    pub prelude_error: Option<Vec<u8>>,
    /// It was the check in front of the prelude that failed.
    pub check_failed: bool,
    /// The server said it ends the session.
    pub fatal: bool,
    /// Transactions that ended and may have changed what concerns others ([`OTHERS`](crate::params::traces::Traces::OTHERS)).
    pub settled: u32,
    /// Statements evicted from the server.
    pub evicted: u32,
    /// Notifications of the client itself that it was told though another server listens for it: channel and payload.
    pub own: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Heard {
    /// Whether nothing was told.
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.parameters.is_empty()
            && self.errors.is_empty()
            && self.refused == 0
            && self.evicted == 0
            && self.own.is_empty()
    }
}
