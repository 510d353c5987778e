//! What a setting is, and the table each section is declared by: name, type, unit, default and meaning in one row.
//! Reads a section by its table; knows no setting itself.
use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::DeValue;

use super::error::Report;
use super::foreign;
use super::raw::RawSection;
use super::sections_with;
use super::units::{Refusal, Unit, nearest};

/// Longest value, in characters, that a message repeats.
const LONGEST_QUOTE: usize = 60;

/// One setting of the configuration file.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file.
    pub name: &'static str,
    /// What it is for, in one line.
    pub meaning: &'static str,
    /// What it is when the file doesn't say.
    pub preset: Preset,
    /// What a change needs.
    pub effect: Effect,
    /// What may stand there, as the end of a sentence beginning "must be".
    pub allowed: fn() -> String,
    /// Whether its value may never be shown.
    pub secret: bool,
}

/// What a setting is when the file doesn't say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// This value, in TOML.
    Is(&'static str),
    /// What this setting of `[pgweir]` is.
    Like(&'static str),
    /// Nothing; the value in TOML is only an example.
    Unset(&'static str),
}

impl Preset {
    pub(super) fn toml(self) -> Option<&'static str> {
        match self {
            Self::Is(toml) => Some(toml),
            Self::Like(_) | Self::Unset(_) => None,
        }
    }
}

/// What it takes for a changed setting to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A reload.
    Reload,
    /// A new process.
    Restart,
}

/// A setting that differs between two values of a section, both shown as TOML, secrets never.
pub(super) struct Difference {
    pub(super) setting: &'static Setting,
    pub(super) old: String,
    pub(super) new: String,
}

/// A section of the file as typed values.
pub(super) trait Section: Default {
    /// What the file calls it.
    const TITLE: &'static str;
    /// Its settings, in the order of the documentation.
    const SETTINGS: &'static [Setting];

    /// Takes a value; a key that is none of `SETTINGS` is ignored.
    fn set(&mut self, key: &str, value: Spanned<DeValue<'_>>) -> Result<(), Refusal>;

    /// Every setting with its value as TOML, secrets never.
    fn values(&self) -> Vec<(&'static Setting, String)>;

    /// The settings that differ from `new`.
    fn differences(&self, new: &Self) -> Vec<Difference>;

    /// Takes the settings that need a restart from `running`.
    fn keep(&mut self, running: &Self);
}

/// Both values as TOML, if they differ.
pub(super) fn difference<U: Unit>(old: &U::Value, new: &U::Value) -> Option<(String, String)> {
    (old != new).then(|| (U::show(old), U::show(new)))
}

/// Declares a section: a struct with one public field a row, its table and its reading.
/// A row is `/// meaning`, then `name: Type as Unit = Preset, Effect;`, the effect being `Reload` when left out.
macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $Section:ident as $title:literal $(, named by #[doc = $named:literal] $key:ident)?;
        $(
            #[doc = $meaning:literal]
            $visibility:vis $field:ident: $Value:ty as $Unit:ty = $preset:expr $(, $effect:ident)?;
        )+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Section {
            $( #[doc = $named] pub $key: String, )?
            $( #[doc = $meaning] $visibility $field: $Value, )+
        }

        impl Default for $Section {
            fn default() -> Self {
                Self {
                    $( $key: String::new(), )?
                    $( $field: <$Unit as Unit>::unset($preset.toml()), )+
                }
            }
        }

        impl Section for $Section {
            const TITLE: &'static str = $title;
            const SETTINGS: &'static [Setting] = &[$(
                Setting {
                    name: stringify!($field),
                    meaning: $meaning.trim_ascii(),
                    preset: $preset,
                    effect: [$(Effect::$effect,)? Effect::Reload][0],
                    allowed: <$Unit as Unit>::allowed,
                    secret: <$Unit as Unit>::SECRET,
                },
            )+];

            fn set(&mut self, key: &str, value: Spanned<DeValue<'_>>) -> Result<(), Refusal> {
                match key {
                    $( stringify!($field) => self.$field = <$Unit as Unit>::from_toml(value)?, )+
                    _ => {}
                }
                Ok(())
            }

            fn values(&self) -> Vec<(&'static Setting, String)> {
                let texts = [$( <$Unit as Unit>::show(&self.$field), )+];
                Self::SETTINGS.iter().zip(texts).collect()
            }

            fn differences(&self, new: &Self) -> Vec<Difference> {
                let rows = [$( difference::<$Unit>(&self.$field, &new.$field), )+];
                rows.into_iter().zip(Self::SETTINGS).filter_map(|(texts, setting)| {
                    texts.map(|(old, new)| Difference { setting, old, new })
                }).collect()
            }

            fn keep(&mut self, running: &Self) {
                $(
                    if [$(Effect::$effect,)? Effect::Reload][0] == Effect::Restart {
                        self.$field = running.$field.clone();
                    }
                )+
            }
        }
    };
}
pub(super) use section;

/// A section read from the file, and where.
pub(super) struct Read<S> {
    pub(super) section: S,
    pub(super) title: String,
    /// Where the section begins.
    pub(super) at: usize,
    given: BTreeMap<&'static str, usize>,
    refused: BTreeSet<&'static str>,
}

impl<S: Section> Read<S> {
    /// Reads what the file says; what is refused is reported and left at its default.
    pub(super) fn from_raw(raw: RawSection<'_>, report: &mut Report<'_>) -> Self {
        let RawSection { title, at, entries } = raw;
        let mut read =
            Self { section: S::default(), title, at, given: BTreeMap::new(), refused: BTreeSet::new() };
        for (key, value) in entries {
            read.entry(key.as_ref(), key.span().start, value, report);
        }
        read
    }

