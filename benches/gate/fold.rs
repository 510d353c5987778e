//! callgrind's file as stacks with their own cost. With `--separate-callers` a function's name is followed by those of its
//! callers, so that the stacks are exact.

use std::collections::{BTreeMap, HashMap};

/// Own cost by stack, functions from the outermost to the innermost. Code that was inlined from another source file is a
/// frame of its own, named by that file: the compiler leaves few functions whole.
pub(crate) type Stacks = BTreeMap<Vec<String>, i64>;

/// Frames up to this one are the thread's beginning and no news.
const BEGINNING: &str = "__rust_begin_short_backtrace";

/// Reads a file of callgrind's format, version 1, with lines as its only position.
pub(crate) fn fold(text: &str) -> Stacks {
    let mut stacks = Stacks::new();
    let (mut files, mut functions) = (Names::default(), Names::default());
    let (mut file, mut home, mut stack) = (String::new(), String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match line.split_once('=') {
            Some(("fn", name)) => {
                stack = frames(functions.get(name));
                home.clone_from(&file);
            }
            Some(("fl" | "fi" | "fe", name)) => files.get(name).clone_into(&mut file),
            Some(("cfi" | "cfl", name)) => drop(files.get(name)),
            Some(("cfn", name)) => drop(functions.get(name)),
            // The line behind it is the callee's cost.
            Some(("calls", _)) => drop(lines.next()),
            _ if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) => {
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<i64>().ok()).unwrap_or(0);
                let mut stack = stack.clone();
                if file != home {
                    stack.push(short(&file));
                }
                *stacks.entry(stack).or_default() += cost;
            }
            _ => {}
        }
    }
    stacks
}

/// What `long` has more than `short`, for each of so many transactions, without what rounds to nothing.
pub(crate) fn difference(short: &Stacks, mut long: Stacks, transactions: usize) -> Stacks {
    for (stack, cost) in short {
        *long.entry(stack.clone()).or_default() -= cost;
    }
    for cost in long.values_mut() {
        *cost = (*cost as f64 / transactions as f64).round() as i64;
    }
    long.retain(|_, cost| *cost > 0);
    long
}

/// `(number) name` tells a name, `(number)` alone repeats it.
#[derive(Default)]
struct Names<'a>(HashMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    fn get(&mut self, told: &'a str) -> &'a str {
        match told.split_once(' ') {
            Some((number, name)) if number.starts_with('(') => {
                self.0.insert(number, name);
                name
            }
            _ => self.0.get(told).copied().unwrap_or(told),
        }
    }
}

fn frames(name: &str) -> Vec<String> {
    let mut frames: Vec<String> = name.split('\'').rev().map(|frame| frame.replace(';', ",")).collect();
    if let Some(at) = frames.iter().position(|frame| frame.contains(BEGINNING)) {
        frames.drain(..=at);
    }
    frames
}

/// A source file as it is known: of this project, of a crate, of the standard library.
fn short(file: &str) -> String {
    let own = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/"));
    let of_crate = || file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    let of_library = || file.split_once("/library/");
    let known = own.or_else(|| Some(of_crate()?.1)).or_else(|| Some(of_library()?.1)).unwrap_or(file);
    format!("[{known}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
positions: line
events: Ir
summary: 1000

ob=(1) /usr/bin/pgweir
fl=(1) /home/me/.cargo/registry/src/index-1/tokio-1.2/src/runtime.rs
fn=(1) run'std::sys::backtrace::__rust_begin_short_backtrace'start_thread'clone
10 5
fi=(2) /rustc/abc/library/core/src/option.rs
+3 7
fe=(1)
-1 2
cfi=(3) src/b.rs
cfn=(2) relay<A;B>'run'std::sys::backtrace::__rust_begin_short_backtrace'start_thread'clone
calls=3 20
* 900

fl=(3)
fn=(2)
20 80
fi=(1)
4 6
totals: 1000
";

    fn stack(frames: &[&str]) -> Vec<String> {
        frames.iter().map(|frame| (*frame).to_owned()).collect()
    }

    #[test]
    fn own_costs_are_laid_to_their_stacks() {
        let expected = [
            (stack(&["run"]), 7),
            (stack(&["run", "[core/src/option.rs]"]), 7),
            (stack(&["run", "relay<A,B>"]), 80),
            (stack(&["run", "relay<A,B>", "[tokio-1.2/src/runtime.rs]"]), 6),
        ];
        assert_eq!(fold(FILE), expected.into());
    }

    #[test]
    fn files_are_named_as_they_are_known() {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/scan.rs");
        assert_eq!(short(own), "[src/wire/scan.rs]");
        assert_eq!(short("./malloc/arena.c"), "[./malloc/arena.c]");
    }

    #[test]
    fn start_and_end_cancel() {
        let run = |start: i64, each: i64| -> Stacks {
            [(stack(&["start"]), start), (stack(&["each"]), each), (stack(&["seldom"]), 1)].into()
        };
        let left = difference(&run(500, 100), run(500, 1100), 10);
        assert_eq!(left, [(stack(&["each"]), 100)].into());
    }
}
