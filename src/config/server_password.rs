//! Where the password towards PostgreSQL comes from when it isn't written down: a command or a file.
use std::path::PathBuf;
use std::time::Duration;

use super::database::Database;
use super::general::General;
use super::user::User;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PasswordSource {
    /// A program and its arguments, run without a shell; nothing, if a name among them would be an option.
    Command(Vec<String>),
    /// A file, which is read.
    File(PathBuf),
}

impl PasswordSource {
    /// The setting that has it.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Command(_) => "server_password_command",
            Self::File(_) => "server_password_file",
        }
    }
}

/// A password that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerPassword {
    /// Who is asked.
    pub source: PasswordSource,
    /// How long an answer is good for that doesn't say when it ends.
    pub lifetime: Duration,
}

/// The two settings, of a section.
type Asked<'a> = (Option<&'a Vec<String>>, Option<&'a Option<PathBuf>>, Option<Duration>);

impl ServerPassword {
    /// What the sections say of a pool: the database's word comes before the user's, as that of `password` does.
    pub(super) fn of(
        general: &General,
        database: &Database,
        user: Option<&User>,
        name: &str,
    ) -> Option<Self> {
        let lifetime = database.server_password_lifetime.unwrap_or(general.server_password_lifetime);
        let own: Asked<'_> = (
            database.server_password_command.as_ref(),
            database.server_password_file.as_ref(),
            database.server_password_lifetime,
        );
        let users = user.filter(|_| database.password.is_none()).map(|user| -> Asked<'_> {
            (
                user.server_password_command.as_ref(),
                user.server_password_file.as_ref(),
                user.server_password_lifetime,
            )
        });
        [Some(own), users].into_iter().flatten().find_map(|(command, file, own)| {
            let source = match (command, file) {
                (Some(command), _) => PasswordSource::Command(filled(command, database, name)),
                (None, Some(Some(path))) => PasswordSource::File(path.clone()),
                (None, _) => return None,
            };
            Some(Self { source, lifetime: own.unwrap_or(lifetime) })
        })
    }
}

/// The arguments with what they stand for: `%h` host, `%p` port, `%d` database, `%u` user, `%%` a percent sign. None at all
/// where a name would be taken for an option: who logs in may have chosen it.
fn filled(command: &[String], database: &Database, user: &str) -> Vec<String> {
    let fill = |argument: &String| {
        let mut filled = String::with_capacity(argument.len());
        let mut characters = argument.chars();
        while let Some(character) = characters.next() {
            match character {
                '%' => match characters.next() {
                    Some('h') => filled.push_str(&database.host.to_string()),
                    Some('p') => filled.push_str(&database.port.to_string()),
                    Some('d') => filled.push_str(database.dbname()),
                    Some('u') => filled.push_str(user),
                    other => filled.extend(other),
                },
                character => filled.push(character),
            }
        }
        filled
    };
    let is_option =
        |(written, filled): (&String, &String)| written.starts_with('%') && filled.starts_with('-');
    let all: Vec<String> = command.iter().map(fill).collect();
    if command.iter().zip(&all).any(is_option) { Vec::new() } else { all }
}

/// Whether one of these letters stands behind a percent sign.
pub(super) fn has_any(argument: &str, letters: &str) -> bool {
    let mut characters = argument.chars();
    while let Some(character) = characters.next() {
        if character == '%' && characters.next().is_some_and(|next| letters.contains(next)) {
            return true;
        }
    }
    false
}

/// Whether each percent sign is followed by what it may be followed by.
pub(super) fn is_template(argument: &str) -> bool {
    let mut characters = argument.chars();
    while let Some(character) = characters.next() {
        if character == '%' && !characters.next().is_some_and(|next| "hpdu%".contains(next)) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn whose_word_counts() {
        let config = parse(
            "[pgweir]\nserver_password_lifetime = 60\n[databases.own]\nhost = \"db\"\ndbname = \"x\"\n\
             server_password_command = [\"get\", \"%h:%p/%d\", \"--user=%u\", \"100%%\"]\n[databases.pw]\npassword = \"x\"\n\
             [databases.bare]\nserver_password_command = [\"get\", \"%u\"]\n[databases.none]\n[users.a]\nserver_password_file = \"/run/a\"\nserver_password_lifetime = \"5m\"\n",
            "f",
        )
        .unwrap_or_else(|errors| panic!("{errors}"))
        .0;
        let of = |database: &str, user| config.server_password(&config.database(database).unwrap(), user);
        let arguments = ["get", "db:5432/x", "--user=a", "100%"].map(str::to_owned).to_vec();
        let lifetime = Duration::from_secs(60);
        let command = ServerPassword { source: PasswordSource::Command(arguments), lifetime };
        assert_eq!(of("own", "a"), Some(command));
        let file = PasswordSource::File("/run/a".into());
        assert_eq!(
            of("none", "a"),
            Some(ServerPassword { source: file, lifetime: Duration::from_secs(300) })
        );
        assert_eq!(of("none", "b"), None);
        let option = config.server_password(&config.database("bare").unwrap(), "--exec=x");
        assert_eq!(option.map(|it| it.source), Some(PasswordSource::Command(vec![])));
        assert_eq!(of("pw", "a"), None);
    }
}
