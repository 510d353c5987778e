//! PostgreSQL's MD5 authentication: the stored digits, the answer to a challenge, and its check.
//! Weak by today's measure and kept because servers and clients still ask for it.

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::secret::Secret;

/// The hexadecimal digits of md5(password + user): what is stored after `md5`.
pub fn stored_digits(user: &str, password: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut hash = Md5::new();
    hash.update(password);
    hash.update(user.as_bytes());
    Zeroizing::new(digits(hash.finalize().into()))
}

/// The answer to a challenge with `salt`: `md5` and 32 digits. `None` for a SCRAM secret, which MD5 can't use.
/// Pass-the-hash by design: the stored digits suffice.
pub fn answer(secret: &Secret, user: &str, salt: [u8; 4]) -> Option<String> {
    match secret {
        Secret::Plain(password) => {
            Some(postgres_protocol::authentication::md5_hash(user.as_bytes(), password.as_bytes(), salt))
        }
        Secret::Md5(stored) => {
            let mut hash = Md5::new();
            hash.update(stored.as_slice());
            hash.update(salt);
            Some(format!("md5{}", digits(hash.finalize().into()).escape_ascii()))
        }
        Secret::Scram(_) => None,
    }
}

/// Whether `given` is the right answer, in time independent of where it differs. Never for a SCRAM secret, nor for an
/// empty password.
pub fn is_answer(secret: &Secret, user: &str, salt: [u8; 4], given: &[u8]) -> bool {
    if matches!(secret, Secret::Plain(password) if password.is_empty()) {
        return false;
    }
    answer(secret, user, salt).is_some_and(|right| right.as_bytes().ct_eq(given).into())
}

fn digits(hash: [u8; 16]) -> [u8; 32] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|i| {
        let byte = hash[i / 2];
        HEX[usize::from(if i % 2 == 0 { byte >> 4 } else { byte & 0xf })]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 4] = [0x2a, 0x3d, 0x8f, 0xe0];
    const ANSWER: &str = "md562af4dd09bbb41884907a838a3233294";

    fn stored(user: &str, password: &str) -> Secret {
        Secret::Md5(stored_digits(user, password.as_bytes()))
    }

    #[test]
    fn the_stored_digits_answer_like_the_password() {
        let plain = Secret::parse("password").unwrap();
        assert_eq!(answer(&plain, "md5_user", SALT).as_deref(), Some(ANSWER));
        assert_eq!(answer(&stored("md5_user", "password"), "md5_user", SALT).as_deref(), Some(ANSWER));
    }

    #[test]
    fn only_the_right_answer_passes() {
        let empty = Secret::parse("").unwrap();
        let to_empty = answer(&empty, "md5_user", SALT).unwrap();
        assert!(!is_answer(&empty, "md5_user", SALT, to_empty.as_bytes()));
        for secret in [Secret::parse("password").unwrap(), stored("md5_user", "password")] {
            let check = |salt, given: &str| is_answer(&secret, "md5_user", salt, given.as_bytes());
            assert!(check(SALT, ANSWER));
            assert!(!check([0; 4], ANSWER));
            assert!(!check(SALT, &ANSWER[3..]));
            assert!(!check(SALT, &ANSWER[..34]));
            assert!(!check(SALT, &format!("{ANSWER}0")));
            assert!(!check(SALT, ""));
            assert!(!check(SALT, "password"));
        }
    }

    #[test]
    fn digits_match_a_known_hash() {
        assert_eq!(&*stored_digits("", b"123456"), b"e10adc3949ba59abbe56e057f20f883e");
    }
}
