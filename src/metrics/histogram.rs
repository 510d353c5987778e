//! Durations as histograms: ten buckets a decade from 10 µs to 200 s, one increment a recording, cumulated only when
//! read. Never allocates, never sorts, never reads a clock.

use super::cell::{Cell, Count, Shared};

/// Upper bounds in ns, inclusive; the last bucket has none. Neighbours differ by a factor of 1.25 or 1.28, and every
/// 1, 2 and 5 times a power of ten is among them, so that what Prometheus sees is exact.
pub(super) const BOUNDS: [u64; BUCKETS] = bounds();
/// Number of buckets, the unbounded one included.
pub(super) const BUCKETS: usize = 75;

const MANTISSAS: [u64; 10] = [100, 125, 160, 200, 250, 320, 400, 500, 640, 800];

/// A quarter of an octave holds at most one bound, so its first bucket and one comparison give the bucket of a value.
const QUARTERS: [u8; ((TOP_OCTAVE - LOW_OCTAVE + 1) * 4) as usize] = quarters();
/// 2^13 ns lies below the first bound, 2^38 ns above the last.
const LOW_OCTAVE: u32 = 13;
const TOP_OCTAVE: u32 = 38;

const fn bounds() -> [u64; BUCKETS] {
    let mut bounds = [u64::MAX; BUCKETS];
    let (mut i, mut scale) = (0, 100);
    while i < BUCKETS - 1 {
        bounds[i] = MANTISSAS[i % 10] * scale;
        i += 1;
        if i % 10 == 0 {
            scale *= 10;
        }
    }
    bounds
}

const fn quarters() -> [u8; ((TOP_OCTAVE - LOW_OCTAVE + 1) * 4) as usize] {
    let mut first = [0; ((TOP_OCTAVE - LOW_OCTAVE + 1) * 4) as usize];
    let (mut i, mut bucket) = (0, 0);
    while i < first.len() {
        let start = (4 + i as u64 % 4) << (LOW_OCTAVE - 2 + i as u32 / 4);
        while BOUNDS[bucket] < start {
            bucket += 1;
        }
        first[i] = bucket as u8;
        i += 1;
    }
    first
}

#[inline]
fn bucket(ns: u64) -> usize {
    let ns = ns.clamp(1 << LOW_OCTAVE, 1 << TOP_OCTAVE);
    let octave = 63 - ns.leading_zeros();
    let quarter = (octave - LOW_OCTAVE) * 4 + ((ns >> (octave - 2)) & 3) as u32;
    let first = QUARTERS[quarter as usize] as usize;
    first + usize::from(ns > BOUNDS[first])
}

/// A histogram under construction, made of one kind of counter.
#[derive(Debug)]
pub(super) struct Histogram<C> {
    buckets: [C; BUCKETS],
    sum: C,
}

/// Written by one thread.
pub(super) type LocalHistogram = Histogram<Cell>;
/// Written by any thread.
pub(super) type SharedHistogram = Histogram<Shared>;

impl<C: Count> Default for Histogram<C> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| C::default()), sum: C::default() }
    }
}

impl<C: Count> Histogram<C> {
    #[inline]
    pub(super) fn record(&self, ns: u64) {
        self.buckets[bucket(ns)].add(1);
        self.sum.add(ns);
    }

    /// Records here and in `other` alike.
    #[inline]
    pub(super) fn record_with(&self, other: &Self, ns: u64) {
        let bucket = bucket(ns);
        for histogram in [self, other] {
            histogram.buckets[bucket].add(1);
            histogram.sum.add(ns);
        }
    }

    /// Adds what was recorded here to `snapshot`.
    pub(super) fn add_to(&self, snapshot: &mut Snapshot) {
        for (total, own) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *total = total.wrapping_add(own.value());
        }
        snapshot.sum = snapshot.sum.wrapping_add(self.sum.value());
    }
}

