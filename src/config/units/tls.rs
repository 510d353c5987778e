//! What TLS settings are written as: modes, protocol versions, roots.
use std::path::PathBuf;

use super::text::ListWritten;
use super::words::Words;
use super::{Refusal, Unit, nearest};

/// How much a connection insists on TLS: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the other side has it.
    Allow,
    /// If the other side has it.
    Prefer,
    /// Or not at all; the other side may be anybody.
    Require,
    /// And the other side's certificate is of a trusted CA.
    VerifyCa,
    /// And it is for the host that was asked for.
    VerifyFull,
}

impl Words for SslMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl SslMode {
    /// Whether there is no connection without TLS.
    pub fn is_required(self) -> bool {
        self >= Self::Require
    }

    /// Whether the other side's certificate is looked at.
    pub fn verifies(self) -> bool {
        self >= Self::VerifyCa
    }

    /// Its word in the file.
    pub fn as_str(self) -> &'static str {
        super::words::word(self)
    }
}

/// How TLS is begun with a server: libpq's `sslnegotiation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// The server is asked first.
    Postgres,
    /// At once, a round trip less; servers know it since PostgreSQL 17.
    Direct,
}

impl Words for SslNegotiation {
    const WORDS: &'static [(&'static str, Self)] = &[("postgres", Self::Postgres), ("direct", Self::Direct)];
}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsProtocols {
    /// 1.2 and 1.3.
    Secure,
    /// 1.2 only.
    V12,
    /// 1.3 only.
    V13,
}

impl Unit for TlsProtocols {
    type Written = ListWritten;
    type Value = Self;

    fn allowed() -> String {
        r#""secure" (which is both), or a list of "tlsv1.2" and "tlsv1.3""#.to_owned()
    }

    fn accept(written: ListWritten) -> Result<Self, Refusal> {
        let mut chosen = None;
        for word in written.items() {
            let more = match word.to_ascii_lowercase().as_str() {
                "secure" | "all" | "default" => Self::Secure,
                "tlsv1.2" => Self::V12,
                "tlsv1.3" => Self::V13,
                "tlsv1.0" | "tlsv1.1" | "legacy" => {
                    return Err(Refusal::because(format!("{word:?} is broken and not there any more")));
                }
                word => {
                    let meant = nearest(word, ["secure", "tlsv1.2", "tlsv1.3"]);
                    return Err(meant.map_or_else(Refusal::plain, |meant| {
                        Refusal::because(format!("did you mean {meant:?}?"))
                    }));
                }
            };
            chosen = Some(if chosen.is_none_or(|chosen| chosen == more) { more } else { Self::Secure });
        }
        chosen.ok_or_else(Refusal::plain)
    }

    fn show(value: &Self) -> String {
        let word = match value {
            Self::Secure => "secure",
            Self::V12 => "tlsv1.2",
            Self::V13 => "tlsv1.3",
        };
        format!("{word:?}")
    }
}

/// Who is trusted to have signed a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Whom this machine trusts.
    System,
    /// The certificates in this file.
    File(PathBuf),
}

/// A file of certificates, or "system"; empty becomes `None`.
pub(in crate::config) struct RootCerts;

impl Unit for RootCerts {
    type Written = String;
    type Value = Option<Roots>;

    fn allowed() -> String {
        r#"the path of a file, "system" for the CAs this machine trusts, or "" for none"#.to_owned()
    }

    fn accept(written: String) -> Result<Option<Roots>, Refusal> {
        match written.as_str() {
            "" => Ok(None),
            "system" => Ok(Some(Roots::System)),
            path if path.contains('\0') => Err(Refusal::plain()),
            path => Ok(Some(Roots::File(path.into()))),
        }
    }

    fn show(value: &Option<Roots>) -> String {
        match value {
            None => r#""""#.to_owned(),
            Some(Roots::System) => r#""system""#.to_owned(),
            Some(Roots::File(path)) => format!("{path:?}"),
        }
    }
}
