//! The header of the PROXY protocol, versions 1 and 2, in which a load balancer says for whom it connects.
//! Of what follows the header nothing is ever read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const WORD: &[u8; 6] = b"PROXY ";
/// The shortest header of version 1: `PROXY UNKNOWN` and its line's end.
const SHORTEST_LINE: usize = 15;
/// The longest header of version 1.
const LONGEST_LINE: usize = 107;
/// The part of version 2 that is always there.
const FIXED: usize = 16;
/// The most bytes of addresses and their like that version 2 may announce here; allowed are 65,535.
const LONGEST_REST: usize = 4096;

/// Why it is no header.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProxyError {
    /// Something else.
    #[error("no PROXY protocol header")]
    NoHeader,
    /// A line that isn't as version 1 has it.
    #[error("invalid PROXY protocol version 1 header")]
    Line,
    /// Not as version 2 has it.
    #[error("invalid PROXY protocol version 2 header")]
    Binary,
    /// A version there isn't.
    #[error("unknown PROXY protocol version")]
    Version,
    /// More than anybody needs.
    #[error("PROXY protocol header is too long")]
    TooLong,
}

/// What has been read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// At least so many bytes of the header are missing.
    Needs(usize),
    /// The header is whole. The client's address, if it is told: of a connection that is the balancer's own, or none of TCP, it isn't.
    Whole(Option<SocketAddr>),
}

/// Reads a header; `bytes` has nothing behind it if never more is read than [`Parsed::Needs`] says.
///
/// # Errors
/// As soon as it can't become a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(is, should)| is == should);
    if begins(WORD) {
        line(bytes)
    } else if begins(SIGNATURE) {
        binary(bytes)
    } else {
        Err(ProxyError::NoHeader)
    }
}

fn line(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if bytes.len() < SHORTEST_LINE {
        return Ok(Parsed::Needs(SHORTEST_LINE - bytes.len()));
    }
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        let is_over = bytes.len() >= LONGEST_LINE || bytes.contains(&b'\n');
        return if is_over { Err(ProxyError::Line) } else { Ok(Parsed::Needs(1)) };
    };
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Line)?;
    let words: Vec<&str> = line.split(' ').collect();
    let address = match words[..] {
        [_, "UNKNOWN", ..] => None,
        [_, "TCP4", source, target, port, target_port] => {
            parsed::<Ipv4Addr>(target)?;
            self::port(target_port)?;
            Some((IpAddr::V4(parsed(source)?), self::port(port)?))
        }
        [_, "TCP6", source, target, port, target_port] => {
            parsed::<Ipv6Addr>(target)?;
            self::port(target_port)?;
            Some((IpAddr::V6(parsed(source)?), self::port(port)?))
        }
        _ => return Err(ProxyError::Line),
    };
    Ok(Parsed::Whole(address.map(SocketAddr::from)))
}

fn parsed<T: FromStr>(text: &str) -> Result<T, ProxyError> {
    text.parse().map_err(|_| ProxyError::Line)
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { parsed(text) } else { Err(ProxyError::Line) }
}

fn binary(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Parsed::Needs(FIXED - bytes.len()));
    };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let announced = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    match (version, command) {
        (2, 0 | 1) => {}
        (2, _) => return Err(ProxyError::Binary),
        _ => return Err(ProxyError::Version),
    }
    if announced > LONGEST_REST {
        return Err(ProxyError::TooLong);
    }
    if rest.len() < announced {
        return Ok(Parsed::Needs(announced - rest.len()));
    }
    if command == 0 {
        return Ok(Parsed::Whole(None));
    }
    let address = match fixed[13] {
        0x11 => Some(pair::<4, 12>(rest, announced)?),
        0x21 => Some(pair::<16, 36>(rest, announced)?),
        // Unspecified, datagrams, Unix-domain sockets.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(ProxyError::Binary),
    };
    Ok(Parsed::Whole(address))
}

