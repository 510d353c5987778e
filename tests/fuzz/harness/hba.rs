//! Rules and maps of any bytes: three files, `hba`, `ident` and `more`, divided by bytes that are in no text.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use pgweir::auth::hba::{Encryption, Files, Interface, Replication, Rules, Visitor};

/// Between the files; never in UTF-8.
const DIVIDER: u8 = 0xff;

struct Three<'a>([&'a [u8]; 3]);

impl Files for Three<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let place = ["hba", "ident", "more"].into_iter().position(|name| Path::new(name) == path);
        place.map(|at| self.0[at].to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(["more", "more.conf", "hba.conf"].map(PathBuf::from).to_vec())
    }
}

/// Reads them; asks what is right who is let in, and what is wrong where.
pub(crate) fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == DIVIDER);
    let files = Three([(); 3].map(|()| parts.next().unwrap_or_default()));
    let read = Rules::read(&files, Path::new("hba"), Some(Path::new("ident")), Encryption::Verifying);
    let rules = match read {
        Ok((rules, warnings)) => {
            assert!(warnings.iter().all(|warning| warning.place.line > 0));
            rules
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            assert!(problems.0.iter().all(|it| !it.what.is_empty() && !it.what.contains('\n')), "{problems}");
            return;
        }
    };
    assert!(!rules.is_empty());
    let interfaces = || {
        let of = |address: &str, mask: &str| Some((address.parse().ok()?, mask.parse().ok()?));
        let pairs = [of("127.0.0.1", "255.0.0.0"), of("::1", "ffff::")];
        pairs.into_iter().flatten().map(|(address, mask)| Interface { address, mask }).collect()
    };
    for address in [None, Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]))] {
        for replication in [Replication::No, Replication::Physical] {
            let visitor = Visitor {
                address,
                is_encrypted: replication == Replication::No,
                user: "app",
                database: "app",
                replication,
            };
            if let Some(rule) = rules.find(&visitor, &interfaces) {
                assert!(rule.place.line > 0);
                rules.is_known_as(rule.map.as_deref(), "app", "app");
            }
        }
    }
}