/// A histogram as it was at one moment; several threads' recordings summed.
///
/// The count is the buckets' total, so it never contradicts them; the sum may be one recording apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub(super) buckets: [u64; BUCKETS],
    sum: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl Snapshot {
    /// Number of recordings.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Total of the recorded values, in ns.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The value below which the share `q` (0 to 1) of the recordings lies, in ns; `None` if there are none.
    ///
    /// Off by at most 12.3 % of the exact value between 10 µs and 200 s; below it answers 5 µs, above 200 s.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0_u64;
        let at = self.buckets.iter().position(|n| {
            seen = seen.wrapping_add(*n);
            seen >= rank
        })?;
        Some(representative(at))
    }

    /// As [`Self::quantile`], of `count` values of which all that are not here are 0; in ns.
    pub fn quantile_among(&self, count: u64, q: f64) -> u64 {
        let own = self.count();
        let zeros = count.saturating_sub(own);
        let rank = (q.clamp(0.0, 1.0) * (own + zeros) as f64).ceil() as u64;
        if rank <= zeros {
            return 0;
        }
        self.quantile((rank - zeros) as f64 / own as f64).unwrap_or(0)
    }

    /// The mean of the recorded values, in ns; 0 if there are none.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.count().max(1) as f64
    }

    /// The squared coefficient of variation (variance over squared mean), 0 if there is nothing recorded.
    ///
    /// Of values spread evenly within their buckets: off by some hundredths, since mean and squares are off alike.
    pub fn scv(&self) -> f64 {
        let (mut sum, mut squares) = (0.0, 0.0);
        for (at, n) in self.buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
            let (mean, square) = moments(at);
            sum += *n as f64 * mean;
            squares += *n as f64 * square;
        }
        if sum > 0.0 { (squares * self.count() as f64 / (sum * sum) - 1.0).max(0.0) } else { 0.0 }
    }

    /// Puts another's recordings to these.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own = own.wrapping_add(*more);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was recorded after `earlier` was taken from the same source.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (now, then) in difference.buckets.iter_mut().zip(&earlier.buckets) {
            *now = now.saturating_sub(*then);
        }
        difference.sum = self.sum.saturating_sub(earlier.sum);
        difference
    }
}

/// The mean and the mean square of values spread evenly over a bucket.
fn moments(bucket: usize) -> (f64, f64) {
    let low = if bucket == 0 { 0.0 } else { BOUNDS[bucket - 1] as f64 };
    let high = if bucket == BUCKETS - 1 { low } else { BOUNDS[bucket] as f64 };
    (f64::midpoint(low, high), (low * low + low * high + high * high) / 3.0)
}

