//! Medians, and ratios within rounds, since what else the machine does changes from round to round.

use super::poolers::Kind;
use super::rows::{Row, Trouble};

/// What came of a row.
pub(crate) struct Result {
    pub(crate) row: &'static Row,
    /// One for each pooler, in their order.
    pub(crate) cells: Vec<Cell>,
}

#[derive(Default)]
pub(crate) struct Cell {
    /// For each round, a value for each figure.
    pub(crate) rounds: Vec<Vec<f64>>,
    /// Then there are no values to speak of.
    pub(crate) trouble: Option<Trouble>,
}

impl Result {
    pub(crate) fn new(row: &'static Row, poolers: usize) -> Self {
        Self { row, cells: (0..poolers).map(|_| Cell::default()).collect() }
    }

    pub(crate) fn failed(&self) -> bool {
        self.cells.iter().any(|cell| matches!(cell.trouble, Some(Trouble::Failed(_))))
    }

    /// pgweir's figure through another one's, the median of all rounds.
    fn ratio(&self, figure: usize, other: usize) -> Option<f64> {
        let (ours, theirs) = (self.cells.last()?, &self.cells[other]);
        if ours.trouble.is_some() || theirs.trouble.is_some() {
            return None;
        }
        let pairs = ours.rounds.iter().zip(&theirs.rounds);
        median(pairs.map(|(ours, theirs)| ours[figure] / theirs[figure])).filter(|ratio| ratio.is_finite())
    }
}

impl Cell {
    fn median(&self, figure: usize) -> Option<f64> {
        median(self.rounds.iter().map(|values| values[figure]))
    }

    fn text(&self, figure: usize, unit: &str) -> String {
        match (&self.trouble, self.median(figure)) {
            (Some(Trouble::Failed(_)), _) => "FAILED".to_owned(),
            (None, Some(value)) => with_unit(value, unit),
            (Some(Trouble::Skipped(_)), _) | (None, None) => "–".to_owned(),
        }
    }
}

/// The medians of the row's first figure, and pgweir's ratios.
pub(crate) fn so_far(kinds: &[Kind], result: &Result) -> String {
    let unit = result.row.figures[0].unit;
    let words = kinds.iter().zip(&result.cells).enumerate().map(|(n, (kind, cell))| {
        match result.ratio(0, n).filter(|_| n + 1 < kinds.len()) {
            Some(ratio) => format!("{} {} (÷ {ratio:.2})", kind.name(), cell.text(0, unit)),
            None => format!("{} {}", kind.name(), cell.text(0, unit)),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The table in Markdown, and under it why something is missing.
pub(crate) fn table(kinds: &[Kind], results: &[Result]) {
    let others = &kinds[..kinds.len() - 1];
    let names: Vec<_> = kinds.iter().map(|kind| kind.name().to_owned()).collect();
    let ratios: Vec<_> = others.iter().map(|kind| format!("÷ {}", kind.name())).collect();
    println!("| `ROWS=` | | {} |", [names, ratios].concat().join(" | "));
    println!("|---|---|{}", "---:|".repeat(kinds.len() + others.len()));
    for result in results {
        for (n, figure) in result.row.figures.iter().enumerate() {
            let mut cells: Vec<_> = result.cells.iter().map(|cell| cell.text(n, figure.unit)).collect();
            cells.extend(
                (0..others.len()).map(|other| {
                    result.ratio(n, other).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
                }),
            );
            let name = if n == 0 { format!("`{}`", result.row.name) } else { String::new() };
            println!("| {name} | {} | {} |", figure.label, cells.join(" | "));
        }
    }
    println!(
        "\nMedians of the rounds; ÷: the median of pgweir's figure through the other's of the same round."
    );
    for result in results {
        for (kind, cell) in kinds.iter().zip(&result.cells) {
            match &cell.trouble {
                Some(Trouble::Failed(why)) => {
                    println!("{}, {}: FAILED: {why}", result.row.name, kind.name());
                }
                Some(Trouble::Skipped(why)) => println!("{}, {}: {why}.", result.row.name, kind.name()),
                None => {}
            }
        }
    }
}

/// Three digits that count, or more.
pub(crate) fn with_unit(value: f64, unit: &str) -> String {
    let number = match value.abs() {
        n if n < 9.995 => format!("{value:.2}"),
        n if n < 99.95 => format!("{value:.1}"),
        _ => thousands(value.round() as i64),
    };
    match unit {
        "" => number,
        "×" => format!("{number}×"),
        _ => format!("{number} {unit}"),
    }
}

fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}
