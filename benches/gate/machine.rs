//! What a figure depends on beside pgweir itself.

use std::fmt;
use std::fs;
use std::process::Command;

use serde::Deserialize;

/// The processor decides which of their variants memchr and libc run, the compiler what it makes of the code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) valgrind: String,
    pub(crate) rustc: String,
}

impl Machine {
    /// The machine this runs on.
    pub(crate) fn here() -> Self {
        let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self { cpu: cpu(&about), valgrind: version("valgrind"), rustc: version("rustc") }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.cpu, self.valgrind, self.rustc)
    }
}

/// The model, and the widest vectors valgrind lets programs see.
fn cpu(about: &str) -> String {
    let field = |name: &str| {
        let lines = about.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let model = field("model name").unwrap_or(std::env::consts::ARCH);
    let avx2 = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "avx2"));
    format!("{model} {} AVX2", if avx2 { "with" } else { "without" })
}

fn version(program: &str) -> String {
    let told = Command::new(program).arg("--version").output();
    let text = told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| format!("no {program} in PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_told_with_its_vectors() {
        let about = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx avx2 sha_ni\n";
        assert_eq!(cpu(about), "AMD EPYC with AVX2");
        assert_eq!(cpu("model name : Old\nflags : fpu avx\n"), "Old without AVX2");
        assert!(cpu("").ends_with(" without AVX2"));
    }
}
