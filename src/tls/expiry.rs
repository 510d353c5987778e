//! Until when the certificates that pgweir itself shows are valid.

use super::date;
use super::der::{SEQUENCE, expect, from_issuer};
use super::{FileError, files};
use crate::config::Config;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const DAY: i64 = 86_400;

/// A file with a certificate that pgweir shows. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The setting that names it.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Since when it is valid.
    pub since: i64,
    /// Until when, or the first of those that lead to its CA.
    pub until: i64,
}

/// All of this configuration, each file once. Blocks; meant for start and reload.
///
/// # Errors
/// The first file that can't be read.
pub fn shown(config: &Config) -> Result<Vec<Shown>, FileError> {
    let mut named: BTreeMap<PathBuf, &'static str> = BTreeMap::new();
    let mut add = |setting, path: Option<&Path>| named.extend(path.map(|path| (path.to_owned(), setting)));
    for tls in config.all_server_tls() {
        add("server_tls_cert_file", tls.cert_file.as_deref());
    }
    add("client_tls_cert_file", config.client_tls().files().map(|(certificate, _)| certificate));
    let read = |(path, setting): (PathBuf, &'static str)| {
        let chain = files::certificates((setting, &path))?;
        let found =
            chain.iter().filter_map(|certificate| validity(certificate)).min_by_key(|(_, until)| *until);
        Ok(found.map(|(since, until)| Shown { setting, path, since, until }))
    };
    named.into_iter().map(read).filter_map(Result::transpose).collect()
}

impl Shown {
    /// What an operator should know of it at this time, if anything: that it has ended, or that less than a tenth of it is left,
    /// by when all that renews certificates has done so.
    pub fn warning(&self, now: i64) -> Option<String> {
        let Self { setting, path, since, until } = self;
        let left = until - now;
        let when = match left.abs() {
            span if span >= 2 * DAY => format!("{} days", span / DAY),
            span => format!("{} hours", span / 3600),
        };
        let what = match left {
            ..=0 => format!("has expired {when} ago: whoever verifies it refuses it"),
            _ if left < (until - since) / 10 => format!("expires in {when}"),
            _ if now < *since => "isn't valid yet".to_owned(),
            _ => return None,
        };
        Some(format!("{}: the certificate of {setting} {what}", path.display()))
    }
}

/// The first and the last second of a certificate in DER.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_issuer, rest) = expect(from_issuer(certificate)?, SEQUENCE)?;
    date::validity(expect(rest, SEQUENCE)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn validities_as_they_were_made() {
        // date -u -d … +%s
        for ((y, m, d), expected) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 951_782_400),
            ((2049, 12, 31), 2_524_521_600),
            ((2051, 3, 1), 2_561_241_600),
        ] {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            (params.not_before, params.not_after) = (date_time_ymd(1970, 1, 1), date_time_ymd(y, m, d));
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(validity(certificate.der()), Some((0, expected)));
        }
    }

    #[test]
    fn warnings_in_time() {
        let shown = Shown { setting: "client_tls_cert_file", path: "c".into(), since: 0, until: 100 * DAY };
        for (day, expected) in [
            (89, None),
            (91, Some("c: the certificate of client_tls_cert_file expires in 9 days")),
            (99, Some("c: the certificate of client_tls_cert_file expires in 24 hours")),
            (
                103,
                Some(
                    "c: the certificate of client_tls_cert_file has expired 3 days ago: whoever verifies it refuses it",
                ),
            ),
            (-1, Some("c: the certificate of client_tls_cert_file isn't valid yet")),
        ] {
            assert_eq!(shown.warning(day * DAY).as_deref(), expected, "{day}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(der in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (validity(&der), date::seconds(date::UTC_TIME, &der), date::seconds(date::GENERALIZED_TIME, &der));
        }
    }
}
