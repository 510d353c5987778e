//! COPY of 200 MB from a client into a table and back, each byte compared.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Measured, Outcome};
use crate::Bench;
use crate::poolers::Kind;
use crate::support::messages::{self, Message};
use crate::support::raw::Client;

const ROWS: usize = 2_000_000;
/// As PostgreSQL's own client cuts it.
const PIECE: usize = 8192;

/// Rows of 100 bytes in COPY's text format.
pub(crate) struct Data(Vec<u8>);

impl Data {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(ROWS * 100);
        for n in 0..ROWS {
            writeln!(bytes, "{:07}\t{:x>91}", 1_000_000 + n, n.wrapping_mul(2_654_435_761))
                .expect("memory takes everything");
        }
        Self(bytes)
    }

    fn megabytes(&self) -> f64 {
        self.0.len() as f64 / 1e6
    }
}

pub(super) fn measure(bench: &Bench, kind: &Kind) -> Outcome {
    let real = bench.real();
    let data = real.data.get_or_init(Data::new);
    real.cluster.sql("app", "DROP TABLE IF EXISTS copied");
    let pooler = real.pooler(kind);
    let mut client = Client::try_connect(&pooler.target(0)).map_err(|e| e.to_string())?;
    client.rows("CREATE UNLOGGED TABLE copied (id int, pad text)").map_err(|e| e.to_string())?;
    let mut stream = Stream { socket: client.into_tcp(), unread: Vec::new(), at: 0 };

    let before = pooler.cpu_time()?;
    stream.copy_in(data)?;
    let between = pooler.cpu_time()?;
    stream.copy_out(data)?;
    let after = pooler.cpu_time()?;
    real.cluster.sql("app", "DROP TABLE copied");
    let each = |from, to: std::time::Duration| to.saturating_sub(from).as_secs_f64() * 1e6 / data.megabytes();
    Ok(Measured {
        values: vec![each(between, after), each(before, between)],
        beside: format!("{:.0} MB", data.megabytes()),
    })
}

/// A connection with a buffer large enough that our part is cheap.
struct Stream {
    socket: TcpStream,
    unread: Vec<u8>,
    /// How much of `unread` is done with.
    at: usize,
}

impl Stream {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket.write_all(bytes).map_err(|e| e.to_string())
    }

    /// The tag and where the body lies in `unread`.
    fn next(&mut self) -> Result<(u8, std::ops::Range<usize>), String> {
        loop {
            let rest = &self.unread[self.at..];
            if let Some((&[tag, a, b, c, d], after)) = rest.split_first_chunk() {
                let length = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
                if after.len() >= length {
                    let from = self.at + 5;
                    self.at = from + length;
                    return match tag {
                        b'E' => Err(Message { tag, body: self.unread[from..self.at].to_vec() }.to_string()),
                        _ => Ok((tag, from..self.at)),
                    };
                }
            }
            self.unread.drain(..self.at);
            self.at = 0;
            let held = self.unread.len();
            self.unread.resize(held + (1 << 16), 0);
            let got = self.socket.read(&mut self.unread[held..]).map_err(|e| e.to_string())?;
            self.unread.truncate(held + got);
            if got == 0 {
                return Err("the connection ended".into());
            }
        }
    }

    fn until(&mut self, wanted: u8) -> Result<(), String> {
        while self.next()?.0 != wanted {}
        Ok(())
    }

    fn copy_in(&mut self, data: &Data) -> Result<(), String> {
        self.send(&messages::query("COPY copied FROM STDIN"))?;
        self.until(b'G')?;
        for piece in data.0.chunks(PIECE) {
            self.send(&messages::copy_data(piece))?;
        }
        self.send(&messages::copy_done())?;
        self.until(b'Z')
    }

    fn copy_out(&mut self, data: &Data) -> Result<(), String> {
        self.send(&messages::query("COPY copied TO STDOUT"))?;
        self.until(b'H')?;
        let mut expected = &data.0[..];
        loop {
            let (tag, body) = self.next()?;
            match tag {
                b'd' => match expected.strip_prefix(&self.unread[body]) {
                    Some(rest) => expected = rest,
                    None => return Err("COPY: other data came back".into()),
                },
                b'Z' if expected.is_empty() => return Ok(()),
                b'Z' => return Err(format!("COPY: {} bytes are missing", expected.len())),
                _ => {}
            }
        }
    }
}
