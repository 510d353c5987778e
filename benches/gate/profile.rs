//! Pictures of where a transaction's instructions go, and a table of its system calls.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use inferno::flamegraph::{self, Options};

use super::callgrind;
use super::fold::Stacks;
use super::strace::{self, Calls};
use super::workload::Workload;

/// The workloads that are drawn.
const DRAWN: [Workload; 2] = [Workload::Simple, Workload::Prepared];

/// Writes `WORKLOAD.svg` and `syscalls.txt` into a directory, which is made if it isn't there.
pub(crate) fn write(binary: &Path, directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    for workload in DRAWN {
        let path = directory.join(format!("{}.svg", workload.name()));
        draw(workload, &callgrind::stacks(binary, workload), &path)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{}", path.display());
    }
    let calls = Workload::ALL.map(|workload| strace::calls(binary, workload));
    let text = table(&Workload::ALL.map(Workload::name), &calls);
    let path = directory.join("syscalls.txt");
    fs::write(&path, &text).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{}\n\n{text}", path.display());
    Ok(())
}

fn draw(workload: Workload, stacks: &Stacks, path: &Path) -> Result<(), String> {
    let total: i64 = stacks.values().sum();
    let lines: Vec<String> =
        stacks.iter().map(|(stack, cost)| format!("{} {cost}", stack.join(";"))).collect();
    let mut options = Options::default();
    options.title = format!("pgweir, {}: {total} user instructions a transaction", workload.name());
    options.count_name = "instructions".to_owned();
    // The same function has the same colour in every picture.
    options.hash = true;
    let file = File::create(path).map_err(|e| e.to_string())?;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), BufWriter::new(file))
        .map_err(|e| e.to_string())
}

/// System calls a transaction: a line for each call and for their sum, a column for each workload.
fn table(names: &[&str], calls: &[Calls]) -> String {
    let mut text = format!("{:<16}", "");
    names.iter().for_each(|name| text += &format!("{name:>10}"));
    let mut line = |name: &str, values: Vec<f64>| {
        text += &format!("\n{name:<16}");
        values.iter().for_each(|value| text += &format!("{value:>10.2}"));
    };
    let all: BTreeSet<&String> = calls.iter().flat_map(Calls::keys).collect();
    for name in all {
        line(name, calls.iter().map(|calls| calls.get(name).copied().unwrap_or(0.0)).collect());
    }
    line("all", calls.iter().map(|calls| calls.values().sum()).collect());
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_all_calls() {
        let calls: [Calls; 2] = [[("sendto".to_owned(), 2.0)].into(), [("close".to_owned(), 0.25)].into()];
        let expected = "                    simple     login\nclose                 0.00      0.25\n\
                        sendto                2.00      0.00\nall                   2.00      0.25\n";
        assert_eq!(table(&["simple", "login"], &calls), expected);
    }
}
