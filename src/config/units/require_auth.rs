//! What a server may ask a login for: libpq's `require_auth`.
use super::text::ListWritten;
use super::{Refusal, Unit, nearest};

/// A way to log in to a server. Those that pgweir has no answer to are words all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAuth {
    /// The password in clear.
    Password,
    /// An MD5 answer.
    Md5,
    /// By Kerberos.
    Gss,
    /// By Windows.
    Sspi,
    /// SCRAM.
    ScramSha256,
    /// A token.
    OAuth,
    /// Nothing: PostgreSQL trusts, or goes by a certificate.
    None,
}

const WORDS: [(&str, ServerAuth); 7] = [
    ("password", ServerAuth::Password),
    ("md5", ServerAuth::Md5),
    ("gss", ServerAuth::Gss),
    ("sspi", ServerAuth::Sspi),
    ("scram-sha-256", ServerAuth::ScramSha256),
    ("oauth", ServerAuth::OAuth),
    ("none", ServerAuth::None),
];

/// Which of them are allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RequireAuth {
    /// A bit for each that is named; none is all of them.
    named: u8,
    /// Those that are named are those that aren't allowed.
    is_negated: bool,
}

impl RequireAuth {
    /// Whether a server may ask for that.
    pub fn allows(self, way: ServerAuth) -> bool {
        self.named == 0 || (self.named & bit(way) != 0) != self.is_negated
    }

    /// As in the file.
    pub fn text(self) -> String {
        let sign = if self.is_negated { "!" } else { "" };
        let named = WORDS.iter().filter(|(_, way)| self.named & bit(*way) != 0);
        named.map(|(word, _)| format!("{sign}{word}")).collect::<Vec<_>>().join(",")
    }
}

fn bit(way: ServerAuth) -> u8 {
    1 << way as u8
}

impl Unit for RequireAuth {
    type Written = ListWritten;
    type Value = Self;

    fn allowed() -> String {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("a list of {}, each with \"!\" in front or none of them, or \"\" for any", words.join(", "))
    }

    fn accept(written: ListWritten) -> Result<Self, Refusal> {
        let mut all = Self::default();
        for given in written.items() {
            let (is_negated, word) = given.strip_prefix('!').map_or((false, &*given), |word| (true, word));
            let Some((_, way)) = WORDS.iter().find(|(known, _)| *known == word) else {
                let meant = nearest(word, WORDS.map(|(word, _)| word));
                return Err(meant.map_or_else(Refusal::plain, |meant| {
                    Refusal::because(format!("did you mean {meant:?}?"))
                }));
            };
            if all.named != 0 && all.is_negated != is_negated {
                return Err(Refusal::because("all of them have \"!\" in front, or none".to_owned()));
            }
            all = Self { named: all.named | bit(*way), is_negated };
        }
        Ok(all)
    }

    fn show(value: &Self) -> String {
        format!("{:?}", value.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Spanned;
    use toml::de::DeValue;

    fn read(text: &str) -> Result<RequireAuth, Refusal> {
        let written = format!("{text:?}");
        let value: Spanned<DeValue<'_>> = DeValue::parse(&written).expect("TOML");
        RequireAuth::from_toml(value)
    }

    #[test]
    fn lists_are_libpq_s() {
        use ServerAuth::{Md5, None, Password, ScramSha256};
        for (text, allowed) in [
            ("", &[Password, Md5, ScramSha256, None][..]),
            ("scram-sha-256", &[ScramSha256]),
            ("scram-sha-256, none", &[ScramSha256, None]),
            ("!password", &[Md5, ScramSha256, None]),
            ("!password,!none", &[Md5, ScramSha256]),
            ("gss", &[]),
        ] {
            let require = read(text).unwrap_or_else(|_| panic!("{text}"));
            for way in [Password, Md5, ScramSha256, None] {
                assert_eq!(require.allows(way), allowed.contains(&way), "{text} {way:?}");
            }
            assert_eq!(require.text(), text.replace(' ', ""));
        }
        for text in ["scram", "!password,md5", "md5,!password", "!"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
