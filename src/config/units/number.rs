//! Whole numbers with bounds: counts, sizes where 0 means unlimited, ports, file modes.
use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::{Refusal, Unit};

/// Most connections a single size can ask for.
const LARGEST_SIZE: u32 = 1_000_000;
const LARGEST_FILE_MODE: u32 = 0o777;

/// An upper bound on a number of connections, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(Option<NonZeroU32>);

impl Limit {
    /// No bound; `0` in the file.
    pub const UNLIMITED: Self = Self(None);

    /// At most `count`; 0 is no bound.
    pub const fn new(count: u32) -> Self {
        Self(NonZeroU32::new(count))
    }

    /// The bound, if there is one.
    pub const fn max(self) -> Option<NonZeroU32> {
        self.0
    }

    /// Whether one more may be added to `count`.
    pub fn allows_another(self, count: u32) -> bool {
        self.0.is_none_or(|max| count < max.get())
    }
}

fn within(written: i64, min: u32, max: u32) -> Result<u32, Refusal> {
    u32::try_from(written).ok().filter(|n| (min..=max).contains(n)).ok_or_else(Refusal::plain)
}

/// A whole number from `MIN` to `MAX`.
pub(in crate::config) struct Number<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Unit for Number<MIN, MAX> {
    type Written = i64;
    type Value = u32;

    fn allowed() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn accept(written: i64) -> Result<u32, Refusal> {
        within(written, MIN, MAX)
    }

    fn show(value: &u32) -> String {
        value.to_string()
    }
}

/// A whole number up to `MAX`; 0 becomes `None`.
pub(in crate::config) struct PositiveOrNone<const MAX: u32>;

impl<const MAX: u32> Unit for PositiveOrNone<MAX> {
    type Written = i64;
    type Value = Option<NonZeroU32>;

    fn allowed() -> String {
        format!("a whole number from 0 to {MAX}")
    }

    fn accept(written: i64) -> Result<Option<NonZeroU32>, Refusal> {
        within(written, 0, MAX).map(NonZeroU32::new)
    }

    fn show(value: &Option<NonZeroU32>) -> String {
        value.map_or(0, NonZeroU32::get).to_string()
    }
}

/// A number of connections; 0 is unlimited.
pub(in crate::config) struct Size;

impl Unit for Size {
    type Written = i64;
    type Value = Limit;

    fn allowed() -> String {
        format!("a whole number from 1 to {LARGEST_SIZE}, or 0 for unlimited")
    }

    fn accept(written: i64) -> Result<Limit, Refusal> {
        within(written, 0, LARGEST_SIZE).map(Limit::new)
    }

    fn show(value: &Limit) -> String {
        PositiveOrNone::<LARGEST_SIZE>::show(&value.max())
    }
}

/// A TCP port; 0 is none.
pub(in crate::config) struct TcpPort;

impl Unit for TcpPort {
    type Written = i64;
    type Value = u16;

    fn allowed() -> String {
        "a port from 1 to 65535".to_owned()
    }

    fn accept(written: i64) -> Result<u16, Refusal> {
        u16::try_from(written).ok().filter(|port| *port != 0).ok_or_else(Refusal::plain)
    }

    fn show(value: &u16) -> String {
        value.to_string()
    }
}

/// Permissions of a file, in octal: `0o777` or `"0777"`.
pub(in crate::config) struct FileMode;

impl Unit for FileMode {
    type Written = ModeWritten;
    type Value = u32;

    fn allowed() -> String {
        r#"octal permissions from "0000" to "0777", such as "0770" or 0o770"#.to_owned()
    }

    fn accept(written: ModeWritten) -> Result<u32, Refusal> {
        let mode = match written {
            ModeWritten::Octal(mode) => within(mode, 0, LARGEST_FILE_MODE),
            ModeWritten::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                u32::from_str_radix(&text, 8).map_err(|_| Refusal::plain())
            }
            ModeWritten::Text(_) => Err(Refusal::plain()),
        };
        mode.and_then(|mode| within(mode.into(), 0, LARGEST_FILE_MODE))
    }

    fn show(value: &u32) -> String {
        format!("\"{value:04o}\"")
    }

    /// `770` without `0o` would silently be another mode.
    fn from_toml(value: Spanned<DeValue<'_>>) -> Result<u32, Refusal> {
        match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() != 8 => Err(Refusal::plain()),
            _ => {
                let written = ModeWritten::deserialize(toml::de::ValueDeserializer::from(value));
                Self::accept(written.map_err(|_| Refusal::plain())?)
            }
        }
    }
}

/// A mode as TOML may have it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum ModeWritten {
    /// `0o777`
    Octal(i64),
    /// `"0777"`
    Text(String),
}
