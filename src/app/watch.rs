//! reload_on_change: looks every second whether a file of the configuration is another than it was. What is still being
//! written is waited for: only what two looks in a row find the same counts.

use super::rules;
use crate::cli::Source;
use crate::clock::Instant;
use crate::config::{Config, Roots};
use crate::timer::sleep;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What tells a file from what it was: device, inode, seconds and nanoseconds of its change, size. `None`: there is none.
type Mark = Option<(u64, u64, i64, i64, u64)>;
type Marks = BTreeMap<PathBuf, Mark>;

/// Files as they were seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the configuration was read last.
    read: Option<Marks>,
    /// At the last look.
    last: Option<Marks>,
    looked: Option<Instant>,
    /// What the configuration names, put together once for each.
    named: Option<(Arc<Config>, Vec<PathBuf>)>,
    /// What rules include, as it was when something had changed last.
    included: BTreeSet<PathBuf>,
}

impl Watch {
    /// Waits until the configuration is to be read again. Cancel safe.
    pub(super) async fn changed(&mut self, source: &Source, config: impl Fn() -> Arc<Config>) {
        loop {
            // However often this is called: two looks at once would take half a file for a whole one.
            sleep(self.rest(Instant::now())).await;
            self.looked = Some(Instant::now());
            let config = config();
            let now = self.marks(source, &config);
            if self.look(now, config.general.reload_on_change.is_on()) {
                return;
            }
        }
    }

    /// How long it is to the next look.
    fn rest(&self, now: Instant) -> Duration {
        self.looked.map_or(Duration::ZERO, |at| LOOK.saturating_sub(now.saturating_duration_since(at)))
    }

    /// How all files are now. Rules are read to know what they include, but only when there is something new.
    fn marks(&mut self, source: &Source, config: &Arc<Config>) -> Marks {
        let named = match self.named.take() {
            Some((of, named)) if Arc::ptr_eq(&of, config) => named,
            _ => files(source, config),
        };
        let marks = self.marks_of(&named, config);
        self.named = Some((Arc::clone(config), named));
        marks
    }

    fn marks_of(&mut self, named: &[PathBuf], config: &Config) -> Marks {
        let now = marks(named.iter().chain(&self.included));
        if self.last.as_ref() == Some(&now) {
            return now;
        }
        self.included = rules::sources(config);
        marks(named.iter().chain(&self.included))
    }

    /// Whether these marks say that something has changed, is whole, and is `wanted`. Who comes to want it with a RELOAD gets what
    /// changes behind that, hence the look at files nobody asks for.
    fn look(&mut self, now: Marks, wanted: bool) -> bool {
        let settled = self.last.as_ref() == Some(&now);
        let changed = wanted && settled && self.read.as_ref().is_some_and(|read| *read != now);
        if changed || !wanted || self.read.is_none() {
            self.read = Some(now.clone());
        }
        self.last = Some(now);
        changed
    }
}

/// The configuration's own file and those that it names.
fn files(source: &Source, config: &Config) -> Vec<PathBuf> {
    let own = match source {
        Source::File(path) => Some(path.clone()),
        Source::Url(_) => None,
    };
    let general = config.general_values().into_iter();
    let named = general.filter(|(setting, ..)| setting.name.ends_with("_file")).map(|(_, value, _)| value);
    let named = named.filter(|value| !value.is_empty() && value != "system").map(PathBuf::from);
    let of_servers = config.all_server_tls().flat_map(|tls| {
        let roots = tls.ca.and_then(|roots| if let Roots::File(path) = roots { Some(path) } else { None });
        [roots, tls.key_file, tls.cert_file]
    });
    let of_servers = of_servers.flatten();
    own.into_iter().chain(named).chain(of_servers).collect()
}

fn marks<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Marks {
    let mark = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.size()))
    };
    files.map(|path| (path.clone(), mark(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_a_second_apart_whoever_asks() {
        let now = Instant::now();
        let mut watch = Watch::default();
        assert_eq!(watch.rest(now), Duration::ZERO);
        watch.looked = Some(now);
        assert_eq!(watch.rest(now + Duration::from_millis(300)), Duration::from_millis(700));
        assert_eq!(watch.rest(now + LOOK), Duration::ZERO);
    }

    #[test]
    fn a_change_counts_when_it_has_settled() {
        let at = |size| Marks::from([(PathBuf::from("x"), Some((1, 2, 3, 4, size)))]);
        let gone = || Marks::from([(PathBuf::from("x"), None)]);
        let mut watch = Watch::default();
        const WANTED: bool = true;
        for (now, wanted, changed) in [
            (at(1), WANTED, false),
            (at(1), WANTED, false),
            (at(2), WANTED, false),
            (at(3), WANTED, false),
            (at(3), WANTED, true),
            (at(3), WANTED, false),
            (gone(), WANTED, false),
            (at(3), WANTED, false),
            (at(3), WANTED, false),
            (at(4), !WANTED, false),
            (at(4), !WANTED, false),
            // Switched on, and changed before the next look.
            (at(5), WANTED, false),
            (at(5), WANTED, true),
            (at(6), WANTED, false),
            (at(6), WANTED, true),
        ] {
            assert_eq!(watch.look(now.clone(), wanted), changed, "{now:?}");
        }
    }

    #[test]
    fn files_that_are_looked_at() {
        let text = "[pgweir]\nauth_file = '/u'\nserver_tls_sslmode = 'verify-full'\nserver_tls_ca_file = '/all'\n\
                    [databases.a]\nserver_tls_ca_file = '/own'\nserver_tls_cert_file = '/c'\nserver_tls_key_file = '/k'\n\
                    [databases.b]\nserver_tls_ca_file = 'system'\n";
        let (config, _) = crate::config::parse(text, "t").unwrap();
        let found: BTreeSet<_> = files(&Source::File("/f".into()), &config).into_iter().collect();
        assert_eq!(found, ["/f", "/u", "/all", "/own", "/c", "/k"].map(PathBuf::from).into());
    }
}
