//! What an idle client's bytes are: work for a server, or something to be answered or dropped here. Pure.

use crate::wire::backend::READY_IDLE;
use crate::wire::error::WireError;
use crate::wire::frame::{self, HEADER};
use crate::wire::tag::frontend as f;

/// A message up to this size is waited for whole before a server is taken: half a message shall not hold one.
const WHOLE: usize = 64 * 1024;

/// What to do with a client that has no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Triage {
    /// Bytes of a message that are still to be dropped, at most 2³⁰, and [`REFUSING`]: one word of every idle client.
    state: u32,
}

/// Messages are dropped up to the next Sync: the batch was refused.
const REFUSING: u32 = 1 << 31;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More bytes are needed.
    More,
    /// The message at the front needs a server.
    Work,
    /// Terminate.
    Terminate,
}

impl Triage {
    /// Whether `input` begins with a whole message that needs a server, which is nearly always so: then [`Self::sort`]
    /// would find nothing else.
    #[inline]
    pub fn is_work(&self, input: &[u8]) -> bool {
        let idle = *self == Self::default();
        idle && matches!(
            input.first(),
            Some(&(f::QUERY | f::PARSE | f::BIND | f::DESCRIBE | f::EXECUTE | f::CLOSE))
        ) && matches!(frame::header(input), Ok(Some(header)) if header.size <= input.len() && frame::check_frontend(header).is_ok())
    }

    /// Goes through the bytes of a client without a server; answers are appended to `answer`. Returns what was used.
    pub fn sort(&mut self, input: &[u8], answer: &mut Vec<u8>) -> Result<(usize, Next), WireError> {
        let mut at = self.skip((self.state & !REFUSING) as usize, input.len());
        while let Some(header) = frame::header(&input[at..])? {
            frame::check_frontend(header)?;
            match header.tag {
                f::TERMINATE => return Ok((at, Next::Terminate)),
                f::SYNC if header.size == HEADER => {
                    self.state &= !REFUSING;
                    answer.extend_from_slice(READY_IDLE);
                }
                f::FLUSH if header.size == HEADER => {}
                f::COPY_DATA | f::COPY_DONE | f::COPY_FAIL => {}
                tag if self.state & REFUSING != 0 && tag != f::SYNC => {}
                tag => {
                    // A Sync or Flush with a body is an error, for a server to tell.
                    self.state &= !REFUSING;
                    let here = input.len() - at >= header.size;
                    let streams = header.size > WHOLE && tag != f::PARSE;
                    return Ok((
                        at,
                        if here || streams || header.size > 1024 * 1024 { Next::Work } else { Next::More },
                    ));
                }
            }
            at += self.skip(header.size, input.len() - at);
        }
        Ok((at, Next::More))
    }

    /// Drops `size` bytes, as many as are `here` at once; returns how many that were.
    fn skip(&mut self, size: usize, here: usize) -> usize {
        let now = size.min(here);
        let left = u32::try_from(size - now).unwrap_or(u32::MAX) & !REFUSING;
        self.state = self.state & REFUSING | left;
        now
    }

    /// The message at the front of `input` can't be served: PostgreSQL would answer with `error`, then go on with the next
    /// query, or ignore everything up to the next Sync. Returns what was used.
    pub fn refuse(&mut self, input: &[u8], error: &[u8], answer: &mut Vec<u8>) -> usize {
        answer.extend_from_slice(error);
        let Ok(Some(header)) = frame::header(input) else { return 0 };
        if matches!(header.tag, f::QUERY | f::FUNCTION_CALL) {
            answer.extend_from_slice(READY_IDLE);
            return self.skip(header.size, input.len());
        }
        self.state |= REFUSING;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode::message;
    use crate::wire::frontend::{self, SYNC};

    #[test]
    fn what_needs_no_server() {
        let mut input = SYNC.to_vec();
        message(&mut input, f::FLUSH, |_| ());
        message(&mut input, f::COPY_DATA, |v| v.extend_from_slice(b"late"));
        message(&mut input, f::COPY_DONE, |_| ());
        let local = input.len();
        frontend::query(&mut input, b"x");
        let mut answer = Vec::new();
        assert_eq!(Triage::default().sort(&input, &mut answer), Ok((local, Next::Work)));
        assert_eq!(answer, READY_IDLE);
        assert_eq!(Triage::default().sort(&input[..input.len() - 1], &mut answer), Ok((local, Next::More)));
    }

    #[test]
    fn a_refused_query_and_a_refused_batch() {
        let mut input = Vec::new();
        frontend::query(&mut input, b"refused");
        let (mut triage, mut answer) = (Triage::default(), Vec::new());
        assert_eq!(triage.refuse(&input[..7], b"E", &mut answer), 7);
        assert_eq!(answer, [b"E", READY_IDLE].concat());
        assert_eq!(triage.sort(&input[7..], &mut answer), Ok((input.len() - 7, Next::More)));

        let mut batch = Vec::new();
        frontend::describe_statement(&mut batch, b"s");
        frontend::query(&mut batch, b"ignored too");
        batch.extend_from_slice(SYNC);
        let end = batch.len();
        frontend::query(&mut batch, b"next");
        let (mut triage, mut answer) = (Triage::default(), Vec::new());
        assert_eq!(triage.refuse(&batch, b"E", &mut answer), 0);
        assert_eq!(triage.sort(&batch, &mut answer), Ok((end, Next::Work)));
        assert_eq!(answer, [b"E", READY_IDLE].concat());
    }

    #[test]
    fn wrong_messages_are_refused() {
        let mut answer = Vec::new();
        assert_eq!(Triage::default().sort(b"p\0\0\0\x04", &mut answer), Err(WireError::Type(b'p')));
        assert_eq!(Triage::default().sort(b"Q\0\0\0\x03", &mut answer), Err(WireError::Length));
    }
}
