//! `config/pgweir.toml` is the documentation of every setting: it loads, and says what the code says.
use std::collections::BTreeSet;
use std::path::Path;

use pgweir::config::{self, Config, Effect, General, Preset, Setting};

const FILE: &str = include_str!("../config/pgweir.toml");

/// A line `#name = value` with the section it is in and the two comment lines above it.
struct Documented {
    section: &'static str,
    name: &'static str,
    value: &'static str,
    comment: [&'static str; 2],
}

/// The documented title of a section header, commented out or not: names don't matter.
fn title(line: &'static str) -> Option<&'static str> {
    let header = line.trim_start_matches('#');
    let known = |(title, _): &(&'static str, _)| {
        let (group, named) = title.trim_matches(['[', ']']).split_once('.').unwrap_or((title, ""));
        if named.is_empty() { header == *title } else { header.starts_with(&format!("[{group}.")) }
    };
    config::sections().into_iter().find(known).map(|(title, _)| title)
}

fn documented() -> Vec<Documented> {
    let lines: Vec<&str> = FILE.lines().collect();
    let mut section = "";
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        section = title(line).unwrap_or(section);
        let setting =
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        if let Some((name, value)) = setting.and_then(|rest| rest.split_once(" = ")) {
            found.push(Documented { section, name, value, comment: [lines[i - 2], lines[i - 1]] });
        }
    }
    found
}

fn settings() -> impl Iterator<Item = (&'static str, &'static Setting)> {
    config::sections().into_iter().flat_map(|(title, settings)| settings.iter().map(move |it| (title, it)))
}

/// What the file must have as the value of a setting.
fn value(setting: &Setting) -> &'static str {
    match setting.preset {
        Preset::Is(value) | Preset::Unset(value) => value,
        Preset::Like(other) => settings()
            .find(|(title, it)| *title == "[pgweir]" && it.name == other)
            .map(|(_, it)| value(it))
            .expect("it is like a setting of [pgweir]"),
    }
}

/// What the file must say above a setting.
fn comment(section: &str, setting: &Setting) -> [String; 2] {
    let allowed = (setting.allowed)();
    let of_database = settings().any(|(title, it)| title == "[databases.NAME]" && it.name == setting.name);
    let preset = match setting.preset {
        Preset::Is(_) => String::new(),
        Preset::Like(other) if section == "[users.NAME]" && of_database => {
            format!(" Default: the database's, else {other} of [pgweir].")
        }
        Preset::Like(other) => format!(" Default: {other} of [pgweir]."),
        Preset::Unset(_) => " Default: unset.".to_owned(),
    };
    let effect = match setting.effect {
        Effect::Reload => "",
        Effect::Restart => " A change needs a restart.",
    };
    [format!("# {}", setting.meaning), format!("# Allowed: {allowed}.{preset}{effect}")]
}

fn load(text: &str) -> Config {
    config::parse(text, "pgweir.toml").unwrap_or_else(|errors| panic!("{errors}")).0
}

#[test]
fn the_file_loads_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/pgweir.toml");
    let (config, warnings) = config::load::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.general, General::default());
    assert!(config.fallback.is_some());
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "only that nobody can log in yet: {warnings:?}");
}

#[test]
fn the_file_has_every_setting_and_no_other() {
    let in_file: Vec<(&str, &str)> = documented().iter().map(|it| (it.section, it.name)).collect();
    let in_code: Vec<(&str, &str)> = settings().map(|(section, setting)| (section, setting.name)).collect();
    assert_eq!(in_file, in_code, "in the same order");
    let distinct: BTreeSet<_> = in_code.iter().collect();
    assert_eq!(distinct.len(), in_code.len());
}

#[test]
fn the_file_says_what_the_code_says() {
    for (documented, (section, setting)) in documented().iter().zip(settings()) {
        assert_eq!(documented.value, value(setting), "value of {}", setting.name);
        assert_eq!(
            documented.comment.map(str::to_owned),
            comment(section, setting),
            "above {}",
            setting.name
        );
    }
}

#[test]
fn a_default_written_out_changes_nothing() {
    let as_it_is = load(FILE);
    let all = all_uncommented();
    let written = load(&all);
    assert_eq!(written.general, as_it_is.general);
    assert_eq!(written.metrics_listen, as_it_is.metrics_listen);
    let pool = |config: &Config| config.pool_settings(&config.database("any").expect("a fallback"), "app");
    assert_eq!(pool(&written), pool(&as_it_is));
    let places =
        |config: &Config| config.database("any").map(|database| (database.host.clone(), database.port));
    assert_eq!(places(&written), places(&as_it_is));
    for (section, setting) in settings() {
        let line = format!("{} = {}", setting.name, value(setting));
        assert!(all.lines().any(|it| it == line), "{section} {line}");
    }
}

/// The file with every setting and section in force.
fn all_uncommented() -> String {
    let lines = FILE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_smallest_file_at_the_top_works() {
    let top = FILE
        .lines()
        .skip_while(|line| !line.starts_with("#   "))
        .take_while(|line| *line == "#" || line.starts_with("#   "));
    let text: Vec<&str> = top.map(|line| line.trim_start_matches('#').trim()).collect();
    let (config, warnings) =
        config::parse(&text.join("\n"), "smallest").unwrap_or_else(|errors| panic!("{errors}"));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(config.fallback.is_some() && config.users.len() == 1);
}