    fn entry(&mut self, key: &str, key_at: usize, value: Spanned<DeValue<'_>>, report: &mut Report<'_>) {
        let Some(setting) = S::SETTINGS.iter().find(|setting| setting.name == key) else {
            return report.problem(key_at, unknown_key::<S>(key, &self.title));
        };
        let at = value.span().start;
        let shown = match value.get_ref() {
            DeValue::String(_) if setting.secret => "this string".to_owned(),
            _ if setting.secret => kind(&value),
            _ => quoted(&value, report),
        };
        self.given.insert(setting.name, at);
        if let Err(Refusal { hint }) = self.section.set(key, value) {
            self.refused.insert(setting.name);
            let (allowed, title) = ((setting.allowed)(), &self.title);
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            report.problem(at, format!("{key} in {title} must be {allowed}, not {shown}{hint}"));
        }
    }

    /// A section as if this setting of it had been read, and nothing else had been given.
    pub(super) fn changed(section: S, name: &'static str) -> Self {
        let given = BTreeMap::from([(name, 0)]);
        Self { section, title: S::TITLE.to_owned(), at: 0, given, refused: BTreeSet::new() }
    }

    /// A section as if nothing of it had been given.
    pub(super) fn untouched(section: S, title: String) -> Self {
        Self { section, title, at: 0, given: BTreeMap::new(), refused: BTreeSet::new() }
    }

    /// Where a setting's value is, if the file has it.
    pub(super) fn given(&self, name: &str) -> Option<usize> {
        self.given.get(name).copied()
    }

    /// Whether none of these settings was refused, so that their values are what the file says.
    pub(super) fn sound(&self, names: &[&str]) -> bool {
        !names.iter().any(|name| self.refused.contains(name))
    }
}

/// What kind of value it is, for a message that may not show it.
pub(super) fn kind(value: &Spanned<DeValue<'_>>) -> String {
    let kind = value.get_ref().type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// A value as the file has it; by its kind only when it is long, or may be a URL with a password.
fn quoted(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> String {
    let text = report.quote(value.span());
    match value.get_ref() {
        DeValue::Table(_) | DeValue::Array(_) => kind(value),
        _ if text.contains('@') => kind(value),
        _ if text.chars().count() <= LONGEST_QUOTE && !text.contains(char::is_control) => text.to_owned(),
        _ => format!("{} of {} bytes", kind(value), text.len()),
    }
}

/// An unknown key: where it belongs, or what it may have been meant to be.
fn unknown_key<S: Section>(key: &str, title: &str) -> String {
    let elsewhere: Vec<&str> = sections_with(key);
    let is_general = S::TITLE == "[pgweir]";
    if let Some(advice) = foreign::advice(key).filter(|_| is_general || elsewhere.is_empty()) {
        return format!("{key} in {title} is PgBouncer's, not pgweir's: {advice}");
    }
    let help = if elsewhere.is_empty() {
        nearest(key, S::SETTINGS.iter().map(|setting| setting.name))
            .map(|name| format!("; did you mean {name:?}?"))
    } else {
        Some(format!("; it belongs in {}", elsewhere.join(" or ")))
    };
    format!("unknown key {key:?} in {title}{}", help.unwrap_or_default())
}
