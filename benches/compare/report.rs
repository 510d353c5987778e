//! The lines on the way and the table at the end: medians, and ratios within rounds, since what else the machine does
//! changes from round to round.

use super::pooler::Kind;

/// One kind of measurement: for each pooler one value a round, in the poolers' order; none where it can't be measured.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<Vec<f64>>,
}

impl Row {
    pub(crate) fn new(name: &'static str, unit: &'static str, poolers: usize) -> Self {
        Self { name, unit, values: vec![Vec::new(); poolers] }
    }

    /// pgweir's values through PgBouncer's, sorted.
    fn ratios(&self) -> Vec<f64> {
        let [theirs, ours] = &self.values[..] else { return Vec::new() };
        sorted(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
    }

    fn print(&self) {
        print!("  {:<12}", self.name);
        for values in &self.values {
            match median(&sorted(values.clone())) {
                Some(value) => print!("{:>16}", format!("{value:.2} {}", self.unit)),
                None => print!("{:>16}", "-"),
            }
        }
        let ratios = self.ratios();
        if let (Some(middle), Some(least), Some(most)) = (median(&ratios), ratios.first(), ratios.last()) {
            print!("{middle:>12.2}   {least:.2}–{most:.2}");
        }
        println!();
    }
}

pub(crate) fn table(kinds: &[Kind], rows: &[Row]) {
    print!("\n  {:<12}", "");
    for kind in kinds {
        print!("{:>16}", kind.name());
    }
    println!("{}", if kinds.len() == 2 { "       ratio   min–max" } else { "" });
    for row in rows {
        row.print();
    }
    println!("\n  µs: CPU time of the pooler's process a transaction, in `connect` with a login before it.");
    println!("  KiB: resident memory an idle client adds. Medians of all rounds.");
    if kinds.len() == 2 {
        println!("  ratio: pgweir's through pgbouncer's, round by round.");
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}