/// The harmonic mean of a bucket's ends: of all its points the one whose greatest relative error is least.
fn representative(bucket: usize) -> u64 {
    match bucket {
        0 => BOUNDS[0] / 2,
        last if last == BUCKETS - 1 => BOUNDS[BUCKETS - 2],
        _ => {
            let (low, high) = (BOUNDS[bucket - 1] as f64, BOUNDS[bucket] as f64);
            (2.0 * low * high / (low + high)) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain_bucket(ns: u64) -> usize {
        BOUNDS.iter().position(|bound| ns <= *bound).unwrap()
    }

    #[test]
    fn bounds_rise_by_at_most_1_28_from_10_us_to_200_s() {
        assert_eq!(BOUNDS[0], 10_000);
        assert_eq!(BOUNDS[BUCKETS - 2], 200_000_000_000);
        assert_eq!(BOUNDS[BUCKETS - 1], u64::MAX);
        for pair in BOUNDS[..BUCKETS - 1].windows(2) {
            assert!(pair[1] * 100 >= pair[0] * 125 && pair[1] * 100 <= pair[0] * 128, "{pair:?}");
        }
    }

    #[test]
    fn every_bound_falls_in_its_own_bucket_and_its_successor_in_the_next() {
        for (i, bound) in BOUNDS[..BUCKETS - 1].iter().enumerate() {
            assert_eq!((bucket(bound - 1), bucket(*bound), bucket(bound + 1)), (i, i, i + 1));
        }
        for ns in [0, 1, 8191, 8192, 8193] {
            assert_eq!(bucket(ns), 0, "{ns}");
        }
        for ns in [1 << 38, (1 << 38) + 1, u64::MAX] {
            assert_eq!(bucket(ns), BUCKETS - 1, "{ns}");
        }
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Snapshot::default().quantile(0.5), None);
    }

    #[test]
    fn moments() {
        let of = |values: &[u64]| {
            let (histogram, mut snapshot) = (LocalHistogram::default(), Snapshot::default());
            values.iter().for_each(|v| histogram.record(*v));
            histogram.add_to(&mut snapshot);
            snapshot
        };
        let nothing = Snapshot::default();
        assert_eq!((nothing.mean(), nothing.scv(), nothing.quantile_among(7, 0.99)), (0.0, 0.0, 0));
        let same = of(&[1_000_000; 100]);
        assert_eq!(same.mean(), 1e6);
        assert!(same.scv() < 0.01, "{}", same.scv());
        // Exponential: the k-th of n values spread evenly over the probabilities.
        let exponential: Vec<_> =
            (0..10_000).map(|k| (-(1.0 - (f64::from(k) + 0.5) / 10_000.0).ln() * 5e6) as u64).collect();
        assert!((of(&exponential).scv() - 1.0).abs() < 0.03, "{}", of(&exponential).scv());
        let waits = of(&[1_000_000, 2_000_000]);
        let at = |q| waits.quantile_among(100, q) / 100_000;
        assert_eq!((at(0.5), at(0.98), at(0.99), at(1.0)), (0, 0, 8, 17));
    }

    #[test]
    fn extremes_stay_in_range() {
        let histogram = LocalHistogram::default();
        histogram.record(0);
        histogram.record(u64::MAX);
        let mut snapshot = Snapshot::default();
        histogram.add_to(&mut snapshot);
        for (q, expected) in [
            (f64::NEG_INFINITY, 5_000),
            (0.0, 5_000),
            (0.5, 5_000),
            (0.51, 200_000_000_000),
            (1.0, 200_000_000_000),
            (7.0, 200_000_000_000),
        ] {
            assert_eq!(snapshot.quantile(q), Some(expected), "{q}");
        }
        assert!(snapshot.quantile(f64::NAN).is_some());
    }

    proptest! {
        #[test]
        fn bucket_agrees_with_a_search(octave in 0_u32..64, low in any::<u64>()) {
            let ns = (1 << octave) | (low & ((1 << octave) - 1));
            prop_assert_eq!(bucket(ns), plain_bucket(ns));
        }

        #[test]
        fn quantiles_are_within_an_eighth(
            mut values in prop::collection::vec(10_000_u64..=200_000_000_000, 1..300),
            spread in 0_u32..24,
            q in 0.0_f64..=1.0,
        ) {
            values.iter_mut().for_each(|v| *v = (*v >> spread).max(10_001));
            let (histogram, mut snapshot) = (SharedHistogram::default(), Snapshot::default());
            values.iter().for_each(|v| histogram.record(*v));
            histogram.add_to(&mut snapshot);
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64;
            let told = snapshot.quantile(q).unwrap() as f64;
            prop_assert!((told - exact).abs() <= exact * 0.123, "told {} exact {}", told, exact);
            prop_assert_eq!(snapshot.count(), values.len() as u64);
            prop_assert_eq!(snapshot.sum(), values.iter().sum::<u64>());
        }

        #[test]
        fn a_window_is_what_came_after(
            before in prop::collection::vec(any::<u32>(), 0..50),
            after in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let histogram = LocalHistogram::default();
            let (mut earlier, mut later) = (Snapshot::default(), Snapshot::default());
            before.iter().for_each(|v| histogram.record(u64::from(*v)));
            histogram.add_to(&mut earlier);
            after.iter().for_each(|v| histogram.record(u64::from(*v)));
            histogram.add_to(&mut later);
            let window = later.since(&earlier);
            prop_assert_eq!(window.count(), after.len() as u64);
            prop_assert_eq!(window.sum(), after.iter().map(|v| u64::from(*v)).sum::<u64>());
        }
    }
}
