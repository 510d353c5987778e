//! Asking a provider: a command is run, without a shell, or a file is read.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Fresh, command};
use crate::auth::secret::Secret;
use crate::auth::token::{self, NoPassword};
use crate::config::PasswordSource;
use crate::timer::timeout;

/// Commands that run at the same time; others wait for their turn. Who wants to log in to a database that is looked up in itself
/// has one run for it before proving anything.
const AT_ONCE: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Why there is no password. Neither this nor its text has anything of what the provider gave.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{setting} {whose:?} {why}")]
pub struct TokenError {
    setting: &'static str,
    whose: Arc<str>,
    why: Arc<Why>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    #[error("can't be run: {0}")]
    Run(io::Error),
    #[error("can't be read: {0}")]
    Read(io::Error),
    #[error("ended with {0}")]
    Failed(ExitStatus),
    #[error("gave no password within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    NoPassword(#[from] NoPassword),
    #[error("can't be run: a name that begins with - would be taken for an option")]
    Option,
    #[error("was given up")]
    GivenUp,
}

impl TokenError {
    pub(super) fn new(source: &PasswordSource, why: Why) -> Self {
        let (setting, whose) = match source {
            // The arguments may hold secrets.
            PasswordSource::Command(arguments) => {
                ("server_password_command", arguments.first().map_or("", |program| &**program).into())
            }
            PasswordSource::File(path) => ("server_password_file", path.display().to_string().into()),
        };
        Self { setting, whose, why: Arc::new(why) }
    }
}

/// Asks once, for `limit` at most, the wait for its turn included. `lifetime` is how long the answer is good for if it doesn't say. Cancel safe: the command
/// is killed.
pub(super) async fn ask(
    source: &PasswordSource,
    limit: Duration,
    lifetime: Duration,
) -> Result<Fresh<Secret>, TokenError> {
    let asking = async {
        match source {
            PasswordSource::Command(arguments) => run(arguments, &TURNS, limit).await,
            PasswordSource::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || {
                    crate::config::load::read_named(&path).map(Zeroizing::new)
                });
                read.await.map_err(|_| Why::GivenUp)?.map_err(Why::Read)
            }
        }
    };
    let given = timeout(limit, asking).await.unwrap_or(Err(Why::Timeout(limit)));
    let password = given.and_then(|given| token::password(&given).map_err(Why::NoPassword));
    let password = password.map_err(|why| TokenError::new(source, why))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let left = token::expires(&password).map(|at| Duration::from_secs(at).saturating_sub(now));
    let lasts = left.unwrap_or(lifetime);
    Ok(Fresh { value: Arc::new(Secret::Plain(password)), renew: lasts / 5 * 4, lasts })
}

/// What a command prints, if it ends well.
async fn run(arguments: &[String], turns: &Semaphore, limit: Duration) -> Result<Zeroizing<Vec<u8>>, Why> {
    let (program, arguments) = arguments.split_first().ok_or(Why::Option)?;
    // Given back behind the group's end: what was begun is gone by then.
    let _turn = turns.acquire().await.map_err(|_| Why::GivenUp)?;
    let ended = command::run(program, arguments, token::LONGEST, limit).await;
    let command::Ended { status, output } = ended.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Why::Timeout(limit),
        _ => Why::Run(error),
    })?;
    if output.len() > token::LONGEST {
        return Err(NoPassword::TooLong.into());
    }
    if status.success() { Ok(output) } else { Err(Why::Failed(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_needs_a_turn() {
        let (turns, echo) = (Semaphore::new(1), ["echo", "x"].map(str::to_owned));
        for _ in 0..2 {
            assert_eq!(**run(&echo, &turns, Duration::from_secs(60)).await.expect("a turn"), *b"x\n");
        }
        assert_eq!(turns.available_permits(), 1);
        turns.close();
        assert!(run(&echo, &turns, Duration::from_secs(60)).await.is_err(), "there is no turn");
    }
}
