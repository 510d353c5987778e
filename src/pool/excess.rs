//! A shared cap that has been made smaller than what is lent under it: which servers go. Idle ones at once, longest idle first;
//! busy ones as they come back, whoever waits for them, from the pools that have most. Pure but for locks.
use super::{SharedCap, evict, share::Share};

impl SharedCap {
    /// Closes idle servers as long as there are too many. Those that go idle meanwhile see that there are.
    pub(super) fn shed_idle(&self) {
        while self.surplus() > 0 {
            let members = self.members();
            let candidates = members.iter().filter_map(|pool| Some((pool, pool.longest_idle()?)));
            let Some(chosen) = evict::longest(candidates) else { return };
            chosen.evict_longest_idle(self.name().kind);
        }
    }

    /// Places lent beyond the bound, but for those of servers that are being closed, however long that takes.
    pub(super) fn surplus(&self) -> usize {
        let most = |limit: u32| limit as usize + self.coming().all();
        self.limit().map_or(0, |limit| self.in_use().saturating_sub(most(limit)))
    }

    /// As [`Self::surplus`]; costs nothing unless the cap is short.
    pub(super) fn surplus_if_pressed(&self) -> usize {
        if self.is_pressed() { self.surplus() } else { 0 }
    }

    /// Whether one of so many places too many is that of a server that comes back to the pool of this share.
    pub(super) fn takes_back(&self, surplus: usize, share: &Share) -> bool {
        let roll = self.roll();
        share.standing().has_one_of(surplus, roll.members.iter().map(|(_, share)| share.standing()))
    }
}
