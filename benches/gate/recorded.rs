//! The recorded figures, and what is said about new ones.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use super::machine::Machine;

/// How much more or less than recorded goes without a word, in percent.
const TOLERANCE: u64 = 3;
/// The same for [`RESTING`], a small figure beside what a start and an end cost more or less on a busy machine.
const TOLERANCE_RESTING: u64 = 300;

/// The figure that isn't a transaction's: user instructions a second while nobody wants anything.
pub(crate) const RESTING: &str = "resting";

fn tolerance(figure: &str) -> u64 {
    if figure == RESTING { TOLERANCE_RESTING } else { TOLERANCE }
}

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gate/recorded.toml");

const COMMENT: &str = "\
# User instructions a transaction, and a second of `resting`, written by `make bench-gate RECORD=1`, held by
# `make bench-gate`: more than 3 % over one of them, four times `resting`, fails. A figure may always go down. It goes up
# only with the reason in ARCHITECTURE.md, in the same commit.
";

/// Workload → user instructions a transaction; [`RESTING`] → a second.
pub(crate) type Figures = BTreeMap<String, u64>;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recorded {
    instructions: Figures,
    machine: Machine,
}

/// What a new figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Kept,
    Better,
    Worse,
    NotRecorded,
}

impl Verdict {
    fn words(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::Better => "less: record it",
            Self::Worse => "TOO MUCH",
            Self::NotRecorded => "NOT RECORDED",
        }
    }
}

