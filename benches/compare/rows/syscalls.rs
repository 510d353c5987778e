//! System calls a transaction, counted by perf between the first and the last transaction measured.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Measured, Outcome, Trouble};
use crate::Bench;
use crate::load::{Plan, Shape, Stage};
use crate::poolers::{Kind, Pooler};
use crate::support::PATIENCE;

const CLIENTS: u32 = 32;

/// All, those refused with EAGAIN, and epoll_ctl.
const EVENTS: [&[&str]; 3] = [
    &["-e", "raw_syscalls:sys_enter"],
    &["-e", "raw_syscalls:sys_exit", "--filter", "ret==-11"],
    &["-e", "syscalls:sys_enter_epoll_ctl"],
];

pub(super) fn measure(bench: &Bench, kind: &Kind) -> Outcome {
    allowed()?;
    if !kind.keeps_statements() {
        return Err(Trouble::Skipped("this version keeps no prepared statements".into()));
    }
    let mut values = count(bench, kind, Shape::Simple)?.to_vec();
    values.push(count(bench, kind, Shape::Prepared)?[0]);
    Ok(Measured { values, beside: "counted by perf".into() })
}

fn allowed() -> Result<(), Trouble> {
    let tried = Command::new("perf")
        .args(["stat", "-x,"])
        .args(EVENTS.concat())
        .arg("true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match tried {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Trouble::Skipped("perf may not count system calls here".into())),
        Err(_) => Err(Trouble::Skipped("perf is not installed".into())),
    }
}

fn count(bench: &Bench, kind: &Kind, shape: Shape) -> Result<[f64; 3], Trouble> {
    let stage = Stage::set(kind, Plan::default())?;
    let mut load = stage.load(CLIENTS, shape)?;
    let mut perf = Perf::attach(&stage.pooler).map_err(|e| format!("perf: {e}"))?;
    let mut orders = ["enable\n", "disable\n"].into_iter();
    let seen = load.run(Duration::from_secs(bench.seconds().into()), None, &mut || {
        perf.order(orders.next().unwrap_or("disable\n")).map_err(|e| format!("perf: {e}"))
    })?;
    let counts = perf.counts()?;
    Ok(counts.map(|count| count / seen.transactions()))
}

/// A perf that counts only between `enable` and `disable`.
struct Perf {
    child: Child,
    orders: File,
    replies: File,
    _dir: tempfile::TempDir,
}

impl Perf {
    fn attach(pooler: &Pooler) -> std::io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("perf-").tempdir()?;
        let [orders, replies] = ["orders", "replies"].map(|name| dir.path().join(name));
        for path in [&orders, &replies] {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)?;
        }
        let pids: Vec<String> = pooler.pids().iter().map(u32::to_string).collect();
        let child = Command::new("perf")
            .args(["stat", "-x,", "-D", "-1"])
            .arg(format!("--control=fifo:{},{}", orders.display(), replies.display()))
            .args(EVENTS.concat())
            .args(["-p", &pids.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // Both ways at once, so that opening never waits for perf.
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        Ok(Self { child, orders: open(&orders)?, replies: open(&replies)?, _dir: dir })
    }

    /// Returns when it is obeyed.
    fn order(&mut self, order: &str) -> std::io::Result<()> {
        self.orders.write_all(order.as_bytes())?;
        let limit = Timespec::try_from(PATIENCE).expect("seconds");
        match poll(&mut [PollFd::new(&self.replies, PollFlags::IN)], Some(&limit))? {
            0 => Err(std::io::Error::other("it does not obey")),
            _ => self.replies.read(&mut [0; 16]).map(drop),
        }
    }

    fn counts(mut self) -> Result<[f64; 3], String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.ok_or("no pid")?, rustix::process::Signal::INT)
            .map_err(|e| format!("perf: {e}"))?;
        let told = self.child.stderr.take().map(std::io::read_to_string);
        let told = told.ok_or("perf says nothing")?.map_err(|e| e.to_string())?;
        self.child.wait().map_err(|e| e.to_string())?;
        let mut counts = told.lines().filter_map(|line| line.split(',').next()?.parse::<f64>().ok());
        let mut next = || counts.next().ok_or_else(|| format!("perf counts nothing: {told}"));
        Ok([next()?, next()?, next()?])
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
