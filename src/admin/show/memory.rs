//! SHOW MEMORY: what the process's memory is held by. Rows that say what objects take are computed, those of code, stack and the
//! whole are the system's word, and what is left between them is told as such: the rows add up to the process.

use super::Rows;
use crate::admin::realm::{Holding, Realm};
use crate::admin::table::Type::{Int8, Text};
use crate::admin::table::{Column, row};
use crate::roster::Told;
use std::collections::HashMap;

pub(super) const COLUMNS: [Column; 4] =
    [("name", Text), ("objects", Int8), ("bytes", Int8), ("description", Text)];

/// What of the process is in memory, by what it is mapped from; in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Resident {
    /// Of files: code, constants, and what of a file's pages was written to.
    files: u64,
    /// The main thread's stack.
    stack: u64,
    /// All else: what was allocated, and the other threads' stacks.
    anonymous: u64,
}

impl Resident {
    /// Nothing where the system doesn't tell.
    fn now() -> Self {
        std::fs::read_to_string("/proc/self/smaps").map(|text| Self::of(&text)).unwrap_or_default()
    }

    /// In the form of /proc/PID/smaps: a mapping's line, then lines of its numbers.
    fn of(smaps: &str) -> Self {
        let mut resident = Self::default();
        let mut path = "";
        for line in smaps.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("Rss:") => {
                    let kilobytes: u64 = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                    *match path {
                        "[stack]" => &mut resident.stack,
                        path if path.starts_with('/') => &mut resident.files,
                        _ => &mut resident.anonymous,
                    } += kilobytes * 1024;
                }
                Some(word) if !word.ends_with(':') => path = words.nth(4).unwrap_or(""),
                _ => {}
            }
        }
        resident
    }
}

/// Sessions are asked what only they know, some microseconds each.
pub(super) fn rows(realm: &dyn Realm, told: &HashMap<u64, Told>) -> Rows {
    table(&realm.holdings(told), &Resident::now())
}

fn table(holdings: &[Holding], resident: &Resident) -> Rows {
    let computed: u64 = holdings.iter().map(|held| held.bytes).sum();
    let mut rows: Rows =
        holdings.iter().map(|held| row![held.name, held.objects, held.bytes, held.description]).collect();
    let rest = resident.anonymous.saturating_sub(computed);
    rows.push(row!["code", 0_u64, resident.files, "the program and its libraries, as far as they have run"]);
    rows.push(row!["stack", 0_u64, resident.stack, "of the main thread"]);
    rows.push(row![
        "rest",
        0_u64,
        rest,
        "not in the rows above: what the allocator keeps free, its books and rounding; configuration; other threads' stacks"
    ]);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::table::Value;

    const SMAPS: &str = "55d0a0000000-55d0a0200000 r-xp 00000000 fe:00 1234 /usr/bin/pgweir\n\
        Size:               2048 kB\nRss:                1000 kB\nPss:                1000 kB\nVmFlags: rd ex mr\n\
        7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n\
        Rss:                 300 kB\nAnonHugePages:         0 kB\n\
        7f0000500000-7f0000600000 rw-p 00000000 00:00 0      [anon: stack]\nRss: 7 kB\n\
        7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\nRss:        24 kB\n";

    #[test]
    fn mappings_are_told_apart() {
        let expected = Resident { files: 1000 * 1024, stack: 24 * 1024, anonymous: 307 * 1024 };
        assert_eq!(Resident::of(SMAPS), expected);
        assert_eq!(Resident::of("nonsense\nRss: x kB\n\n:"), Resident::default());
    }

    #[test]
    fn rows_add_up() {
        let held = [Holding { name: "clients", objects: 3, bytes: 100 * 1024, description: "" }];
        let sum = |holdings: &[Holding]| -> u64 {
            let bytes = |row: &Vec<Value>| match row[2] {
                Value::Number(bytes) => bytes,
                _ => panic!("a number"),
            };
            table(holdings, &Resident::of(SMAPS)).iter().map(bytes).sum()
        };
        assert_eq!((sum(&held), sum(&[])), (1331 * 1024, 1331 * 1024));
    }
}