impl Recorded {
    pub(crate) fn load() -> Result<Self, String> {
        let text = fs::read_to_string(FILE).map_err(|e| format!("{FILE}: {e}"))?;
        Self::parse(&text).map_err(|e| format!("{FILE}: {e}"))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Writes figures made here over the file.
    pub(crate) fn save(figures: &Figures, machine: &Machine) -> Result<(), String> {
        fs::write(FILE, render(figures, machine)).map_err(|e| format!("{FILE}: {e}"))
    }

    fn judge(&self, workload: &str, now: u64) -> (Option<f64>, Verdict) {
        let Some(before) = self.instructions.get(workload) else { return (None, Verdict::NotRecorded) };
        let percent = (now as f64 / *before as f64 - 1.0) * 100.0;
        let verdict = if now * 100 > before * (100 + tolerance(workload)) {
            Verdict::Worse
        } else if now * 100 < before * 100_u64.saturating_sub(tolerance(workload)) {
            Verdict::Better
        } else {
            Verdict::Kept
        };
        (Some(percent), verdict)
    }

    /// A line of the table.
    pub(crate) fn line(&self, workload: &str, now: u64) -> String {
        let (percent, verdict) = self.judge(workload, now);
        let before = self.instructions.get(workload).map_or("-".to_owned(), u64::to_string);
        let change = percent.map_or("-".to_owned(), |percent| format!("{percent:+.1} %"));
        let line = format!("  {workload:<10}{before:>10}{now:>10}{change:>10}  {}", verdict.words());
        line.trim_end().to_owned()
    }

    /// The line above the others.
    pub(crate) fn head() -> String {
        format!("  {:<10}{:>10}{:>10}{:>10}", "", "recorded", "now", "change")
    }

    /// The last word on all figures, made on `machine`.
    ///
    /// # Errors
    /// When one is over its recorded figure by more than the tolerance, or was never recorded.
    pub(crate) fn conclude(&self, figures: &Figures, machine: &Machine) -> Result<String, String> {
        let verdicts: Vec<Verdict> = figures.iter().map(|(name, now)| self.judge(name, *now).1).collect();
        if verdicts.contains(&Verdict::Worse) {
            let mut text = format!(
                "more than {TOLERANCE} % ({RESTING}: {TOLERANCE_RESTING} %) over the recorded figure. `make profile` shows where \
                 instructions go. If they are worth it,\n`make bench-gate RECORD=1` and give the reason in ARCHITECTURE.md."
            );
            if *machine != self.machine {
                text += &format!("\nRecorded elsewhere, though: {}.", self.machine);
            }
            return Err(text);
        }
        if verdicts.contains(&Verdict::NotRecorded) {
            return Err("a figure is not recorded yet: make bench-gate RECORD=1".to_owned());
        }
        Ok(match verdicts.contains(&Verdict::Better) {
            true => "Less than recorded: keep it so with `make bench-gate RECORD=1`.".to_owned(),
            false => {
                format!("All within {TOLERANCE} % ({RESTING}: {TOLERANCE_RESTING} %) of what is recorded.")
            }
        })
    }
}

fn render(figures: &Figures, machine: &Machine) -> String {
    let mut text = format!("{COMMENT}\n[instructions]\n");
    for (workload, number) in figures {
        text += &format!("{workload} = {number}\n");
    }
    let Machine { cpu, valgrind, rustc } = machine;
    text += &format!("\n[machine]\ncpu = {cpu:?}\nvalgrind = {valgrind:?}\nrustc = {rustc:?}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cpu: &str) -> Machine {
        Machine { cpu: cpu.into(), valgrind: "valgrind-3".into(), rustc: "rustc 1".into() }
    }

    fn figures(simple: u64, tx: u64) -> Figures {
        [("simple".to_owned(), simple), ("tx".to_owned(), tx)].into()
    }

    fn recorded() -> Recorded {
        Recorded::parse(&render(&figures(10_000, 400), &machine("One"))).expect("what we write can be read")
    }

    #[test]
    fn the_file_in_the_repository_knows_every_workload() {
        let recorded = Recorded::load().expect("it can be read");
        let workloads = super::super::workload::Workload::ALL.iter().map(|workload| workload.name());
        let mut names: Vec<_> = workloads.chain([RESTING]).map(str::to_owned).collect();
        names.sort();
        assert_eq!(recorded.instructions.keys().cloned().collect::<Vec<_>>(), names);
    }

    #[test]
    fn three_percent_either_way_are_kept() {
        for (simple, tx) in [(10_000, 400), (10_300, 412), (9_700, 388)] {
            let said = recorded().conclude(&figures(simple, tx), &machine("One"));
            assert_eq!(
                said,
                Ok("All within 3 % (resting: 300 %) of what is recorded.".to_owned()),
                "{simple} {tx}"
            );
        }
    }

    #[test]
    fn more_fails_even_when_another_is_less() {
        let said = recorded().conclude(&figures(10_301, 300), &machine("One")).expect_err("too much");
        assert!(said.contains("300 %) over") && !said.contains("elsewhere"), "{said}");
        let said = recorded().conclude(&figures(1, 413), &machine("Two")).expect_err("too much");
        assert!(said.contains("Recorded elsewhere, though: One, valgrind-3, rustc 1."), "{said}");
    }

    #[test]
    fn a_rest_is_judged_by_much() {
        let recorded = Recorded::parse(&render(&[(RESTING.to_owned(), 1_000)].into(), &machine("One")));
        let recorded = recorded.expect("what we write can be read");
        for (now, verdict) in [(4_000, Verdict::Kept), (4_001, Verdict::Worse), (1, Verdict::Kept)] {
            assert_eq!(recorded.judge(RESTING, now).1, verdict, "{now}");
        }
    }

    #[test]
    fn less_asks_to_be_recorded() {
        let said = recorded().conclude(&figures(9_699, 400), &machine("One")).expect("no failure");
        assert!(said.contains("RECORD=1"), "{said}");
    }

    #[test]
    fn a_new_workload_must_be_recorded() {
        let mut figures = figures(10_000, 400);
        figures.insert("new".to_owned(), 1);
        assert!(recorded().conclude(&figures, &machine("One")).is_err());
        assert_eq!(recorded().line("new", 1), "  new                -         1         -  NOT RECORDED");
    }

    #[test]
    fn lines_are_a_table() {
        assert_eq!(Recorded::head(), "              recorded       now    change");
        assert_eq!(recorded().line("simple", 10_020), "  simple         10000     10020    +0.2 %");
        assert_eq!(recorded().line("tx", 500), "  tx               400       500   +25.0 %  TOO MUCH");
        assert_eq!(recorded().line("tx", 300), "  tx               400       300   -25.0 %  less: record it");
    }
}
