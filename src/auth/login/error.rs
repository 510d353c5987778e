//! Why a login failed: one side for the log, one for the client, who learns nothing about users or secrets.

use thiserror::Error;

use crate::auth::scram::ScramError;

/// A failed login. `Display` is for the log; clients get [`Self::sqlstate`] and [`Self::client_message`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("login of user {user:?} failed: {detail}")]
pub struct LoginError {
    user: Box<str>,
    detail: Detail,
}

/// The truth, for the log only.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Detail {
    /// No such user.
    #[error("unknown user")]
    UnknownUser,
    /// The password, MD5 answer or SCRAM proof is wrong.
    #[error("wrong password")]
    WrongPassword,
    /// It was the right one when the login began.
    #[error("the configuration has changed since the login began")]
    Outdated,
    /// The client sent an empty password.
    #[error("empty password returned by client")]
    EmptyPassword,
    /// The stored password is empty and so fits nobody.
    #[error("the stored password is empty")]
    EmptySecret,
    /// SCRAM can't be done with an MD5 hash.
    #[error("the stored secret is an MD5 hash, which scram-sha-256 can't use")]
    Md5UnderScram,
    /// The client chose a SASL mechanism that wasn't offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// A message that breaks the protocol.
    #[error("{0}")]
    Protocol(&'static str),
    /// A SASL message whose announced length it can't have: PostgreSQL doesn't tell that from a wrong password.
    #[error("invalid message length")]
    Length,
    /// A SCRAM message that breaks the protocol.
    #[error("{0}")]
    Scram(ScramError),
}

impl LoginError {
    pub(super) fn new(user: &str, detail: Detail) -> Self {
        Self { user: user.into(), detail }
    }

    /// What has been proved isn't the user's any more.
    pub fn outdated(user: &str) -> Self {
        Self::new(user, Detail::Outdated)
    }

    /// The client announced a SASL message of a length that none may have.
    pub fn length(user: &str) -> Self {
        Self::new(user, Detail::Length)
    }

    /// For the log, never for the client.
    pub fn detail(&self) -> &Detail {
        &self.detail
    }

    /// Whether it could be one of many tries to find out a password.
    pub fn is_wrong_guess(&self) -> bool {
        !self.detail.is_protocol_violation() && self.detail != Detail::Length
    }

    /// PostgreSQL's: 08P01 if the client broke the protocol, 28000 if it isn't bound to this server's TLS, 0A000 if it wants of
    /// SCRAM what isn't supported, otherwise 28P01.
    pub fn sqlstate(&self) -> &'static str {
        match &self.detail {
            Detail::Scram(ScramError::BindingFailed | ScramError::Downgrade) => "28000",
            Detail::Scram(ScramError::Unsupported(_)) => "0A000",
            detail if detail.is_protocol_violation() => "08P01",
            _ => "28P01",
        }
    }

    /// What the client is told: the same words whatever the reason, unless it broke the protocol or sent nothing.
    pub fn client_message(&self) -> String {
        if self.detail.is_told() {
            self.detail.to_string()
        } else {
            format!("password authentication failed for user \"{}\"", self.user)
        }
    }
}

impl Detail {
    /// Whether the client is told: it says nothing of the user, only of what was sent, and so it is the same for unknown ones.
    pub(super) fn is_told(&self) -> bool {
        self.is_protocol_violation() || *self == Self::EmptyPassword
    }

    pub(super) fn is_protocol_violation(&self) -> bool {
        match self {
            Self::Mechanism | Self::Protocol(_) | Self::Scram(_) => true,
            Self::UnknownUser
            | Self::WrongPassword
            | Self::Outdated
            | Self::Length
            | Self::EmptyPassword
            | Self::EmptySecret
            | Self::Md5UnderScram => false,
        }
    }
}
