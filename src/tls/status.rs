//! What rustls says to a look at a connection's bytes, and what there is to be taken of it.

use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

/// What rustls says to a look at the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Look again.
    Again,
    /// Nothing more without more bytes.
    Enough,
    /// The other side sends nothing more.
    End,
}

/// Takes what a status brings, and says how many bytes it has used and how many of `into`.
pub(super) fn take_up<D>(
    status: UnbufferedStatus<'_, '_, D>,
    control: &mut Vec<u8>,
    plain: &mut Vec<u8>,
    into: &mut [u8],
) -> (usize, Result<(Heard, usize), rustls::Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let mut filled = 0;
    let heard = match state {
        Err(error) => return (discard, Err(error)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Heard::Again,
                Some(Err(error)) => return (discard, Err(error)),
                Some(Ok(record)) => {
                    discard += record.discard;
                    // In order: once something is held, the rest is, too.
                    let room = if plain.is_empty() { into.len() - filled } else { 0 };
                    let (now, later) = record.payload.split_at(record.payload.len().min(room));
                    into[filled..filled + now.len()].copy_from_slice(now);
                    filled += now.len();
                    plain.extend_from_slice(later);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let at = control.len();
            let mut size = 0;
            loop {
                control.resize(at + size, 0);
                match data.encode(&mut control[at..]) {
                    Ok(n) => {
                        control.truncate(at + n);
                        break Heard::Again;
                    }
                    Err(EncodeError::InsufficientSize(e)) => size = e.required_size,
                    Err(EncodeError::AlreadyEncoded) => {
                        control.truncate(at);
                        break Heard::Again;
                    }
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Heard::Again
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Heard::End,
        Ok(_) => Heard::Enough,
    };
    (discard, Ok((heard, filled)))
}
