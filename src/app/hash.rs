//! `pgweir hash`: what is stored of a password.

use super::error::AppError;
use super::prompt;
use crate::auth::md5;
use crate::auth::scram::secret::ScramSecret;
use crate::auth::secret::Secret;
use crate::cli::Hash;
use std::io;
use zeroize::Zeroizing;

/// As long as PostgreSQL's.
const SALT: usize = 16;

/// Reads a password and prints its secret.
pub(super) fn run(wanted: &Hash) -> Result<(), AppError> {
    let password = prompt::password("Password")?;
    println!("{}", &**make(wanted, &password)?);
    Ok(())
}

fn make(wanted: &Hash, password: &str) -> io::Result<Zeroizing<String>> {
    if let Some(user) = &wanted.md5 {
        let digits = md5::stored_digits(user, password.as_bytes());
        return Ok(Zeroizing::new(format!("md5{}", digits.escape_ascii())));
    }
    let made = match &wanted.like {
        None => {
            ScramSecret::from_password(password.as_bytes(), wanted.iterations, &rand::random::<[u8; SALT]>())
        }
        Some(like) => match Secret::parse(like.expose()) {
            Ok(Secret::Scram(like)) => {
                ScramSecret::from_password(password.as_bytes(), like.iterations(), like.salt())
            }
            Ok(_) => return Err(io::Error::other("--like takes a SCRAM secret: SCRAM-SHA-256$…")),
            Err(error) => return Err(io::Error::other(format!("--like: {error}"))),
        },
    };
    Ok(made.stored_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secret::StoredSecret;
    use crate::config::Password;

    fn made(wanted: &Hash, password: &str) -> Secret {
        Secret::parse(&make(wanted, password).expect("made")).expect("a secret")
    }

    #[test]
    fn secrets_are_of_their_passwords() {
        let scram = Hash { iterations: 5, like: None, md5: None };
        let md5 = Hash { md5: Some("joe".to_owned()), ..Hash { iterations: 5, like: None, md5: None } };
        for wanted in [&scram, &md5] {
            let secret = made(wanted, "pencil");
            assert!(secret.is_of("joe", b"pencil") && !secret.is_of("joe", b"pen"), "{wanted:?}");
        }
        assert_ne!(*make(&scram, "pencil").unwrap(), *make(&scram, "pencil").unwrap(), "a salt of its own");
    }

    #[test]
    fn one_like_another_can_stand_beside_it() {
        let first = make(&Hash { iterations: 7, like: None, md5: None }, "old").unwrap();
        let like = Hash { iterations: 4096, like: Some(Password::new(first.to_string())), md5: None };
        let both = StoredSecret::new(Secret::parse(&first).unwrap()).with_second(made(&like, "new"));
        assert!(both.unwrap().is_of("u", b"new"));
        let plain = Hash { like: Some(Password::new("x".to_owned())), ..like };
        assert!(make(&plain, "new").is_err());
    }
}
