//! Which method does what with which form of secret: every pair is spelled out and none falls through to another.

use super::Detail;
use crate::auth::secret::Form;

/// How clients must prove who they are: `auth_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all; but the user must exist.
    Trust,
    /// By the password, in clear.
    Password,
    /// By an MD5 answer, or SCRAM if that is what is stored.
    Md5,
    /// By SCRAM-SHA-256.
    ScramSha256,
}

/// How a user without a usable secret is asked under [`Method::Md5`], and whose hashing time a password in clear
/// costs them: they should look like the others. PostgreSQL goes by `password_encryption` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mock {
    /// As one with an MD5 hash or a plain password.
    Md5,
    /// As one with a SCRAM secret.
    Scram,
}

/// What the client is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Clear,
    Md5,
    Scram,
}

/// What becomes of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It succeeds unasked.
    Admit,
    /// It fails unasked.
    Refuse(Detail),
    /// The answer decides.
    Ask(Challenge),
    /// The client is asked and fails whatever it answers.
    Mock(Challenge, Detail),
}

/// `form` is `None` for an unknown user.
pub(super) fn plan(method: Method, form: Option<Form>, unknown: Mock) -> Plan {
    let like_others = match unknown {
        Mock::Md5 => Challenge::Md5,
        Mock::Scram => Challenge::Scram,
    };
    match (method, form) {
        (Method::Trust, None) => Plan::Refuse(Detail::UnknownUser),
        (Method::Trust, Some(Form::Empty | Form::Plain | Form::Md5 | Form::Scram)) => Plan::Admit,

        (Method::Password, None) => Plan::Mock(Challenge::Clear, Detail::UnknownUser),
        (Method::Password, Some(Form::Empty)) => Plan::Mock(Challenge::Clear, Detail::EmptySecret),
        (Method::Password, Some(Form::Plain | Form::Md5 | Form::Scram)) => Plan::Ask(Challenge::Clear),

        (Method::Md5, None) => Plan::Mock(like_others, Detail::UnknownUser),
        (Method::Md5, Some(Form::Empty)) => Plan::Mock(like_others, Detail::EmptySecret),
        (Method::Md5, Some(Form::Plain | Form::Md5)) => Plan::Ask(Challenge::Md5),
        (Method::Md5, Some(Form::Scram)) => Plan::Ask(Challenge::Scram),

        (Method::ScramSha256, None) => Plan::Mock(Challenge::Scram, Detail::UnknownUser),
        (Method::ScramSha256, Some(Form::Empty)) => Plan::Mock(Challenge::Scram, Detail::EmptySecret),
        (Method::ScramSha256, Some(Form::Md5)) => Plan::Mock(Challenge::Scram, Detail::Md5UnderScram),
        (Method::ScramSha256, Some(Form::Plain | Form::Scram)) => Plan::Ask(Challenge::Scram),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_needs_a_known_user() {
        assert_eq!(plan(Method::Trust, None, Mock::Scram), Plan::Refuse(Detail::UnknownUser));
        assert_eq!(plan(Method::Trust, Some(Form::Empty), Mock::Scram), Plan::Admit);
    }

    /// CVE-2025-46801, CVE-2024-45624: a method must not let in by what another one would have accepted.
    #[test]
    fn only_trust_admits_unasked() {
        for method in [Method::Password, Method::Md5, Method::ScramSha256] {
            for unknown in [Mock::Md5, Mock::Scram] {
                for form in [None, Some(Form::Empty)] {
                    assert!(matches!(plan(method, form, unknown), Plan::Mock(..)), "{method:?} {form:?}");
                }
                for form in [Form::Plain, Form::Md5, Form::Scram] {
                    let plan = plan(method, Some(form), unknown);
                    assert!(matches!(plan, Plan::Ask(_) | Plan::Mock(..)), "{method:?} {form:?}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_user_is_asked_as_the_others_are() {
        for (method, unknown, challenge) in [
            (Method::Password, Mock::Md5, Challenge::Clear),
            (Method::Password, Mock::Scram, Challenge::Clear),
            (Method::Md5, Mock::Md5, Challenge::Md5),
            (Method::Md5, Mock::Scram, Challenge::Scram),
            (Method::ScramSha256, Mock::Md5, Challenge::Scram),
            (Method::ScramSha256, Mock::Scram, Challenge::Scram),
        ] {
            assert_eq!(plan(method, None, unknown), Plan::Mock(challenge, Detail::UnknownUser));
            assert_eq!(plan(method, Some(Form::Empty), unknown), Plan::Mock(challenge, Detail::EmptySecret));
        }
    }

    #[test]
    fn md5_uses_scram_for_a_scram_secret() {
        assert_eq!(plan(Method::Md5, Some(Form::Scram), Mock::Md5), Plan::Ask(Challenge::Scram));
        assert_eq!(plan(Method::Md5, Some(Form::Md5), Mock::Scram), Plan::Ask(Challenge::Md5));
        assert_eq!(plan(Method::Md5, Some(Form::Plain), Mock::Scram), Plan::Ask(Challenge::Md5));
    }

    #[test]
    fn scram_is_never_weakened_for_an_md5_secret() {
        let refused = Plan::Mock(Challenge::Scram, Detail::Md5UnderScram);
        assert_eq!(plan(Method::ScramSha256, Some(Form::Md5), Mock::Md5), refused);
        for form in [Form::Plain, Form::Scram] {
            assert_eq!(plan(Method::ScramSha256, Some(form), Mock::Md5), Plan::Ask(Challenge::Scram));
        }
    }
}
