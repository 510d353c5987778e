//! What no pooler can be cheaper than by TCP: each client's bytes go to a connection of its own at the server, and back, by one
//! thread that looks at none of them. `floor PORT SERVER_PORT`, on 127.0.0.1; `make bench FLOOR=1` measures it.

use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Sockets told about at once.
const AT_ONCE: usize = 256;
/// Bytes read at once.
const CHUNK: usize = 128 * 1024;
/// The listener's token; the two ends of relay n have 2n and 2n + 1.
const LISTENER: u64 = u64::MAX;

/// A client, then its server; `None` once one of them has gone.
type Relay = Option<[TcpStream; 2]>;

struct Floor {
    epoll: OwnedFd,
    server: u16,
    relays: Vec<Relay>,
}

fn main() -> io::Result<()> {
    let ports: Vec<u16> = std::env::args().skip(1).filter_map(|port| port.parse().ok()).collect();
    let &[port, server] = &*ports else { return Err(io::Error::other("usage: floor PORT SERVER_PORT")) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    Floor { epoll, server, relays: Vec::new() }.run(&listener)
}

impl Floor {
    fn run(&mut self, listener: &TcpListener) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut room = [MaybeUninit::<Event>::uninit(); AT_ONCE];
        loop {
            let (events, _) = match epoll::wait(&self.epoll, &mut room, None) {
                Err(error) if error.kind() == Interrupted => continue,
                waited => waited?,
            };
            for event in events {
                match event.data.u64() {
                    LISTENER => self.accept(listener)?,
                    token => pass_on(&mut self.relays[token as usize / 2], token as usize % 2, &mut chunk),
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let client = match listener.accept() {
            Err(error) if error.kind() == WouldBlock => return Ok(()),
            accepted => accepted?.0,
        };
        let ends = [client, TcpStream::connect((Ipv4Addr::LOCALHOST, self.server))?];
        for (side, end) in ends.iter().enumerate() {
            end.set_nodelay(true)?;
            end.set_nonblocking(true)?;
            let token = EventData::new_u64(2 * self.relays.len() as u64 + side as u64);
            epoll::add(&self.epoll, end, token, EventFlags::IN | EventFlags::RDHUP | EventFlags::ET)?;
        }
        self.relays.push(Some(ends));
        Ok(())
    }
}

/// Passes on what one side has sent; closes both ends when it has left. A short read has emptied the socket.
fn pass_on(relay: &mut Relay, side: usize, chunk: &mut [u8]) {
    while let Some(ends) = relay {
        match ends[side].read(chunk) {
            Err(error) if error.kind() == WouldBlock => return,
            Ok(0) | Err(_) => *relay = None,
            Ok(size) if write_all(&mut ends[1 - side], &chunk[..size]).is_err() => *relay = None,
            Ok(size) if size < chunk.len() => return,
            Ok(_) => {}
        }
    }
}

/// Tries again and again where the other side reads slowly: for what is measured here, that is short.
fn write_all(end: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match end.write(bytes) {
            Err(error) if error.kind() == WouldBlock => {}
            written => bytes = &bytes[written?..],
        }
    }
    Ok(())
}
