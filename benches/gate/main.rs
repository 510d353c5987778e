//! What a transaction costs pgweir, counted and not timed, so that the figure is the same on a busy machine: user
//! instructions against the recorded ones (`make bench-gate`), flame graphs of them and system calls (`make profile`).

mod callgrind;
mod driver;
mod fold;
mod machine;
mod postgres;
mod profile;
mod recorded;
mod strace;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tool;
mod workload;

use std::path::Path;
use std::process::ExitCode;

use machine::Machine;
use recorded::{Figures, Recorded};
use workload::Workload;

const USAGE: &str = "arguments: check BINARY | record BINARY | profile BINARY DIRECTORY";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // What goes wrong on the way (a wrong answer, pgweir's end) is a panic that says so.
    let done = std::panic::catch_unwind(|| match words[..] {
        ["check", binary] => check(Path::new(binary)),
        ["record", binary] => record(Path::new(binary)),
        ["profile", binary, directory] => profile::write(Path::new(binary), Path::new(directory)),
        _ => Err(USAGE.to_owned()),
    });
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(why)) => {
            eprintln!("gate: {why}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn check(binary: &Path) -> Result<(), String> {
    let recorded = Recorded::load()?;
    let machine = Machine::here();
    println!("User instructions a transaction, and a second of rest; {machine}\n\n{}", Recorded::head());
    let figures = measure(binary, |workload, now| println!("{}", recorded.line(workload, now)));
    println!("\n{}", recorded.conclude(&figures, &machine)?);
    Ok(())
}

fn record(binary: &Path) -> Result<(), String> {
    let figures = measure(binary, |workload, now| println!("  {workload:<10}{now:>10}"));
    Recorded::save(&figures, &Machine::here())
}

/// All figures; each is shown as soon as it is there.
fn measure(binary: &Path, show: impl Fn(&str, u64)) -> Figures {
    let mut figures = Figures::new();
    for workload in Workload::ALL {
        let now = callgrind::instructions(binary, workload).round() as u64;
        show(workload.name(), now);
        figures.insert(workload.name().to_owned(), now);
    }
    let now = callgrind::resting(binary).round() as u64;
    show(recorded::RESTING, now);
    figures.insert(recorded::RESTING.to_owned(), now);
    figures
}
