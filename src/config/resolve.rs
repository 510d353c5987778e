//! From the file as it is to [`Config`]: reads each section by its table, then the names and what the sections say together.
use std::sync::Arc;

use super::check;
use super::database::Database;
use super::error::Report;
use super::general::General;
use super::metrics::Metrics;
use super::raw::{Named, RawFile};
use super::section::Read;
use super::units::{Name, Unit};
use super::user::User;
use super::{Config, FALLBACK, RESERVED_DATABASES};

const NO_DATABASE: &str = "no [databases.NAME] section, so there is nothing to connect to; \
     the smallest file that works has a line [databases.\"*\"] and below it a line host = \"127.0.0.1\"";

/// The sections of a file, each typed, and where they are.
pub(super) struct Sections {
    pub(super) general: Read<General>,
    pub(super) metrics: Read<Metrics>,
    pub(super) databases: Vec<Read<Database>>,
    pub(super) users: Vec<Read<User>>,
}

/// Only to be used when the report stays empty: what was refused is at its default.
pub(super) fn resolve(file: RawFile<'_>, report: &mut Report<'_>) -> Config {
    if file.databases.is_empty() {
        report.missing(NO_DATABASE.to_owned());
    }
    let sections = Sections {
        general: Read::from_raw(file.general, report),
        metrics: Read::from_raw(file.metrics, report),
        databases: file.databases.into_iter().map(|entry| database(entry, report)).collect(),
        users: file.users.into_iter().map(|entry| user(entry, report)).collect(),
    };
    check::check(&sections, report);
    let mut config = Config {
        general: sections.general.section,
        databases: sections.databases.into_iter().map(|read| by_name(read.section, |it| &it.name)).collect(),
        fallback: None,
        users: sections.users.into_iter().map(|read| by_name(read.section, |it| &it.name)).collect(),
        metrics_listen: sections.metrics.section.listen,
    };
    config.fallback = config.databases.remove(FALLBACK);
    config
}

fn by_name<S>(section: S, name: impl Fn(&S) -> &String) -> (String, Arc<S>) {
    (name(&section).clone(), Arc::new(section))
}

fn database(entry: Named<'_>, report: &mut Report<'_>) -> Read<Database> {
    check_name(&entry, report);
    if RESERVED_DATABASES.contains(&entry.name.as_str()) {
        report.problem(entry.raw.at, format!("{}: this name is reserved for the console", entry.raw.title));
    }
    let mut read: Read<Database> = Read::from_raw(entry.raw, report);
    read.section.name = entry.name;
    read
}

fn user(entry: Named<'_>, report: &mut Report<'_>) -> Read<User> {
    check_name(&entry, report);
    if entry.name == FALLBACK {
        let title = &entry.raw.title;
        report.problem(
            entry.raw.at,
            format!("{title}: users have no fallback; what holds for all is in [pgweir]"),
        );
    }
    let mut read: Read<User> = Read::from_raw(entry.raw, report);
    read.section.name = entry.name;
    read
}

fn check_name(entry: &Named<'_>, report: &mut Report<'_>) {
    if Name::accept(entry.name.clone()).is_err() {
        let (title, allowed, bytes) = (&entry.raw.title, Name::allowed(), entry.name.len());
        report.problem(entry.raw.at, format!("{title} must have {allowed}; this one has {bytes} bytes"));
    }
}
