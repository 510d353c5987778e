//! Kinds of replies, what becomes of them, and how a session stands.

/// The kind of reply a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Anything up to ReadyForQuery.
    Query,
    /// FunctionCallResponse, then ReadyForQuery.
    FunctionCall,
    /// ReadyForQuery.
    Sync,
    /// ParseComplete.
    Parse,
    /// ErrorResponse: a Parse under a name that is taken. Success would mean our books are wrong.
    DuplicateParse,
    /// BindComplete.
    Bind,
    /// ParameterDescription (of a statement), then RowDescription or NoData.
    Describe,
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CloseComplete.
    Close,
    /// ErrorResponse: a Flush with a body. A server that awaits COPY data ignores it.
    BadFlush,
    /// Nothing: marks where the client ended its COPY data.
    CopyEnd,
    /// Nothing: a Sync or a bad Flush the server ignored, or the end of COPY data it has come to. Keeps the numbers of the others.
    Nothing,
}

/// What becomes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The client asked and gets it.
    Forward,
    /// pgweir asked on the client's behalf: a success is swallowed, an error is the client's.
    Swallow,
    /// pgweir asked to make the server fit for the client: everything is swallowed, an error fails the lease.
    Prelude,
    /// The empty Query behind a chained prelude: everything is swallowed. Of an error nobody hears, since all that the prelude was to
    /// do is done then.
    PreludeEnd,
    /// pgweir asked behind the client's request: parameters that change and errors are the client's.
    Behind,
    /// The same, and the client gets its ReadyForQuery.
    BehindAndReady,
    /// The server was not asked; pgweir answers in its place, in order.
    Local,
}

/// Transaction status as the last ReadyForQuery gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not in a transaction block.
    Idle,
    /// In a transaction block.
    Transaction,
    /// In a failed transaction block.
    Failed,
}

/// What to do with a message of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// To the client.
    Forward,
    /// Nowhere.
    Swallow,
    /// Nowhere; the prelude failed, the server is of no use.
    PreludeFailed,
}
