//! Which core does what while the fake server answers: the pooler has the first one alone, generator and fake server
//! share the last one. Threads and processes inherit the cores of the thread that starts them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Takes effect for the calling thread; dropping it gives all cores back to that thread.
pub(crate) struct Cores {
    all: CpuSet,
    first: CpuSet,
    last: CpuSet,
}

impl Cores {
    /// Pooler and load apart, if there are two cores.
    pub(crate) fn apart() -> Result<Self, String> {
        let all = allowed()?;
        let mut used = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let first = used.next().unwrap_or(0);
        let last = used.next_back().unwrap_or(first);
        Ok(Self { all, first: only(first), last: only(last) })
    }

    /// Everything everywhere.
    pub(crate) fn shared() -> Result<Self, String> {
        let all = allowed()?;
        Ok(Self { all, first: all, last: all })
    }

    /// What is started from now on is the pooler.
    pub(crate) fn as_pooler(&self) {
        self.become_one_of(&self.first);
    }

    /// What is started from now on, and the calling thread, is the load.
    pub(crate) fn as_load(&self) {
        self.become_one_of(&self.last);
    }

    fn become_one_of(&self, cores: &CpuSet) {
        sched_setaffinity(None, cores).expect("cores we were allowed before");
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.all).ok();
    }
}

fn allowed() -> Result<CpuSet, String> {
    sched_getaffinity(None).map_err(|e| format!("the cores we may use: {e}"))
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}
