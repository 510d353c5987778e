//! At which worker a new server is to be at home. Pure.
//!
//! A client that uses a server at home elsewhere is woken across threads, by a system call, for each of its replies.

/// So many in line are counted.
const IN_LINE: usize = 64;

/// What the opener would like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// The worker of the waiter that the open is for.
    pub(super) preferred: usize,
    /// No worker has more servers than this while another has fewer.
    pub(super) share: usize,
}

/// The worker whose clients hold or wait for the most servers beyond those at home there; of equal ones the preferred.
/// `servers` are the homes of all, opening ones too, each with the worker whose client has it; `line` the workers of
/// those who wait. Workers beyond the last count as the last.
pub(super) fn choose(
    wish: Wish,
    workers: usize,
    servers: impl Iterator<Item = (usize, Option<usize>)>,
    line: impl Iterator<Item = usize>,
) -> usize {
    let last = workers.saturating_sub(1);
    let (mut homes, mut users) = (vec![0_usize; last + 1], vec![0_usize; last + 1]);
    for (home, user) in servers {
        homes[home.min(last)] += 1;
        if let Some(user) = user {
            users[user.min(last)] += 1;
        }
    }
    line.take(IN_LINE).for_each(|worker| users[worker.min(last)] += 1);
    let rank = |worker: usize| (homes[worker] < wish.share, users[worker] as isize - homes[worker] as isize);
    let better = |best: usize, worker: usize| if rank(worker) > rank(best) { worker } else { best };
    (0..=last).fold(wish.preferred.min(last), better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(preferred: usize, share: usize, servers: &[(usize, Option<usize>)], line: &[usize]) -> usize {
        choose(Wish { preferred, share }, 3, servers.iter().copied(), line.iter().copied())
    }

    #[test]
    fn need_decides_then_the_preferred() {
        assert_eq!(choice(1, 9, &[], &[]), 1);
        assert_eq!(choice(1, 9, &[], &[0, 1, 2]), 1);
        assert_eq!(choice(1, 9, &[(1, Some(1))], &[0, 1]), 1, "one in line each, one server held at home");
        assert_eq!(
            choice(1, 9, &[(1, Some(0))], &[0, 1]),
            0,
            "two of its clients have one server, away from home"
        );
        assert_eq!(choice(1, 9, &[(1, None)], &[]), 0, "idle or opening servers are there for somebody");
    }

    #[test]
    fn nobody_has_more_than_the_share_while_another_has_less() {
        let held = [(0, Some(0)), (0, Some(0))];
        assert_eq!(choice(0, 3, &held, &[0, 0, 0]), 0);
        assert_eq!(choice(0, 2, &held, &[0, 0, 0]), 1);
        assert_eq!(choice(0, 0, &held, &[0, 0, 0]), 0, "above pool size need decides again");
    }

    #[test]
    fn workers_beyond_the_last_count_as_the_last() {
        assert_eq!(choice(7, 9, &[(8, Some(9))], &[9]), 2);
    }
}
