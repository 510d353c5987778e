//! When clients came, told from their numbers: those who came within a second share a note, and the notes thin out with age,
//! so that no client needs a field for it.

/// One a second at most.
const APART: u64 = 1_000_000_000;
/// Notes kept, 128 KiB; then they are thinned, to some 3,000 after a year.
const KEPT: usize = 8192;
/// Notes that were taken this fraction of their age apart are kept.
const FINENESS: u64 = 256;

/// Notes of which client came when, both growing.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Vec<(u64, u64)>);

impl Arrivals {
    /// Client `id` comes at `now`, in nanoseconds. Clients come nearly in the order of their numbers.
    pub(super) fn note(&mut self, id: u64, now: u64) {
        if self.0.last().is_some_and(|&(last, at)| id <= last || now < at + APART) {
            return;
        }
        if self.0.len() >= KEPT {
            self.thin_out(now);
        }
        self.0.push((id, now));
    }

    fn thin_out(&mut self, now: u64) {
        let mut kept_last: Option<u64> = None;
        self.0.retain(|&(_, at)| {
            let keep = kept_last.is_none_or(|last| at - last >= (now - at) / FINENESS);
            if keep {
                kept_last = Some(at);
            }
            keep
        });
    }

    /// When about a client came: at most a second earlier than it did, or a fiftieth of the time since.
    pub(super) fn of(&self, id: u64) -> u64 {
        let after = self.0.partition_point(|&(first, _)| first <= id);
        self.0.get(after.saturating_sub(1)).map_or(0, |&(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_clients_to_the_second_old_ones_roughly_and_memory_is_bounded() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.of(7), 0);
        // Two a second for a month.
        let came = |id: u64| id * APART / 2;
        let last = 30 * 24 * 3600 * 2;
        (1..=last).for_each(|id| arrivals.note(id, came(id)));
        assert!(arrivals.0.len() <= KEPT && arrivals.0.capacity() <= 2 * KEPT);
        for id in [1, 1000, last / 3, last / 2, last - 500_000, last - 5000, last - 5, last] {
            let (told, truth) = (arrivals.of(id), came(id));
            assert!(
                told <= truth && truth - told <= APART + (came(last) - truth) / 50,
                "{id}: {told} for {truth}"
            );
        }
    }
}
