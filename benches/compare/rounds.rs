//! The order of things: every row in every round, the poolers one right after the other, each round another one first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Bench;
use super::report::{self, Result};
use super::rows::{Measured, Outcome, Row, Trouble};

/// Measures everything; tells each figure when it is there.
pub(crate) fn all(bench: &Bench, rows: &[&'static Row]) -> Vec<Result> {
    let poolers = bench.kinds.len();
    let mut results: Vec<Result> = rows.iter().map(|row| Result::new(row, poolers)).collect();
    for round in 1..=bench.options.rounds {
        for result in &mut results {
            for turn in 0..poolers {
                one(bench, round, result, (turn + round as usize) % poolers);
            }
            if round > 1 {
                println!("{:>24}so far: {}", "", report::so_far(&bench.kinds, result));
            }
        }
    }
    results
}

fn one(bench: &Bench, round: u32, result: &mut Result, pooler: usize) {
    let (kind, cell) = (&bench.kinds[pooler], &mut result.cells[pooler]);
    if cell.trouble.is_some() {
        return;
    }
    let row = result.row;
    let head = format!("{round}/{}  {:<10} {:<10}", bench.options.rounds, row.name, kind.name());
    match guarded(|| (row.measure)(bench, kind)) {
        Ok(Measured { values, beside }) => {
            let figures = row.figures.iter().zip(&values);
            let words: Vec<_> =
                figures.map(|(figure, value)| report::with_unit(*value, figure.unit)).collect();
            println!("{head} {:<14} ({beside})", words.join(", "));
            cell.rounds.push(values);
        }
        Err(trouble) => {
            let trouble = trouble.in_one_line();
            match &trouble {
                Trouble::Skipped(why) => println!("{head} skipped: {why}"),
                Trouble::Failed(why) => println!("{head} FAILED: {why}"),
            }
            cell.trouble = Some(trouble);
        }
    }
}

/// What the harness panics with is a failure like any other.
fn guarded(measure: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(measure)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(Trouble::Failed(text.to_owned()))
    })
}