/// The source of `WHOLE` bytes: both addresses of `SIZE` bytes, then both ports.
fn pair<const SIZE: usize, const WHOLE: usize>(
    rest: &[u8],
    announced: usize,
) -> Result<SocketAddr, ProxyError>
where
    [u8; SIZE]: Into<IpAddr>,
{
    let whole = rest
        .get(..WHOLE.min(announced))
        .and_then(|rest| rest.first_chunk::<WHOLE>())
        .ok_or(ProxyError::Binary)?;
    let source = whole.first_chunk::<SIZE>().copied().ok_or(ProxyError::Binary)?;
    let port = u16::from_be_bytes([whole[2 * SIZE], whole[2 * SIZE + 1]]);
    Ok(SocketAddr::new(source.into(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    /// As the shell reads: never more than is asked for.
    fn read(bytes: &[u8]) -> (Result<Parsed, ProxyError>, usize) {
        let mut end = 0;
        loop {
            match parse(&bytes[..end]) {
                Ok(Parsed::Needs(n)) if end < bytes.len() => end = bytes.len().min(end + n),
                other => return (other, end),
            }
        }
    }

    #[test]
    fn headers() {
        let four = [1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0xd2, 0, 80];
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0x04, 0xd2, 0, 80]].concat();
        let with_more = [&four[..], b"\x03\0\x04abcd"].concat();
        for (bytes, expected) in [
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n".to_vec(), Some("1.2.3.4:1234")),
            (b"PROXY TCP6 ::1 fe80::1 1234 80\r\n".to_vec(), Some("[::1]:1234")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), Some("1.2.3.4:1234")),
            (v2(0x21, 0x11, &with_more), Some("1.2.3.4:1234")),
            (v2(0x21, 0x21, &six), Some("[::1]:1234")),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0x00, b""), None),
            (v2(0x21, 0x00, b"\x04\0\x01x"), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            let followed = [&bytes[..], b"\0\0\0\x08\x04\xd2\x16\x2f"].concat();
            assert_eq!(
                read(&followed),
                (Ok(Parsed::Whole(expected)), bytes.len()),
                "{}",
                bytes.escape_ascii()
            );
            for end in 0..bytes.len() {
                assert!(
                    matches!(parse(&bytes[..end]), Ok(Parsed::Needs(_))),
                    "{} {end}",
                    bytes.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn others() {
        use ProxyError::{Binary, Line, NoHeader, TooLong, Version};
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for (bytes, expected) in [
            (b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(), NoHeader),
            (b"\x16\x03\x01".to_vec(), NoHeader),
            (b"PROXY\tTCP4".to_vec(), NoHeader),
            (b"\r\n\r\n\0\r\nQUIX".to_vec(), NoHeader),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 80 1\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4  5.6.7.8 1234 80\r\n".to_vec(), Line),
            (b"PROXY TCP4 ::1 5.6.7.8 1234 80\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 01234 80\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 80\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 80\r\n".to_vec(), Line),
            (b"PROXY TCP5 1.2.3.4 5.6.7.8 1234 80\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\n\n".to_vec(), Line),
            (long, Line),
            (v2(0x22, 0x11, &[0; 12]), Binary),
            (v2(0x21, 0x11, &[0; 11]), Binary),
            (v2(0x21, 0x21, &[0; 35]), Binary),
            (v2(0x21, 0x13, &[0; 12]), Binary),
            (v2(0x11, 0x11, &[0; 12]), Version),
            (v2(0x21, 0x11, &[0; 4097]), TooLong),
        ] {
            assert_eq!(read(&bytes).0, Err(expected), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64), which in 0..3) {
            let front = [&b""[..], WORD, SIGNATURE][which as usize];
            let (_, end) = read(&[front, &bytes].concat());
            prop_assert!(end <= FIXED + LONGEST_REST);
        }

        #[test]
        fn addresses_come_back(ip: [u8; 4], port: u16, more in prop::collection::vec(any::<u8>(), 0..20)) {
            let address = SocketAddr::from((ip, port));
            let text = format!("PROXY TCP4 {} 0.0.0.0 {port} 0\r\n", address.ip());
            prop_assert_eq!(parse(text.as_bytes()), Ok(Parsed::Whole(Some(address))));
            let rest = [&ip[..], &[0; 4], &port.to_be_bytes(), &[0; 2], &more].concat();
            prop_assert_eq!(parse(&v2(0x21, 0x11, &rest)), Ok(Parsed::Whole(Some(address))));
        }
    }
}
