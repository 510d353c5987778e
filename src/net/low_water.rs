//! How many bytes have to be there before a socket counts as readable (SO_RCVLOWAT).

use nix::libc;
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::SetStruct;
use rustix::system::uname;
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// The first Linux that tells of what is there already when less is asked for than before.
const TELLS_SINCE: (u32, u32) = (4, 18);

#[derive(Debug, Clone, Copy)]
struct ReceiveLowWater;

nix::setsockopt_impl!(
    ReceiveLowWater,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    libc::c_int,
    SetStruct<'_, libc::c_int>
);

/// From now on the socket wakes its reader for at least so many bytes, or at the end of the stream. If that many are there,
/// or come to be enough by this, it does so at once. Whether it was done: older systems would forget to wake.
pub(super) fn set(socket: &impl AsFd, bytes: usize) -> bool {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    kernel_tells() && ReceiveLowWater.set(socket, &bytes).is_ok()
}

fn kernel_tells() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| version(uname().release().to_str().unwrap_or_default()) >= Some(TELLS_SINCE))
}

/// The first two numbers of `6.1.0-28-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(version("4.18.0-553.el8_10.x86_64"), Some((4, 18)));
        assert_eq!(version("5.15+"), Some((5, 15)));
        assert_eq!(version("unknown"), None);
        assert!(version("4.4.0") < Some(TELLS_SINCE));
    }
}
