//! What drivers say about transactions, which the console has none of: read as PostgreSQL does, and only the status that
//! ReadyForQuery tells changes. Pure.

use super::command::Command;

/// What drivers are told of a transaction; the console has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Transaction {
    #[default]
    None,
    Open,
    Failed,
}

impl Transaction {
    /// As ReadyForQuery says it.
    pub(super) fn status(self) -> u8 {
        match self {
            Self::None => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }

    /// An error was told.
    pub(super) fn fail(&mut self) {
        if *self == Self::Open {
            *self = Self::Failed;
        }
    }
}

/// What a text about a transaction comes to; `None`: it is about something else, or not as PostgreSQL has it.
pub(super) fn parse(text: &str) -> Option<Command> {
    let spaced = text.replace(',', " , ").to_ascii_lowercase();
    let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let noise = |words: &'_ [&'_ str]| usize::from(matches!(words.first(), Some(&("work" | "transaction"))));
    match words.split_first()? {
        (&"begin", rest) => are_modes(&rest[noise(rest)..]).then_some(Command::Begin("BEGIN")),
        (&"start", ["transaction", rest @ ..]) => {
            are_modes(rest).then_some(Command::Begin("START TRANSACTION"))
        }
        (&("commit" | "end"), rest) => ends(&rest[noise(rest)..]).then_some(Command::End("COMMIT")),
        (&("rollback" | "abort"), rest) => ends(&rest[noise(rest)..]).then_some(Command::End("ROLLBACK")),
        (
            &"set",
            ["transaction", rest @ ..] | ["session", "characteristics", "as", "transaction", rest @ ..],
        ) => (!rest.is_empty() && are_modes(rest)).then_some(Command::SetSession),
        _ => None,
    }
}

/// A new transaction at once (AND CHAIN) can't be had.
fn ends(words: &[&str]) -> bool {
    matches!(words, [] | ["and", "no", "chain"])
}

fn are_modes(mut words: &[&str]) -> bool {
    while !words.is_empty() {
        words = match words {
            ["read", "only" | "write", rest @ ..]
            | ["not", "deferrable", rest @ ..]
            | ["deferrable", rest @ ..]
            | ["isolation", "level", "serializable", rest @ ..]
            | ["isolation", "level", "repeatable", "read", rest @ ..]
            | ["isolation", "level", "read", "committed" | "uncommitted", rest @ ..] => rest,
            _ => return false,
        };
        match words {
            [",", rest @ ..] if !rest.is_empty() => words = rest,
            [","] => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_as_drivers_have_them() {
        let (begin, start) = (Some(Command::Begin("BEGIN")), Some(Command::Begin("START TRANSACTION")));
        let (commit, rollback) = (Some(Command::End("COMMIT")), Some(Command::End("ROLLBACK")));
        for (text, command) in [
            ("BEGIN", begin.clone()),
            ("begin work", begin.clone()),
            ("BEGIN READ ONLY", begin.clone()),
            ("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE ,NOT DEFERRABLE", begin.clone()),
            ("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", begin),
            ("START TRANSACTION", start.clone()),
            ("START TRANSACTION READ ONLY", start),
            ("COMMIT", commit.clone()),
            ("END", commit.clone()),
            ("COMMIT TRANSACTION AND NO CHAIN", commit),
            ("ROLLBACK WORK", rollback.clone()),
            ("ABORT", rollback),
            ("SET TRANSACTION READ ONLY", Some(Command::SetSession)),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
                Some(Command::SetSession),
            ),
            ("START", None),
            ("START TRANSACTION READ", None),
            ("BEGIN READ ONLY,", None),
            ("BEGIN, READ ONLY", None),
            ("BEGIN; SHOW POOLS", None),
            ("COMMIT AND CHAIN", None),
            ("ROLLBACK TO s", None),
            ("SET TRANSACTION", None),
            ("SET x = 1", None),
            ("", None),
        ] {
            assert_eq!(parse(text), command, "{text}");
        }
    }
}
