//! Running a command to its end on a thread that may block. The workers' runtime has no children of its own: it would look for
//! orphans at every look for ready sockets.

use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

use crate::clock::Instant;

/// What a command printed and how it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// At most one byte more than was allowed.
    pub(super) output: Zeroizing<Vec<u8>>,
}

/// Where a command stands.
#[derive(Debug, Clone, Copy)]
enum Stand {
    NotBegun,
    /// The first of a process group of its own, which has not been waited for: its number is nobody else's.
    Runs(Pid),
    Over,
}

/// Kills a command when dropped, and what it has begun, too; or keeps it from being begun.
#[derive(Debug)]
struct Watch(Arc<Mutex<Stand>>);

impl Drop for Watch {
    fn drop(&mut self) {
        end(&mut self.0.lock());
    }
}

fn end(stand: &mut Stand) {
    if let Stand::Runs(group) = *stand {
        let _ = kill_process_group(group, Signal::KILL);
    } else {
        *stand = Stand::Over;
    }
}

/// Runs a program without a shell, with nothing to read and nowhere to complain; reads `most` bytes of what it prints and one more, for
/// `limit` at most, however its output is held open. Cancel safe: the command is killed.
pub(super) async fn run(
    program: &str,
    arguments: &[String],
    most: usize,
    limit: Duration,
) -> io::Result<Ended> {
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let stand = Arc::new(Mutex::new(Stand::NotBegun));
    let _watch = Watch(Arc::clone(&stand));
    let running = tokio::task::spawn_blocking(move || attend(command, &stand, most, limit));
    running.await.map_err(io::Error::other)?
}

fn attend(mut command: Command, stand: &Mutex<Stand>, most: usize, limit: Duration) -> io::Result<Ended> {
    if matches!(*stand.lock(), Stand::Over) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    // Not under the lock, which a worker may want: a program on a disk that hangs keeps this thread only.
    let mut child = command.spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::Other)?;
    {
        let mut stand = stand.lock();
        let given_up = matches!(*stand, Stand::Over);
        *stand = Stand::Runs(group);
        if given_up {
            end(&mut stand);
        }
    }
    let output = read(&mut child, most, limit);
    if !output.as_ref().is_ok_and(|output| output.len() <= most) {
        end(&mut stand.lock());
    }
    // Without taking it away: until then its number stays its own, and whoever gives up may kill it.
    let ended = retry_on_intr(|| waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    *stand.lock() = Stand::Over;
    let status = child.wait()?;
    ended?;
    Ok(Ended { status, output: output? })
}

fn read(child: &mut Child, most: usize, limit: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
    let begun = Instant::now();
    let mut pipe = child.stdout.take().ok_or(io::ErrorKind::Other)?;
    // Whole from the beginning: growing would leave copies behind.
    let mut output = Zeroizing::new(vec![0; most + 1]);
    let mut filled = 0;
    while filled < output.len() {
        let left = limit.saturating_sub(begun.elapsed());
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match pipe.read(&mut output[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    output.truncate(filled);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    async fn shell(text: &str, limit: Duration) -> io::Result<Ended> {
        run("sh", &["-c", text].map(str::to_owned), 8, limit).await
    }

    #[tokio::test]
    async fn what_is_printed_comes_back() {
        let long = Duration::from_secs(60);
        let ended = shell("echo a; sleep 0.01; echo b", long).await.unwrap();
        assert_eq!((&**ended.output, ended.status.code()), (&b"a\nb\n"[..], Some(0)));
        assert_eq!(shell("exit 3", long).await.unwrap().status.code(), Some(3));
        // Ended where it is too much, though the command goes on.
        let much = shell("echo 123456789; sleep 60", long).await.unwrap();
        assert_eq!((much.output.len(), much.status.code()), (9, None));
        assert!(run("/no/such/program", &[], 8, long).await.is_err());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_pipe_that_stays_open() {
        let late = shell("setsid sleep 5 & echo a", Duration::from_millis(50)).await;
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_gives_up_ends_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let (written, begun) = (dir.path().join("written"), dir.path().join("begun"));
        let (from, to) = (written.display(), begun.display());
        let text = format!("echo $$ > {from}; mv {from} {to}; exec sleep 600");
        let task = tokio::spawn(async move { shell(&text, Duration::from_secs(600)).await });
        while !begun.exists() {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert!(task.await.is_err());
        let pid = std::fs::read_to_string(&begun).unwrap();
        // Killed and waited for.
        while Path::new("/proc").join(pid.trim()).exists() {
            tokio::task::yield_now().await;
        }
    }
}
