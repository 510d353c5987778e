//! What this machine says of itself and of who is at the other end of a Unix-domain socket. Both may block: names of users
//! can come from a directory service.

use crate::auth::hba::Interface;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use nix::unistd::{Uid, User};
use rustix::fd::AsFd;
use rustix::net::sockopt::socket_peercred;
use std::io;
use std::net::IpAddr;

/// The machine's addresses.
///
/// # Errors
/// When they can't be had.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let all = getifaddrs()?;
    let pairs = all.filter_map(|one| Some(Interface { address: ip(one.address)?, mask: ip(one.netmask)? }));
    Ok(pairs.collect())
}

fn ip(address: Option<SockaddrStorage>) -> Option<IpAddr> {
    let address = address?;
    let v4 = address.as_sockaddr_in().map(|it| it.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|it| it.ip().into()))
}

/// The system's number for the user who connected to a Unix-domain socket.
pub fn peer_user_id(socket: impl AsFd) -> io::Result<u32> {
    Ok(socket_peercred(socket)?.uid.as_raw())
}

/// The name of a user of the system; `None` if it has none.
pub fn user_name(id: u32) -> io::Result<Option<String>> {
    Ok(User::from_uid(Uid::from_raw(id))?.map(|user| user.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn the_loopback_interface_is_there() {
        let all = interfaces().expect("addresses");
        let own = all.iter().find(|one| one.address == Ipv4Addr::LOCALHOST).expect("127.0.0.1");
        assert_eq!(own.mask, Ipv4Addr::new(255, 0, 0, 0));
    }

    #[test]
    fn the_other_end_is_ourselves() {
        let (near, _far) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        let id = peer_user_id(&near).expect("an ID");
        assert_eq!(id, rustix::process::getuid().as_raw());
        assert_eq!(user_name(0).expect("a list of users").as_deref(), Some("root"));
        assert_eq!(user_name(4_294_967_000).expect("a list of users"), None);
    }
}
